"""
What a running instance had read when it started, by content: whether it must start afresh is decided by what the
files hold, never by their times (a chown, a backup or a clock that was set is no change).

Noted by InvocationID, which systemd makes anew at each start. Of an instance that systemd has started by itself
nothing is noted until the next run, which notes what it finds before it repairs anything.
"""

import os
from collections.abc import Mapping
from typing import Any

from globolib import files
from globolib.host import Record, Unit
from globolib.layout import Layout


def inputs(layout: Layout, release: str, record: Record) -> list[str]:
    """The paths of the files that an instance of a release reads at its start."""
    unit, directory = layout.instance(release), layout.release(release)
    return [
        layout.unit_file(unit),
        layout.handed,
        layout.gunicorn_conf,
        layout.gunicorn_settings,
        layout.environment(release),
        os.path.join(record.virtualenv, ".complete"),
        *(os.path.join(directory, name) for name in record.contents),
    ]


def digests(paths: list[str]) -> dict[str, str]:
    """The SHA-256 of each file; empty for one that is not there."""
    return {path: files.sha256(path) if os.path.isfile(path) else "" for path in paths}


def note(layout: Layout, release: str, record: Record, unit: Unit) -> None:
    """Note what the instance that now runs has read."""
    path = layout.started(release)
    files.make_directory(os.path.dirname(path))
    files.write_json(path, {"invocation": unit.invocation, "read": digests(inputs(layout, release, record))}, 0o600)


def note_repair(layout: Layout, release: str, unit: Unit, why: str) -> None:
    """
    Note that something which the instance reads is about to be repaired. It starts afresh then, though the files are
    again what it had read: a worker that began meanwhile has read the other ones.
    """
    path = layout.started(release)
    files.make_directory(os.path.dirname(path))
    files.write_json(path, {"invocation": unit.invocation, "read": {}, "repaired": why}, 0o600)


def _noted(layout: Layout, release: str, unit: Unit) -> Mapping[str, Any] | None:
    try:
        known = files.read_json(layout.started(release))
    except (ValueError, RecursionError):
        return None
    fits = isinstance(known, dict) and known.get("invocation") == unit.invocation
    return known if fits and isinstance(known.get("read"), dict) else None


def is_noted(layout: Layout, release: str, unit: Unit) -> bool:
    """Whether it is known what this start of the instance had read."""
    return _noted(layout, release, unit) is not None


def outdated(layout: Layout, release: str, record: Record, unit: Unit) -> str | None:
    """Why a running instance must start afresh: a file that it had read has changed. None when there is no reason."""
    noted = _noted(layout, release, unit)
    if noted is None or not unit.up:
        return None
    if noted.get("repaired"):
        return f"{noted['repaired']}: repaired while it ran"
    read = noted["read"]
    now = digests(inputs(layout, release, record))
    changed = sorted(path for path in {*read, *now} if read.get(path) != now.get(path))
    return f"{changed[0]} changed after it had started" if changed else None
