"""The background processes of a release: they are defined, started with what serves, and seen to stay."""

import os
import shutil

from globolib import background, files, observe, systemd, waiting
from globolib.errors import Failure
from globolib.host import Host, Unit
from globolib.layout import Layout
from globolib.plan import Target, process_units, stray_processes
from globolib.settings import Settings
from globolib.trial import write

STAY = 1  # seconds that a process is watched for after its start, at least


class Ended(Failure):
    """A background process did not stay up. ``unit``: as it was then."""

    def __init__(self, why: str, unit: Unit) -> None:
        super().__init__(why)
        self.unit = unit


def define(settings: Settings, target: Target, afresh: bool = False) -> None:
    """
    Write the units of the background processes, each after it has stopped where its unit differs: what runs is what is
    written there. Each has the drop-ins of what serves.

    afresh
        Stop all of them: they have read what is no longer there.
    """
    layout, changed = settings.layout, False
    for unit, text in process_units(settings, target).items():
        path = layout.process_file(unit)
        differs = files.read(path) != text
        if differs or afresh:
            systemd.stop(unit)
        write({path: text})
        role = unit.partition("@")[0].removeprefix(layout.name)
        changed |= systemd.borrow_drop_ins(layout, settings.release, role, unit)
    if changed:
        systemd.systemctl("daemon-reload")


def is_defined(settings: Settings, host: Host, target: Target) -> bool:
    """Whether a background process of the release has a file: it starts with what serves."""
    return any(host.texts.get(settings.layout.process_file(unit)) for unit in process_units(settings, target))


def resume(settings: Settings, host: Host) -> None:
    """Start those of the release that ran: the way back, where the release itself has not been stopped."""
    for unit, state in host.units.items():
        named = background.of_unit(settings.layout, unit)
        if named and named[1] == settings.release and state.up:
            systemd.systemctl("start", unit)


def _retire(layout: Layout, unit: str) -> None:
    """Stop a unit that nothing wants any more, and remove its file."""
    systemd.stop(unit)
    path = layout.process_file(unit)
    shutil.rmtree(f"{path}.d", ignore_errors=True)
    if os.path.lexists(path):
        os.unlink(path)
        files.sync_directory(layout.units)


def switch(settings: Settings, host: Host, target: Target, seconds: float = 0) -> None:
    """
    Stop the background processes that are not the release's, start its own, and see that they stay.

    seconds
        How long they are watched.

    Raises Ended where one does not stay up, Failure where systemd does not start or stop it.
    """
    strays = stray_processes(settings, host, process_units(settings, target))
    for unit in strays:
        _retire(settings.layout, unit)
    if strays:
        systemd.systemctl("daemon-reload")
    define(settings, target)
    names = list(process_units(settings, target))
    for unit in names:
        try:
            # One that ends just now, with a restart of what serves, may take as long as that may.
            systemd.systemctl("start", unit, deadline=systemd.STOP_DEADLINE)
        except Failure as failure:
            raise Ended(str(failure), observe.seen(unit)) from failure
    began = systemd.units_of(*names)
    if began:
        waiting.hold(max(seconds, STAY), lambda: stayed(began))


def stayed(began: dict[str, Unit]) -> None:
    """Raises Ended where one of these units is not what it was: it has ended, or begun again."""
    for name, unit in systemd.units_of(*began).items():
        if unit.active != "active" or unit.invocation != began[name].invocation:
            raise Ended(f"{name} did not stay up: {unit.active} ({unit.sub}), {_how(unit)}", unit)


def _how(unit: Unit) -> str:
    return f"exit code {unit.status}" if unit.result == "exit-code" else f"result {unit.result}"
