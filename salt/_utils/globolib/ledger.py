"""
The ledger of a host: ``<root>/deployments.jsonl``, one JSON object a line, only ever appended to.

It is the truth about what was installed here. A deploy is decided when its line is on the disk: until then the
version deployed before stays the deployed version, whatever a crash has left running.
"""

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from globolib import files
from globolib.address import Address

# A line's result. Only success moves the deployed version.
SUCCESS, FAILED, INTERRUPTED = "success", "failed", "interrupted"


@dataclass(frozen=True)
class Entry:
    """One line: what the package reads of it, and ``data``, all that it holds. ``port`` is 0 where there is none."""

    id: str
    time: str
    version: str
    result: str
    action: str
    port: int
    bind: str
    address: str
    came_from: str | None
    data: Mapping[str, Any]

    @classmethod
    def parsed(cls, data: Any) -> "Entry | None":
        """The entry that a JSON value is, or None where it is none."""
        if not isinstance(data, dict) or not {"result", "version"} <= set(data):
            return None
        return cls(
            id=str(data.get("id", "")),
            time=str(data.get("time", "")),
            version=str(data["version"]),
            result=str(data["result"]),
            action=str(data.get("action", "")),
            port=int(data.get("port", 0)),
            bind=str(data.get("bind", "")),
            address=str(data.get("address") or data.get("bind", "")),
            came_from=data.get("from"),
            data=data,
        )

    @property
    def succeeded(self) -> bool:
        """Whether this line moved the deployed version, or confirmed it."""
        return self.result == SUCCESS

    @property
    def listen(self) -> Address:
        """Where it listens."""
        return Address.of(self.address, self.port)

    @property
    def place(self) -> tuple[str, int, str]:
        """Version, port and bind: what a deploy moves."""
        return self.version, self.port, self.bind


def now() -> str:
    """The time for a record: UTC, ISO 8601, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def identity() -> str:
    """An id for a line, unique for ever: one that is sent twice is counted once."""
    return uuid.uuid4().hex


def read(path: str) -> tuple[Entry, ...]:
    """
    Every line, oldest first. A line that a power cut tore is left out: it was never acknowledged. No ledger is
    an empty tuple.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            lines = handle.read().split("\n")
    except FileNotFoundError:
        return ()
    entries = []
    for line in lines:
        try:
            entry = Entry.parsed(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            continue
        if entry is not None:
            entries.append(entry)
    return tuple(entries)


def append(path: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """
    Add one line, durably. ``time`` is added, and an ``id`` where there is none. Returns the line.
    """
    line = {"id": identity(), "time": now(), **data}
    files.make_directory(os.path.dirname(path))
    files.append_line(path, json.dumps(line, sort_keys=True))
    return line


def told(line: Mapping[str, Any]) -> str:
    """What a line says, in one: ``1.0 -> 1.1 ok 9.5 s, 276 requests, 0 failed``."""
    parts = [f"{line['duration']:.1f} s"] if isinstance(line.get("duration"), (int, float)) else []
    probe = line.get("probe") or {}
    parts += [f"{probe['sent']} requests, {probe['failed']} failed"] if {"sent", "failed"} <= set(probe) else []
    app = f"{line['app']} " if line.get("app") else ""
    word = "ok" if line.get("result") == SUCCESS else str(line.get("result"))
    how = f" ({line['action']})" if line.get("action") not in (None, "deploy") else ""
    return f"{app}{line.get('from') or '-'} -> {line['version']} {word}{how} {', '.join(parts)}".rstrip()


def deployed(entries: Sequence[Entry]) -> Entry | None:
    """The last line that succeeded: what is deployed here; None when nothing is."""
    return next((entry for entry in reversed(entries) if entry.succeeded), None)


def good(entries: Sequence[Entry]) -> list[str]:
    """
    The versions that may be gone back to, oldest first; the last one is the deployed one.

    A deploy puts its version on top. A rollback takes away the versions that it left, so that two rollbacks never
    lead back to what was fled from.
    """
    stack: list[str] = []
    for entry in entries:
        if not entry.succeeded:
            continue
        left = entry.came_from if entry.action == "rollback" else None
        stack = [version for version in stack if version not in (left, entry.version)]
        stack.append(entry.version)
    return stack


def rollback_target(entries: Sequence[Entry], present: Sequence[str]) -> tuple[str | None, str]:
    """
    Where a rollback without a version goes.

    present
        The versions that are complete on this host and not marked failed.

    Returns ``(version, reason)``: version None when there is nothing to go back to, and why.
    """
    deploys = [entry for entry in entries if entry.action in ("deploy", "rollback")]
    now_deployed = deployed(entries)
    if now_deployed is None:
        return None, "nothing has been deployed here successfully yet"
    if deploys and not deploys[-1].succeeded and deploys[-1].version != now_deployed.version:
        return None, (
            f"the last deploy ({deploys[-1].version}, {deploys[-1].time}) did not succeed, and "
            f"{now_deployed.version} went on serving: there is nothing to undo"
        )
    for version in reversed(good(entries)[:-1]):
        if version in present:
            return version, f"the last good release before {now_deployed.version}"
    return None, f"{now_deployed.version} is the only good release on this host"


def since(entries: Sequence[Entry]) -> str | None:
    """When the deployed version was put where it is: the time of the first of the last good lines that say the same."""
    current, time = deployed(entries), None
    for entry in reversed(entries):
        if entry.succeeded:
            if current is None or entry.place != current.place:
                break
            time = entry.time
    return time
