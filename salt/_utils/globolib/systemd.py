"""
Talking to systemd about the units of an app: what is loaded, what starts at boot, which sockets there are.
Their texts are in :mod:`globolib.units`.
"""

import contextlib
import os
import pwd
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence

from globolib import background, commands, files, serving, text, units
from globolib.errors import Failure
from globolib.host import Unit
from globolib.layout import CANDIDATE, COMMAND, LIVE, STANDIN, Layout
from globolib.settings import Settings

BOOTED = "/run/systemd/system"
PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,MainPID,Result,UnitFileState,NeedDaemonReload,InvocationID,ExecMainStatus"
)
ROLES = (LIVE, CANDIDATE, STANDIN, COMMAND)
JOURNAL_DEADLINE = 10  # seconds
# For a stop, a restart: the longest graceful_timeout that pillar may hold, and the minutes that systemd adds to it and
# allows a start. systemd itself ends them, by the unit's own times; this is for one that hangs.
STOP_DEADLINE = serving.WHOLE["graceful_timeout"][1] + 120


def booted() -> bool:
    """Whether systemd is this machine's init (sd_booted(3))."""
    return os.path.isdir(BOOTED)


def systemctl(*arguments: str, deadline: float = 120) -> str:
    """Run systemctl and return its output, stripped. Raises Failure with what it said when it fails."""
    deadline = STOP_DEADLINE if arguments[0] in ("stop", "restart") else deadline
    return "\n".join(text.lines(commands.run(["systemctl", *arguments], deadline).stdout.strip()))


def _show(*patterns: str, deadline: float = 120) -> dict[str, Unit]:
    # Not by systemctl(): that shortens what is long.
    said = commands.run(["systemctl", "show", "--property", PROPERTIES, "--", *patterns], deadline).stdout
    shown = {}
    for block in said.decode("utf-8", "replace").split("\n\n"):
        properties = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in properties:
            shown[properties["Id"]] = _unit(properties)
    return shown


def _unit(properties: Mapping[str, str]) -> Unit:
    pid, status = properties.get("MainPID", "0"), properties.get("ExecMainStatus", "0")  # sockets have none
    return Unit(
        name=properties["Id"],
        active=properties.get("ActiveState", "inactive"),
        sub=properties.get("SubState", "dead"),
        pid=int(pid) if pid.isdecimal() else 0,
        result=properties.get("Result", "success"),
        file_state=properties.get("UnitFileState", ""),
        needs_reload=properties.get("NeedDaemonReload") == "yes",
        invocation=properties.get("InvocationID", ""),
        status=int(status) if status.isdecimal() else 0,
    )


def show(layout: Layout, *more: str, processes: Iterable[str] = ()) -> dict[str, Unit]:
    """
    The loaded units of an app, by name: instances in each role, sockets and what the sockets start. systemd is asked
    once, and no other app's unit is among them. Raises Failure when systemctl fails.

    more
        Units that are to be among them though they may not be loaded: that of a release about to be deployed.
    processes
        The names of background processes whose units are to be among them.
    """
    names = set(processes)
    instances = [layout.instance("*", role) for role in (*ROLES, *(f"-{name}" for name in sorted(names)))]
    shown = _show(*instances, f"{layout.name}-*:*.socket", layout.activate, *more)
    return {
        name: unit
        for name, unit in shown.items()
        if name in more or ours(layout, name) or (background.of_unit(layout, name) or ("",))[0] in names
    }


def units_of(*names: str) -> dict[str, Unit]:
    """Units as systemd shows them, by name. Raises Failure when systemctl fails."""
    shown = _show(*names) if names else {}
    return {name: shown.get(name, Unit(name)) for name in names}


def process_texts(layout: Layout) -> dict[str, str]:
    """The texts of what has the name of a background process of this app, by path; empty for one that is masked."""
    paths = [layout.process_file(name) for name in sorted(_names(layout.units)) if background.of_unit(layout, name)]
    return {path: files.read(path) or "" for path in paths}


def process_names(layout: Layout, texts: Mapping[str, str]) -> set[str]:
    """The names of the background processes of which the tree has written a unit: those of :func:`process_texts`."""
    ours = [os.path.basename(path) for path, held in texts.items() if units.is_ours(held)]
    return {named[0] for name in ours if (named := background.of_unit(layout, name))}


def unit(name: str, deadline: float = 120) -> Unit:
    """A unit as systemd shows it; one that is not there is inactive. Raises Failure when systemctl fails."""
    return _show(name, deadline=deadline).get(name, Unit(name))


def instance(layout: Layout, name: str, role: str = LIVE) -> str | None:
    """The release of an instance in a role by the unit's name; None where the unit is something else."""
    before, _, after = layout.instance("\0", role).partition("\0")
    fits = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    return name[len(before) : -len(after)] if fits else None


