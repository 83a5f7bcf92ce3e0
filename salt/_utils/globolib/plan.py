"""
What separates a host from what its settings say, as steps in the order in which they are done. Pure.

The same steps are a deploy, a repair, a rollback and healing: the difference is only who asks for them.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from globolib import background, units
from globolib.host import SOCKET, Host
from globolib.layout import STANDIN
from globolib.manifest import Manifest, worker_count
from globolib.settings import Settings

# Every step that there is, in its order.
STEPS = (
    "build",  # the virtualenv of the release's lock
    "unpack",  # the release
    "configure",  # unit files, gunicorn's settings, the environment
    "unmask",
    "open",  # the listening socket
    "define",  # its unit file; the socket that is open stays so
    "start",
    "restart",
    "enable",  # at boot
    "stop",  # other releases
    "close",  # other addresses
    "processes",  # the release's background processes, without those of others
)
BEFORE_SWITCH = ("build", "unpack", "configure")


@dataclass(frozen=True)
class Target:
    """
    What the release to be deployed needs beside its settings.

    virtualenv
        The directory of the virtualenv that its lock asks for.
    wsgi
        The WSGI target of its manifest.
    processes
        The background processes that run with it: words by name.
    """

    virtualenv: str
    wsgi: str
    processes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def target_of(settings: Settings, manifest: Manifest, virtualenv: str) -> Target:
    """The target of a release that has this manifest and this virtualenv."""
    return Target(virtualenv, manifest.wsgi, background.wanted(manifest.processes, settings.processes))


def wanted_texts(settings: Settings, target: Target) -> dict[str, str]:
    """The files that the app's units and gunicorn read, with what they should hold, by path."""
    environment = units.environment_text(settings, target.wsgi)
    return {**units.unit_files(settings, target.processes), settings.layout.environment(settings.release): environment}


def plan(settings: Settings, host: Host, target: Target) -> dict[str, str]:
    """
    ``{step: why}``, empty when the host is what the settings say. See STEPS.
    """
    layout, release = settings.layout, settings.release
    steps = _files(settings, host, target)
    unit = layout.instance(release)
    running, sockets = host.running(layout), host.sockets(layout)
    socket = layout.socket(settings.listen)
    if unit in host.units and host.units[unit].file_state in ("masked", "masked-runtime"):
        steps["unmask"] = f"{unit} is masked"
    steps.update(_socket(settings, host, socket))
    # One that is being stopped has workers still, and soon none.
    if release not in running or host.units[unit].active == "deactivating" or not host.workers.get(release):
        steps["start"] = f"{unit} does not run"
    elif reason := _restart(settings, host, socket, steps):
        steps["restart"] = reason
    if host.enabled != (release,) or host.stray_links:
        steps["enable"] = f"{release} does not start at boot"
    others = [other for other in running if other != release]
    others += [layout.instance(name, STANDIN) for name in host.running(layout, STANDIN)]
    if others:
        steps["stop"] = f"{', '.join(others)} runs"
    if set(sockets) - {socket}:
        steps["close"] = f"{', '.join(sorted(set(sockets) - {socket}))} is left"
    if differing := process_differences(settings, host, target):
        steps["processes"] = "; ".join(differing)
    elif target.processes and {"start", "restart"} & set(steps):
        steps["processes"] = f"{', '.join(target.processes)} of {release} starts afresh with it"
    return {step: steps[step] for step in STEPS if step in steps}


def process_units(settings: Settings, target: Target) -> dict[str, str]:
    """The units of the background processes that are to run, with the texts of their files."""
    return {
        settings.layout.process(settings.release, name): units.process_unit(settings, name, words)
        for name, words in target.processes.items()
    }


def process_differences(settings: Settings, host: Host, target: Target) -> list[str]:
    """How the background processes differ from those that are to run: phrases."""
    layout, found = settings.layout, []
    wanted = process_units(settings, target)
    for unit in stray_processes(settings, host, wanted):
        found.append(f"{unit} {'runs' if unit in host.units and host.units[unit].up else 'is left'}")
    for unit, text in wanted.items():
        held = host.texts.get(layout.process_file(unit))
        if held != text:
            found.append(f"{unit} {'is not defined' if held is None else 'was changed'}")
        elif unit not in host.units or host.units[unit].active != "active":
            found.append(f"{unit} does not run")
    return found


def stray_processes(settings: Settings, host: Host, wanted: Collection[str]) -> list[str]:
    """The units of background processes that the tree has made, or that run without a file, and that are not wanted."""
    layout = settings.layout
    files = {os.path.basename(path): text for path, text in host.texts.items() if text is not None}
    left = {unit for unit, text in files.items() if units.is_ours(text)}
    left |= {unit for unit, state in host.units.items() if state.up and unit not in files}
    return sorted(unit for unit in left if unit not in wanted and background.of_unit(layout, unit))


def _files(settings: Settings, host: Host, target: Target) -> dict[str, str]:
    """The steps that put the release's own files right."""
    steps, release = {}, settings.release
    record = host.releases.get(release)
    broken = host.virtualenv_differences.get(target.virtualenv)
    if record is None or record.virtualenv != target.virtualenv:
        steps["unpack"] = (
            f"{release} is not on this host" if record is None else f"its virtualenv is not {target.virtualenv}"
        )
    elif host.differences.get(release):
        steps["unpack"] = "; ".join(host.differences[release])
    if broken is None or broken:
        steps["build"] = "; ".join(broken or [f"the virtualenv {target.virtualenv} is not complete"])
    wrong = [path for path, text in wanted_texts(settings, target).items() if host.texts.get(path) != text]
    if wrong:
        steps["configure"] = f"{', '.join(wrong)} differs"
    return steps


