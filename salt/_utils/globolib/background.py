"""
The background processes of a version, such as the worker of a queue: what its manifest says of them, what pillar says
instead, and what their units are called. Pure.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from globolib import argv
from globolib.layout import CANDIDATE, COMMAND, STANDIN, Layout

Words = tuple[str, ...]

NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}\Z")
# What units and files of the app have in that place already.
RESERVED = ("activate", "looked", *(role.removeprefix("-") for role in (CANDIDATE, COMMAND, STANDIN)))
_INSTANCE = re.compile(r"([a-z][a-z0-9_-]{0,30})@(PACK\d+(?:_\d+){1,3})\.service\Z")


def words(command: Any) -> Words | None:
    """A command as words: a text is split as a shell would, and no shell reads it; None where it is no command."""
    try:
        split = shlex.split(command) if isinstance(command, str) else command
    except ValueError:  # a quotation that does not end
        return None
    return tuple(split) if argv.fits(split) else None


def problems(value: Any, pillar: bool = False) -> list[str]:
    """
    Everything that is wrong with ``processes``, a line each.

    pillar
        Whether it is pillar's, which may switch processes off.
    """
    if not isinstance(value, Mapping):
        return [f"processes is {value!r}: it must be a mapping of names to commands, worker: celery -A tasks worker"]
    found = []
    for name, command in value.items():
        if not isinstance(name, str) or not NAME.match(name):
            found.append(f"processes has {name!r}: the name of a process is lower-case letters, digits, - and _")
        elif name in RESERVED:
            found.append(f"processes has {name!r}: a unit of the app has this name; choose another one")
        elif words(command) is None and not (pillar and (command is None or command is False)):
            off = "false, " if pillar else ""
            found.append(f"processes:{name} is {command!r}: {off}a command, or a list of 1 to {argv.MOST} words")
    return found


def parsed(value: Mapping[str, Any]) -> dict[str, Words]:
    """``processes`` without :func:`problems` as words by name; what is switched off has none."""
    return {name: words(command) or () for name, command in value.items()}


def wanted(manifest: Mapping[str, Words], pillar: Mapping[str, Any]) -> dict[str, Words]:
    """What is to run: what the manifest says, and pillar before it; sorted by name."""
    return {name: command for name, command in sorted({**manifest, **parsed(pillar)}.items()) if command}


def of_unit(layout: Layout, unit: str) -> tuple[str, str] | None:
    """Process and release of a unit by its name; None where it is something else."""
    first = f"{layout.name}-"
    match = _INSTANCE.match(unit.removeprefix(first)) if unit.startswith(first) else None
    return (match[1], match[2]) if match and match[1] not in RESERVED else None


def quoted(word: str) -> str:
    """A word of a command as ExecStart= takes it (systemd.service(5)): as it is, without variables and specifiers."""
    escaped = "".join(
        f"\\x{ord(char):02x}" if ord(char) < 32 else f"\\{char}" if char in '"\\' else char for char in word
    )
    return '"' + escaped.replace("%", "%%").replace("$", "$$") + '"'
