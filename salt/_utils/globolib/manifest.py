"""What a release says of itself: ``manifest.json`` in its artifact."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

NAME = "manifest.json"
LOCK = "requirements.lock"
WSGI = re.compile(r"[\w.]+:[\w.]+\Z")
ARGUMENTS = 64  # of a release command, with its program


@dataclass(frozen=True)
class Health:
    """What a healthy release answers: to ``GET path``, this status, and these keys in its JSON object."""

    path: str = "/"
    status: int = 200
    json: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """
    ``python`` is a range as packages state it (PEP 440); ``release_command`` is what a deploy runs before the release
    serves: a program and its arguments, without a shell, or nothing; ``data`` is the manifest as it was written.
    """

    name: str
    version: str
    wsgi: str
    workers: int = 1
    threads: int = 4
    python: str = ""
    health: Health = Health()
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    release_command: tuple[str, ...] = ()

    def runs_on(self, python: str) -> bool:
        """Whether the release says that it runs on this version of Python: ``"3.11.2"``."""
        return SpecifierSet(self.python).contains(python, prereleases=True)


def parsed(data: Any) -> Manifest:
    """The manifest of a JSON value without :func:`problems`."""
    health = data["health"]
    return Manifest(
        name=data["name"],
        version=data["version"],
        wsgi=data["wsgi"],
        workers=data.get("workers", 1),
        threads=data.get("threads", 4),
        python=data.get("python", ""),
        health=Health(health["path"], health.get("status", 200), health.get("json") or {}),
        data=data,
        release_command=tuple(data.get("release_command", ())),
    )


def problems(data: Any, name: str, version: str) -> list[str]:
    """Everything that is wrong with the manifest of ``version`` of the app ``name``: a list of lines."""
    if not isinstance(data, dict):
        return [f"{NAME} is not a JSON object"]
    wanted = {"name": name, "version": version}
    found = [
        f"{NAME} says {key} {data.get(key)!r}, wanted {want!r}" for key, want in wanted.items() if data.get(key) != want
    ]
    if not WSGI.match(str(data.get("wsgi"))):
        found.append(f"{NAME} says wsgi {data.get('wsgi')!r}: module:callable")
    for key in ("workers", "threads"):
        value = data.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            found.append(f"{NAME} says {key} {value!r}: a whole number from 1")
    try:
        SpecifierSet(data.get("python", ""))
    except (InvalidSpecifier, AttributeError, TypeError):
        found.append(f'{NAME} says python {data.get("python")!r}: a range like ">=3.9,<3.14"')
    if "release_command" in data:
        found += _command_problems(data["release_command"])
    return found + _health_problems(data.get("health"))


def _command_problems(command: Any) -> list[str]:
    if isinstance(command, list) and 1 <= len(command) <= ARGUMENTS and all(map(_is_argument, command)):
        return []
    return [f"{NAME} says release_command {command!r}: a list of 1 to {ARGUMENTS} non-empty strings without NUL"]


def _is_argument(value: Any) -> bool:
    """Whether a program can be handed the value as an argument: half a surrogate pair has no bytes."""
    return (
        isinstance(value, str) and value != "" and "\0" not in value and value == value.encode(errors="ignore").decode()
    )


def _health_problems(health: Any) -> list[str]:
    if (
        isinstance(health, dict)
        and isinstance(health.get("path"), str)
        and re.fullmatch(r"/[!-~]*", health["path"])
        and isinstance(health.get("status", 200), int)
        and isinstance(health.get("json") or {}, dict)
    ):
        return []
    return [f"{NAME} says health {health!r}: a path that begins with /, a status, perhaps json"]