def _socket(settings: Settings, host: Host, socket: str) -> dict[str, str]:
    path = settings.layout.unit_file(socket)
    if not host.sockets(settings.layout).get(socket) or host.texts.get(path) is None:
        return {"open": f"{socket} is not open"}
    by_systemd = any(
        listener.listen == settings.listen and any(owner.pid == 1 for owner in listener.owners)
        for listener in host.listeners
    )
    if not by_systemd:
        # Its unit file was gone when systemd read them: active by name, with no descriptor to hand over.
        return {"open": f"{socket} is active, yet systemd does not listen there"}
    if settings.listen.path and host.at_path != SOCKET:
        return {"open": f"{socket} is active, yet {settings.listen.path} is {host.at_path or 'not there'}"}
    if host.texts[path] != units.socket_unit(settings):
        # What was edited counts from the next boot on; the socket that is open needs no closing for it.
        return {"define": f"{socket} was changed"}
    return {}


def _restart(settings: Settings, host: Host, socket: str, steps: Mapping[str, str]) -> str | None:
    """Why the release, which runs, has to start afresh; None when it has not."""
    unit = settings.layout.instance(settings.release)
    if "open" in steps or host.handed != (socket,):
        return f"{unit} does not have {socket} alone"
    if settings.release in host.outdated:
        return host.outdated[settings.release]
    if notes := restart_notes(settings, host):
        return notes[0]
    replaced = [steps[step] for step in BEFORE_SWITCH if step in steps]
    return f"{'; '.join(replaced)}: it would be replaced" if replaced else None


def needs_trial(settings: Settings, host: Host, steps: Mapping[str, str]) -> bool:
    """
    Whether the release is to be tried on a private socket first. What is deployed and does not serve is not: any
    answer is better than none.
    """
    deployed = host.deployed
    is_deployed = deployed is not None and deployed.version == settings.version
    return bool({"start", "restart"} & set(steps)) and not (is_deployed and not host.running(settings.layout))


def proof(settings: Settings, host: Host) -> list[str]:
    """
    Everything that speaks against the release being what serves: its processes' executable and directory, its
    workers, its background processes, its files, and who else listens on its address. Empty when it is proven.
    """
    layout, release = settings.layout, settings.release
    record = host.releases.get(release)
    if record is None:
        return [f"{release} is not on this host"]
    unit, family = layout.instance(release), host.processes.get(release, ())
    if not family:
        return [f"{unit} does not run"]
    wrong = []
    workers = host.workers.get(release, ())
    bin_directory = os.path.join(record.virtualenv, "bin")
    directory, python = layout.release(release), os.path.join(bin_directory, "python")
    for process in [family[0], *(process for process in family[1:] if process.pid in workers)]:
        what = f"process {process.pid}"
        if process.cwd != host.realpath(directory):
            wrong.append(f"{what} runs in {process.cwd} instead of {directory}")
        program = process.command[0] if process.command else ""
        # A title that the app has set (setproctitle) is no path: then the executable alone speaks.
        strange = program.startswith("/") and host.realpath(os.path.dirname(program)) != host.realpath(bin_directory)
        if process.exe.removesuffix(REPLACED) != host.realpath(python) or strange or not program:
            wrong.append(f"{what} runs {program} ({process.exe}) instead of {python}")
    wanted = worker_count(record.manifest, host.texts.get(layout.gunicorn_settings))
    if len(workers) < wanted:
        wrong.append(f"{len(workers)} of {wanted} workers have loaded the app")
    if release in host.outdated:
        wrong.append(f"{unit}: {host.outdated[release]}")
    to_run = background.wanted(record.manifest.processes, settings.processes)
    for background_unit in (layout.process(release, name) for name in to_run):
        if background_unit not in host.units or host.units[background_unit].active != "active":
            wrong.append(f"{background_unit} does not run")
    wrong += [f"{release}: {difference}" for difference in host.differences.get(release, ())]
    wrong += host.virtualenv_differences.get(record.virtualenv, ())
    return wrong + _strangers(settings, host, {1, *(process.pid for process in family)})


# What /proc adds to the link of an executable whose file was replaced, by an update of the package say.
REPLACED = " (deleted)"


def _strangers(settings: Settings, host: Host, ours: set[int]) -> list[str]:
    """Who listens on the address and is neither systemd nor one of ``ours``."""
    listening = [listener for listener in host.listeners if listener.listen.overlaps(settings.listen)]
    if not listening:
        return [f"nothing listens on {settings.listen}"]
    strangers = {owner for listener in listening for owner in listener.owners if owner.pid not in ours}
    return sorted(
        f"process {owner.pid} ({owner.program}) also takes requests on {settings.listen.claim}" for owner in strangers
    )


def restart_notes(settings: Settings, host: Host) -> list[str]:
    """What is no fault, and a person should know: the interpreter was updated since the release had started."""
    family = host.processes.get(settings.release, ())
    if family and family[0].exe.endswith(REPLACED):
        python = family[0].exe.removesuffix(REPLACED)
        return [
            f"{python} was updated since {settings.release} had started: it runs the old one until its next restart"
        ]
    return []
