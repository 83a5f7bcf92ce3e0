"""What a deploy that was cut has left on the host, and taking it away."""

import os
import re
import shutil
from collections.abc import Iterable, Mapping

from globolib import files, systemd
from globolib.host import Unit
from globolib.layout import CANDIDATE, COMMAND, ONCE, STANDIN, Layout

TEMPORARY = (".incoming-", ".trash-", ".write-", ".build-")
NOTE = "the note of a deploy that did not end"
# What file.managed left beside its target when its process was killed, on hosts that an earlier tree deployed to.
_SALTS_OWN = re.compile(r"gunicorn\.conf\.py[a-z0-9_]{8}\Z")


def _names(directory: str) -> list[str]:
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


def listed(layout: Layout, shown: Mapping[str, Unit]) -> list[str]:
    """
    Paths, units and the note that a deploy which was cut has left.

    shown
        The app's units as systemd shows them.
    """
    left = []
    owned = (layout.root, layout.virtualenvs, layout.own, layout.records, layout.artifacts, layout.failures)
    for directory in (*owned, layout.candidate, layout.own_file("started")):
        for name in _names(directory):
            if name.startswith(TEMPORARY) or name.endswith(".part") or _SALTS_OWN.match(name):
                left.append(os.path.join(directory, name))
    left += systemd.temporary(layout)
    # What is written beside deploys, as the master's word of what it has, is not left by one.
    left = [
        path for path in left if not (os.path.basename(path).startswith(".write-") and files.is_being_written(path))
    ]
    for name in _names(layout.virtualenvs):
        path = layout.virtualenv(name)
        half = os.path.isdir(path) and not name.startswith(".") and not os.path.exists(f"{path}/.complete")
        if name.endswith(".lock") or half:
            left.append(path)
    # What was ended, and nobody was left to reset, is "failed": the machine would stay degraded. A stand-in that is up
    # may be all that serves: the plan has a step for it, which comes when the release itself is up.
    for role, ends in (
        (CANDIDATE, ("inactive",)),
        (COMMAND, ("inactive",)),
        (STANDIN, ("inactive", "active", "activating")),
    ):
        units = ((name, unit) for name, unit in shown.items() if systemd.instance(layout, name, role))
        left += [name for name, unit in units if unit.active not in ends]
    once = layout.instance(ONCE, COMMAND).removesuffix(".service")  # what people run goes on beside a deploy
    left = [name for name in left if not name.startswith(once)]
    if os.path.exists(layout.note):
        left.append(NOTE)
    return left


def clear(left: Iterable[str]) -> None:
    """Take away what :func:`listed` names; the note is the caller's."""
    for path in left:
        if path.endswith(".service") and not path.startswith("/"):
            systemd.stop(path)
        elif os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
