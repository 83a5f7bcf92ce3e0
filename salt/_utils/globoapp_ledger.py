"""
The ledger of a host: ``<root>/deployments.jsonl``, one JSON object a line, only ever appended to.

It is the truth about what was installed here. A deploy is decided when its line is on the disk:
until then what stood before stands, whatever a crash has left running.
"""

import json
import os
import uuid
from datetime import datetime, timezone

# A line's result is success, failed or interrupted. Only success moves what stands.
SUCCESS = "success"


def path(root):
    """Where the ledger of ``root`` is."""
    return os.path.join(root, "deployments.jsonl")


def now():
    """The time for a record: UTC, ISO 8601, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def identity():
    """An id for a line, unique for ever: one that is sent twice is counted once."""
    return uuid.uuid4().hex


def read(root):
    """
    Every line, oldest first, as dicts. A line that a power cut tore is left out: it was never
    acknowledged. No ledger is an empty list.
    """
    try:
        with open(path(root), encoding="utf-8", errors="replace") as handle:
            lines = handle.read().split("\n")
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"result", "version"} <= set(entry):
            entries.append(entry)
    return entries


def append(root, entry, write):
    """
    Add one line.

    entry
        What is to be recorded; ``time`` is added, and where it has none an ``id``.
    write
        ``globoapp_files.append_line``.

    Returns the line as a dict.
    """
    line = {"id": identity(), "time": now(), **entry}
    write(path(root), json.dumps(line, sort_keys=True))
    return line


def standing(entries):
    """The last line that succeeded, that is what is deployed here; None when nothing is."""
    return next((entry for entry in reversed(entries) if entry["result"] == SUCCESS), None)


def good(entries):
    """
    The versions that may be gone back to, oldest first; the last one is what stands.

    A deploy puts its version on top. A rollback takes away the versions that it left, so that two
    rollbacks never lead back to what was fled from.
    """
    stack = []
    for entry in entries:
        if entry["result"] != SUCCESS:
            continue
        version = entry["version"]
        if entry.get("action") == "rollback":
            left = entry.get("from")
            stack = [one for one in stack if one not in (left, version)]
        else:
            stack = [one for one in stack if one != version]
        stack.append(version)
    return stack


def rollback_target(entries, present):
    """
    Where a rollback without a version goes.

    present
        The versions that are complete on this host and not marked failed.

    Returns ``(version, reason)``: version None when there is nothing to go back to, and why.
    """
    deploys = [entry for entry in entries if entry.get("action") in ("deploy", "rollback")]
    stands = standing(entries)
    if stands is None:
        return None, "nothing has been deployed here successfully yet"
    if deploys and deploys[-1]["result"] != SUCCESS and deploys[-1]["version"] != stands["version"]:
        return None, (
            f"the last deploy ({deploys[-1]['version']}, {deploys[-1]['time']}) did not succeed, and "
            f"{stands['version']} went on serving: there is nothing to undo"
        )
    for version in reversed(good(entries)[:-1]):
        if version in present:
            return version, f"the last good release before {stands['version']}"
    return None, f"{stands['version']} is the only good release on this host"
