"""
Locks: what a release runs on, each package pinned to one version and to the SHA-256 of its files.

The format is pip's requirements file with hashes (pip.pypa.io, "Hash-checking Mode"), as uv and pip-compile write it.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from globolib import text
from globolib.errors import Failure

_HASH = re.compile(r"\s+--hash=(\S+)")
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})\Z")


@dataclass(frozen=True)
class Entry:
    """One package of a lock; ``text`` is its own lines, ``marker`` where it is installed (None: everywhere)."""

    name: str  # normalized: packaging.utils.canonicalize_name
    version: str
    hashes: tuple[str, ...]  # SHA-256 of each file that it may come from
    text: str
    marker: Marker | None = None

    @property
    def pin(self) -> str:
        """Name and version for people: ``click==7.1.2``."""
        return f"{self.name}=={self.version}"

    def applies(self, python: str) -> bool:
        """Whether a Python of this version (``"3.11.2"``) on this machine is to have it."""
        environment = {
            "python_version": ".".join(python.split(".")[:2]),
            "python_full_version": python,
            "implementation_version": python,
        }
        return self.marker is None or self.marker.evaluate(environment)


def entries(lock: str) -> tuple[Entry, ...]:
    """
    The packages of a lock (its text), in its order. One name may be there more than once, with different markers.

    Raises Failure where a line is neither a comment nor a pin with hashes: what is not understood is not skipped.
    """
    return tuple(_entry(lines) for lines in _statements(lock))


def entry(lock: str, name: str) -> Entry:
    """The first entry of a package by its normalized name. Raises Failure: the lock does not name it."""
    for known in entries(lock):
        if known.name == name:
            return known
    raise Failure(f"the lock does not name {name}")


def digest(lock: str) -> str:
    """The SHA-256 of a lock (its text), by which virtualenvs are named."""
    return hashlib.sha256(lock.encode()).hexdigest()


def _statements(lock: str) -> Iterator[str]:
    """What belongs together: lines that end in a backslash go on in the next one."""
    lines: list[str] = []
    for line in lock.split("\n"):
        if not lines and (not line.strip() or line.lstrip().startswith("#")):
            continue
        lines.append(line)
        if not line.endswith("\\"):
            yield "\n".join(lines) + "\n"
            lines = []
    if lines:
        yield "\n".join(lines) + "\n"


def _entry(lines: str) -> Entry:
    statement = re.sub(r"\s+#.*", "", lines.replace("\\\n", " ")).strip()
    wrong = Failure(f"the lock has a line that is no pin with hashes: {text.line(lines.splitlines()[0], 200)!r}")
    requirement_text, *rest = _HASH.split(statement)
    hashes, between = rest[::2], rest[1::2]
    matches = [_SHA256.match(value) for value in hashes]
    try:
        requirement = Requirement(requirement_text)
        (specifier,) = requirement.specifier
        Version(specifier.version)
    except (InvalidRequirement, InvalidVersion, ValueError):
        raise wrong from None
    if specifier.operator != "==" or not hashes or None in matches or any(part.strip() for part in between):
        raise wrong
    return Entry(
        name=canonicalize_name(requirement.name),
        version=specifier.version,
        hashes=tuple(match.group(1) for match in matches if match),
        text=lines,
        marker=requirement.marker,
    )