def is_socket(layout: Layout, name: str) -> bool:
    """Whether a unit is a socket of this app. ``shop-x-0.0.0.0:80.socket`` is none of ``shop``."""
    return layout.address_of(name) is not None


def ours(layout: Layout, name: str) -> bool:
    """Whether a unit is this app's: an instance in some role, a socket, or what sockets start."""
    return bool(
        name == layout.activate or is_socket(layout, name) or any(instance(layout, name, role) for role in ROLES)
    )


def stop(name: str) -> None:
    """
    Stop a unit and forget its failures, so that the next start begins with a clean record. A unit that fails to
    stop, or that is not there, is no error. Raises Failure when systemctl itself does not run or does not end.
    """
    commands.run(["systemctl", "stop", "--", name], STOP_DEADLINE, check=False)
    commands.run(["systemctl", "reset-failed", "--", name], check=False)


def journal(name: str, lines: int = 15, invocation: str | None = None) -> list[str]:
    """
    The last lines that a unit wrote to the journal, as harmless text. Never raises, and takes 20 s at most: where
    there is nothing, the only line says why, in brackets.

    invocation
        Only those of this run of the unit.
    """
    chosen = [f"_SYSTEMD_INVOCATION_ID={invocation}"] if invocation else ["--unit", name]
    try:
        return _journal(chosen, lines) or [f"(the journal holds no line of {name})"]
    except Failure as failure:
        return [text.line(f"(no log of {name}: {failure})")]


def _journal(chosen: Sequence[str], lines: int) -> list[str]:
    """The last lines of the journal that journalctl's words choose, as harmless text. Raises Failure."""
    commands.run(["journalctl", "--sync"], JOURNAL_DEADLINE, check=False)  # what ended now may not be in it yet
    command = ["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines", str(lines), *chosen]
    return text.lines(commands.run(command, JOURNAL_DEADLINE, shown=1).stdout, most=lines)


def ended(name: str) -> tuple[int | None, str]:
    """
    How a unit that has failed ended: the exit code of its main process, None where it did not end by itself (a signal,
    its deadline); and systemd's word for it, "success" where it has not failed.
    """
    seen = unit(name)
    return seen.status if seen.result == "exit-code" else None, seen.result


def output(name: str, lines: int) -> list[str]:
    """
    The last lines that the processes of a unit wrote, as harmless text, without what systemd says of it. Never raises:
    where the journal cannot be read, the only line says why, in brackets.
    """
    try:
        return _journal([f"_SYSTEMD_UNIT={name}"], lines)
    except Failure as failure:
        return [text.line(f"(no output of {name}: {failure})")]


def vacuum(days: int) -> str:
    """
    Let the journal forget what is older than ``days``; only its closed files go. Returns what journalctl said.
    Raises Failure when it does not run or does not end.
    """
    return commands.run(["journalctl", "--quiet", f"--vacuum-time={days}d"], check=False).words


def enabled(layout: Layout) -> tuple[str, ...]:
    """The releases that start at boot, sorted. More than one never is: see :func:`enable`."""
    return tuple(sorted(filter(None, (instance(layout, name) for name in _names(layout.wants)))))


def _template(layout: Layout) -> str:
    return layout.unit_file(layout.instance(""))


def _leads_to_template(layout: Layout, release: str) -> bool:
    link = layout.enabled(release)
    return os.path.islink(link) and os.readlink(link) == _template(layout)


def stray_links(layout: Layout) -> bool:
    """Whether what starts a release at boot is anything but a link to the template."""
    return not all(_leads_to_template(layout, release) for release in enabled(layout))


def _fresh_link(layout: Layout) -> str:
    """Where a link is made before it gets its name."""
    return os.path.join(layout.wants, f".{layout.name}-enable")


def enable(layout: Layout, release: str | None) -> bool:
    """
    Make this release the one that starts at boot; with None, no release.

    The link in multi-user.target.wants is renamed from the old instance to the new one: both are links to the same
    template, so that one rename(2) is the whole change, and a power cut leaves the one or the other, never both or
    none.

    Returns whether something changed.
    """
    before = list(enabled(layout))
    if release is None:
        for other in before:
            os.unlink(layout.enabled(other))
        if before:
            files.sync_directory(layout.wants)
        return bool(before)
    link, right = layout.enabled(release), _leads_to_template(layout, release)
    if before == [release] and right:
        return False
    files.make_directory(layout.wants)
    if not right:
        old = next((other for other in before if other != release), None)
        if old and _leads_to_template(layout, old):
            os.rename(layout.enabled(old), link)
            before.remove(old)
        else:
            fresh = _fresh_link(layout)
            if os.path.lexists(fresh):
                os.unlink(fresh)
            os.symlink(_template(layout), fresh)
            os.rename(fresh, link)
    for other in before:
        if other != release:
            os.unlink(layout.enabled(other))
    files.sync_directory(layout.wants)
    return True


