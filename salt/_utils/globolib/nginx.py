"""
nginx in front of an app: what separates it from the setting `proxy`, taking its site up and away.

One nginx has the sites of all apps, and other people's. So a site is tried first, by nginx itself, with all that is
there; and it is taken up by a reload, which closes no connection.
"""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from globolib import certificate, commands, files, health, proxy, systemd, text, waiting
from globolib.address import Address
from globolib.errors import Failure
from globolib.layout import Layout
from globolib.manifest import Health
from globolib.proxy import Proxy
from globolib.settings import Settings

DEADLINE = 60  # seconds for a question to nginx
# Runs in a mount namespace of its own: there, and only there, the directory of sites is the one that is tried.
_TRY = 'mount --bind "$1" "$2" && exec "$3" -T -q -c "$4"'


@dataclass(frozen=True)
class Place:
    """Where nginx is, as Debian has it; elsewhere in tests. ``control`` takes a verb of systemctl."""

    program: str = "/usr/sbin/nginx"
    directory: str = "/etc/nginx"
    logs: str = "/var/log/nginx"
    unit: str = "nginx.service"
    control: Callable[[str], object] = lambda verb: systemd.systemctl(verb, "nginx.service")

    @property
    def sites(self) -> str:
        """The directory whose files nginx reads inside its http block."""
        return os.path.join(self.directory, "conf.d")

    def site(self, name: str) -> str:
        """The file of an app's site."""
        return os.path.join(self.sites, f"{name}-proxy.conf")

    @property
    def installed(self) -> bool:
        """Whether there is an nginx."""
        return os.path.exists(self.program)


HERE = Place()


def is_there(settings: Settings) -> bool:
    """Whether the app has a site of nginx that this tree has written, or had one that is gone."""
    return bool(is_ours(settings, files.read(HERE.site(settings.name))))


def is_ours(settings: Settings, held: str | None) -> bool:
    """Whether the app had a site of this tree, or ``held`` (its text; None without a file) is one."""
    return os.path.exists(settings.layout.proxy) or (held or "").startswith(proxy.WRITTEN)


def pair_of(settings: Settings, front: Proxy) -> tuple[str, str]:
    """The files of the certificate and its key."""
    return settings.layout.self_signed if front.self_signed else (front.certificate or "", front.key or "")


def wanted(settings: Settings, before: Address | None = None) -> str:
    """
    The text of the site. The setting ``proxy`` must be there.

    before
        The address of what is deployed, where the app is about to leave it: asked where the new one does not answer
        yet.
    """
    front = settings.front or Proxy()
    upstreams = dict.fromkeys(health.where(place).at for place in (settings.listen, before) if place)
    pair, releases = pair_of(settings, front), (settings.layout.current, settings.layout.beside)
    return proxy.site_text(front, settings.name, list(upstreams), releases, pair, HERE.logs)


def where(settings: Settings, front: Proxy) -> health.Tls:
    """Where to ask the app by its proxy, from this host."""
    place = health.where(Address(front.address, front.port))
    assert isinstance(place, health.Tcp)
    return health.Tls(place.host, place.port, pair_of(settings, front)[0], front.name)


def taken_up(layout: Layout) -> health.Tls | None:
    """
    Where to ask what the last deploy has put in front of an app; None where there is nothing. A certificate that was
    renewed and not taken up yet is no fault of it.
    """
    try:
        noted = files.read_json(layout.proxy)
        return health.Tls(**noted) if noted else None
    except (ValueError, KeyError, TypeError, RecursionError):  # torn by a power cut
        return None


def answers(place: health.Tls, timeout: float) -> tuple[str | None, str]:
    """Ask nginx itself, not the app: why it does not answer, or None; and the digest of the site that it has."""
    try:
        seen = health.ask(place, proxy.MARK, timeout)
    except health.NO_ANSWER as error:
        return f"nginx does not answer at {place}: {text.line(f'{type(error).__name__}: {error}')}", ""
    return None, seen.body.strip() if seen.status == 200 else ""


