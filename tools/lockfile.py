"""Reads the locks that uv writes: pins with hashes, one package after the other."""

import re
from typing import NamedTuple

ENTRY = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^\s;\\]+)(?P<marker>[^\\\n]*)\\\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.MULTILINE,
)


class Entry(NamedTuple):
    """One package of a lock: its version, the sha256 (hex) of each file it may come from, and its own lines."""

    version: str
    hashes: list
    text: str


def entries(lock):
    """Takes the text of a lock; returns a dict of package name (normalized) to Entry.

    Raises ValueError where a line is neither a comment nor part of an entry: what is not understood is not skipped.
    """
    rest = re.sub(r"^(#.*)?\n", "", ENTRY.sub("", lock), flags=re.MULTILINE)
    if rest.strip():
        raise ValueError(f"the lock has a line that is no pin with hashes: {rest.strip().splitlines()[0]!r}")
    found = {}
    for match in ENTRY.finditer(lock):
        hashes = re.findall(r"[0-9a-f]{64}", match["hashes"])
        found[match["name"]] = Entry(match["version"], hashes, match.group(0))
    return found