def handed(layout: Layout) -> tuple[str, ...]:
    """The socket units that instances get from their next start on, as :func:`hand_over` named them."""
    lines = (files.read(layout.handed) or "").splitlines()
    return tuple(line.strip().removeprefix("Sockets=") for line in lines if line.startswith("Sockets="))


def hand_over(layout: Layout, sockets: Sequence[str]) -> bool:
    """
    Name the socket units that instances get from their next start on, the one to stay first. systemd reads it at its
    next daemon-reload. Returns whether that changed.
    """
    files.make_directory(layout.drop_ins())
    return _write(layout.handed, units.handed_text(sockets))


def borrow_drop_ins(layout: Layout, release: str, role: str, unit: str = "") -> bool:
    """
    Give the template of a role the drop-ins that the release's instance has, wherever they are: a site's limits hold
    for a trial too. What the role itself must have goes last. Its sockets are its own. systemd reads
    them at its next daemon-reload. Returns whether something changed. Raises Failure when systemctl fails.

    unit
        Give them to this unit alone: a background process of the release.
    """
    said = commands.run(["systemctl", "show", "--property", "DropInPaths", "--", layout.instance(release)]).stdout
    paths = said.decode("utf-8", "replace").strip().removeprefix("DropInPaths=").split()
    directory, own = os.path.join(layout.units, f"{unit}.d") if unit else layout.drop_ins(role), "zz-globoapp.conf"
    wanted = {os.path.basename(path): path for path in paths if path != layout.handed}
    if unit:  # what a site has for this role itself goes before
        wanted = {name: path for name, path in wanted.items() if name not in _names(layout.drop_ins(role))}
    files.make_directory(directory)
    changed = _write(os.path.join(directory, own), units.role_text(role))
    for name in _names(directory):
        path = os.path.join(directory, name)
        if name != own and not (os.path.islink(path) and os.readlink(path) == wanted.get(name)):
            with contextlib.suppress(FileNotFoundError):  # two commands that people run may do this at once
                os.unlink(path)
            changed = True
    for name, path in wanted.items():
        if name != own and not os.path.lexists(os.path.join(directory, name)):
            with contextlib.suppress(FileExistsError):
                os.symlink(path, os.path.join(directory, name))
            changed = True
    return changed


def socket_files(layout: Layout) -> list[str]:
    """The socket units of this app that have a file, sorted."""
    return sorted(name for name in _names(layout.units) if is_socket(layout, name))


def write_socket(layout: Layout, name: str, content: str) -> bool:
    """Put a socket unit in place, not started. Returns whether the file changed."""
    return _write(layout.unit_file(name), content)


def own_socket(settings: Settings) -> None:
    """
    Give a unix socket that is open the owner that its unit names; of TCP there is nothing to give. Raises Failure where
    there is no such account.
    """
    if path := settings.listen.path:
        group = units.socket_group(settings)
        try:
            shutil.chown(path, settings.user, group or pwd.getpwnam(settings.user).pw_gid)
        except LookupError as error:
            raise Failure(f"{path} cannot be given to {settings.user}: {error}") from error
        os.chmod(path, 0o660)


def remove_socket(layout: Layout, name: str) -> None:
    """Close a socket and remove its unit. Raises Failure when systemctl does not run."""
    stop(name)
    path = layout.unit_file(name)
    if os.path.lexists(path):
        os.unlink(path)
        files.sync_directory(layout.units)
        systemctl("daemon-reload")


def temporary(layout: Layout) -> list[str]:
    """The paths of unit files of this app that were being written when their writer was killed."""
    name = re.escape(layout.name)
    template = rf"{name}(@|-candidate@|-standin@|-activate)\.service"
    process = rf"{name}-[a-z0-9_-]+@PACK[0-9_]+\.service"
    socket = rf"{name}-([0-9a-f.:]+:\d+|unix:[A-Za-z0-9_.:-]+)\.socket"
    # files.write's, and file.managed's: the target's name with eight characters more.
    written = rf"\.write-({template}|{process}|{socket})-.*|{template}[a-z0-9_]{{8}}"
    places = {
        layout.units: written,
        layout.wants: re.escape(os.path.basename(_fresh_link(layout))),
        **{layout.drop_ins(role): r"\.write-.*" for role in ROLES},
        **{f"{path}.d": r"\.write-.*" for path in process_texts(layout)},
    }
    return [
        os.path.join(directory, entry)
        for directory, pattern in places.items()
        for entry in sorted(_names(directory))
        if re.fullmatch(pattern, entry)
    ]


def _names(directory: str) -> list[str]:
    return os.listdir(directory) if os.path.isdir(directory) else []


def _write(path: str, content: str) -> bool:
    if files.read(path) == content:
        return False
    files.write(path, content)
    return True