def unwell(layout: Layout, asked: Health, timeout: float) -> str | None:
    """What is wrong with the answer of an app by its proxy, a phrase; None where there is none, or it is right."""
    place = taken_up(layout)
    if place is None:
        return None
    problem, _ = health.once(place, asked, timeout)
    if problem is None:
        return None
    dead, _ = answers(place, timeout)
    return dead or f"the proxy nginx answers, and by it GET {place}{asked.path}: {problem}"


def steps(settings: Settings, site: str | None = None) -> dict[str, str]:
    """
    What separates nginx from the setting: ``{step: why}``.

    site
        The text of the site, where it is not to be the one of the setting.
    """
    path, front = HERE.site(settings.name), settings.front
    held = files.read(path)
    if front is None:
        return {"remove": f"{path} is left"} if is_ours(settings, held) else {}
    if not HERE.installed:
        return {"install": "nginx is not installed"}
    site = wanted(settings) if site is None else site
    found = {}
    if held != site:
        found["site"] = f"{path} {'is not there' if held is None else 'differs'}"
    unit = systemd.unit(HERE.unit)
    if not unit.up:
        found["start"] = f"{HERE.unit} does not run"
    if unit.file_state != "enabled":
        found["enable"] = f"{HERE.unit} does not start at boot"
    if not found.keys() & {"site", "start"} and (why := _not_taken_up(settings, front, site)):
        found["reload"] = why
    return found


def _not_taken_up(settings: Settings, front: Proxy, site: str) -> str | None:
    dead, digest = answers(where(settings, front), settings.timeout)
    if dead or digest == proxy.digest_of(site):
        return dead
    return f"nginx has not taken up {HERE.site(settings.name)}"


def check(name: str, site: str | None) -> None:
    """
    Have nginx read all of its configuration with the app's site in it, or without one; nothing of it is touched.

    Raises Failure with its words.
    """
    if not os.path.isdir(HERE.sites):
        raise Failure(f"{HERE.sites} is not there: is this the nginx of Debian?")
    said = _tried(name, site)
    if said is None:
        return
    if site is not None and (without := _tried(name, None)) is not None:
        raise Failure(f"nginx's configuration is broken without this app's part of it; put it right first: {without}")
    raise Failure(f"nginx refuses the site of {name}, which was not taken up: {said}")


def _tried(name: str, site: str | None) -> str | None:
    with tempfile.TemporaryDirectory(prefix="globoapp-nginx-", dir="/run") as work:
        stage = os.path.join(work, "conf.d")
        shutil.copytree(HERE.sites, stage, symlinks=True)
        staged = os.path.join(stage, os.path.basename(HERE.site(name)))
        if os.path.lexists(staged):
            os.unlink(staged)
        if site is not None:
            files.write(staged, site)
        main = os.path.join(HERE.directory, "nginx.conf")
        words = ["unshare", "--mount", "--", "sh", "-c", _TRY, "sh", stage, HERE.sites, HERE.program, main]
        done = commands.run(words, DEADLINE, check=False, shown=1)
    if done.code:
        return "\n".join(text.lines(done.stderr.strip(), most=5)) or f"exit {done.code}"
    if site is not None and f"# configuration file {HERE.site(name)}:".encode() not in done.stdout:
        return f"{main} does not include {HERE.sites}/*.conf"
    return None


def prepare(settings: Settings, before: Address | None) -> dict[str, str]:
    """
    What can be done before a switch: make a certificate for a lab, have nginx read the site; and where the app is about
    to leave an address, let nginx find it there and on the new one.

    before
        The address that the app is about to leave.

    Returns ``{step: phrase}`` of what was done. Raises Failure.
    """
    front = settings.front
    if front is None:
        return {}
    done = {}
    pair = pair_of(settings, front)
    if front.self_signed and certificate.make(*pair, front.server_name, settings.name):
        done["certificate"] = f"{pair[0]} was made"
    site = wanted(settings)
    if files.read(HERE.site(settings.name)) != site:
        check(settings.name, site)
    if before and taken_up(settings.layout):
        done |= take_up(settings, wanted(settings, before))
    return done


def take_up(settings: Settings, site: str | None = None, proven: Callable[[], object] | None = None) -> dict[str, str]:
    """
    Make nginx what the setting says. What it had is put back where that fails.

    site
        As of :func:`steps`.
    proven
        Asks by the proxy, and raises Failure where the answer is wrong.

    Returns ``{step: phrase}`` of what was done. Raises Failure.
    """
    front, path = settings.front, HERE.site(settings.name)
    if front is None:
        return _away(settings)
    site = wanted(settings) if site is None else site
    doing, held = steps(settings, site), files.read(path)
    if "install" in doing:
        raise Failure("nginx is not installed on this host, and the setting proxy needs it")
    if "site" in doing:
        check(settings.name, site)
        files.write(path, site)
    try:
        _do(settings, front, doing, site)
        if proven:
            proven()
    except (Failure, OSError) as failure:
        came_of_it = ""
        if "site" in doing:
            came_of_it = _put_back(path, held)
        raise Failure(f"{failure}{came_of_it}") from failure
    place = where(settings, front)
    note = dataclasses.asdict(dataclasses.replace(place, also=health.first_certificate(place.certificate)))
    if not os.path.exists(settings.layout.proxy) or files.read_json(settings.layout.proxy) != note:
        files.write_json(settings.layout.proxy, note)
    return doing


def _do(settings: Settings, front: Proxy, doing: dict[str, str], site: str) -> None:
    if "enable" in doing:
        HERE.control("enable")
    if not doing.keys() & {"site", "start", "reload"}:
        return
    why: str | None = None

    def live() -> bool | None:
        nonlocal why
        why = _not_taken_up(settings, front, site)
        return None if why else True

    verb = "start" if "start" in doing else "reload"
    try:
        HERE.control(verb)
    except Failure as failure:
        raise Failure(f"nginx: {verb} failed: {failure}{_log()}") from failure
    if waiting.until(live, settings.deadline):
        return
    if "reload" in doing and why and "TimeoutError" in why:  # it takes connections, and nobody answers: for no site
        HERE.control("restart")
        if waiting.until(live, settings.deadline):
            return
    raise Failure(f"{why}, {settings.deadline:g} s after its {verb}{_log()}")


def _put_back(path: str, held: str | None) -> str:
    """Give the site the text that it had; what came of it."""
    try:
        if held is None:
            os.unlink(path)
        else:
            files.write(path, held)
        if systemd.unit(HERE.unit).up:
            HERE.control("reload")
    except (Failure, OSError) as worse:
        return f"\nAnd what nginx had before could not be put back: {worse}"
    return "\nWhat nginx had before was put back."


def _away(settings: Settings) -> dict[str, str]:
    """Take the site away."""
    path, doing = HERE.site(settings.name), steps(settings)
    if not doing:
        return {}
    place, digest = taken_up(settings.layout), proxy.digest_of(files.read(path) or "")
    if HERE.installed:
        check(settings.name, None)
    if os.path.exists(path):
        os.unlink(path)
        files.sync_directory(HERE.sites)
    if HERE.installed and systemd.unit(HERE.unit).up:
        HERE.control("reload")
        if place and digest:
            gone = waiting.until(lambda: True if answers(place, settings.timeout)[1] != digest else None, 10)
            if not gone:
                raise Failure(f"nginx still has {path}, which is gone, 10 s after its reload{_log()}")
    if os.path.exists(settings.layout.proxy):
        os.unlink(settings.layout.proxy)
    return doing


def repair(settings: Settings) -> list[str]:
    """Put right what is in front of what is deployed; the app is left alone. Returns phrases. Raises Failure."""
    if settings.front is None or taken_up(settings.layout) is None:
        return []
    return list({**prepare(settings, None), **take_up(settings)}.values())


def _log() -> str:
    """The last lines of nginx's own log, to be told after a failure."""
    try:
        with open(os.path.join(HERE.logs, "error.log"), "rb") as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - 4000))
            said = text.lines(handle.read(), most=5)
    except OSError:
        return ""
    return "\nThe last lines of its log:\n" + "\n".join(f"    | {line}" for line in said) if said else ""
