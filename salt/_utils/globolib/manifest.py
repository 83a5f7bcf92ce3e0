"""What a release says of itself: ``manifest.json`` in its artifact."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from globolib import argv, background, serving

NAME = "manifest.json"
LOCK = "requirements.lock"
# module:callable, or module:factory(...) with plain values, as gunicorn takes them from 20.0.1 on.
_VALUE = r"""(?:'[\w ./:@+-]*'|"[\w ./:@+-]*"|-?\d+(?:\.\d+)?|True|False|None)"""
_ARGUMENT = rf"(?:[A-Za-z_]\w*=)?{_VALUE}"
WSGI = re.compile(rf"[\w.]+:(?:[\w.]+|[A-Za-z_]\w*\((?:{_ARGUMENT}(?:, ?{_ARGUMENT})*)?\))\Z", re.ASCII)
# Where an app keeps what it must not forget: in its process, on its host, or where all its servers find it.
STATES = ("process", "host", "shared")
# A header of a health check (RFC 9110): a token, and visible ASCII with spaces inside.
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
HEADER_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?\Z")
# What says how the question itself is sent.
HEADERS_OF_OURS = ("connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade")


@dataclass(frozen=True)
class Health:
    """
    What a healthy release answers: to ``GET path`` with these request headers on top of our own, this status, and these
    keys in its JSON object.
    """

    path: str = "/"
    status: int = 200
    json: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """
    ``python`` is a range as packages state it (PEP 440); ``release_command`` is what a deploy runs before the release
    serves: a program and its arguments, without a shell, or nothing; ``processes`` are the background processes that
    run beside it, words by name; ``data`` is the manifest as it was written.

    ``single_process`` says that the app keeps state in its process: more than one worker would each have a part of it.
    A manifest that does not say so, and wants one worker, is taken to mean it: 1.0 and 1.1 were published before the
    field was there.

    ``state`` is one of STATES: how many may serve side by side. A manifest that does not say it is taken to mean what
    else it says: a single process has its state there, a release command prepares what all share, as of 3.0.
    """

    name: str
    version: str
    wsgi: str
    workers: int = 1
    threads: int = 4
    single_process: bool = False
    python: str = ""
    health: Health = Health()
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    release_command: tuple[str, ...] = ()
    processes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    state: str = "host"

    def runs_on(self, python: str) -> bool:
        """Whether the release says that it runs on this version of Python: ``"3.11.2"``."""
        return SpecifierSet(self.python).contains(python, prereleases=True)


def parsed(data: Any) -> Manifest:
    """The manifest of a JSON value without :func:`problems`."""
    health, single = data["health"], data.get("single_process", data.get("workers", 1) == 1)
    return Manifest(
        name=data["name"],
        version=data["version"],
        wsgi=data["wsgi"],
        workers=data.get("workers", 1),
        threads=data.get("threads", 4),
        python=data.get("python", ""),
        health=Health(health["path"], health.get("status", 200), health.get("json") or {}, health.get("headers") or {}),
        single_process=single,
        data=data,
        release_command=tuple(data.get("release_command", ())),
        processes=background.parsed(data.get("processes", {})),
        state=data.get("state", "process" if single else "shared" if data.get("release_command") else "host"),
    )


def worker_count(manifest: Manifest, text: str | None) -> int:
    """
    How many workers a release has.

    text
        What pillar says of gunicorn: the JSON file that its instances, or its candidates, read at their start.
    """
    return serving.worker_count(text, manifest.single_process, manifest.workers)


def problems(data: Any, name: str, version: str) -> list[str]:
    """Everything that is wrong with the manifest of ``version`` of the app ``name``: a list of lines."""
    if not isinstance(data, dict):
        return [f"{NAME} is not a JSON object"]
    wanted = {"name": name, "version": version}
    found = [
        f"{NAME} says {key} {data.get(key)!r}, wanted {want!r}" for key, want in wanted.items() if data.get(key) != want
    ]
    if not WSGI.match(str(data.get("wsgi"))):
        found.append(f"{NAME} says wsgi {data.get('wsgi')!r}: module:callable or module:factory(...) with plain values")
    for key in ("workers", "threads"):
        value = data.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            found.append(f"{NAME} says {key} {value!r}: a whole number from 1")
    single = data.get("single_process", False)
    if not isinstance(single, bool) or (single and data.get("workers", 1) != 1):
        found.append(f"{NAME} says single_process {single!r}: true, with one worker, or false")
    try:
        SpecifierSet(data.get("python", ""))
    except (InvalidSpecifier, AttributeError, TypeError):
        found.append(f'{NAME} says python {data.get("python")!r}: a range like ">=3.9,<3.14"')
    if data.get("state", "host") not in STATES or (single is True and data.get("state", "process") != "process"):
        found.append(f"{NAME} says state {data['state']!r}: one of {', '.join(STATES)}; of a single process, process")
    if "release_command" in data:
        found += _command_problems(data["release_command"])
    found += [f"{NAME} says {line}" for line in background.problems(data.get("processes", {}))]
    return found + _health_problems(data.get("health"))


def _command_problems(command: Any) -> list[str]:
    if argv.fits(command):
        return []
    return [f"{NAME} says release_command {command!r}: a list of 1 to {argv.MOST} non-empty strings without NUL"]


def _health_problems(health: Any) -> list[str]:
    if isinstance(health, dict) and (lines := _header_problems(health.get("headers") or {})):
        return lines
    if (
        isinstance(health, dict)
        and isinstance(health.get("path"), str)
        and re.fullmatch(r"/[!-~]*", health["path"])
        and isinstance(health.get("status", 200), int)
        and isinstance(health.get("json") or {}, dict)
    ):
        return []
    return [f"{NAME} says health {health!r}: a path that begins with /, a status, perhaps json"]


def _header_problems(headers: Any) -> list[str]:
    if not isinstance(headers, dict):
        return [f"{NAME} says health:headers {headers!r}: an object of names and texts"]
    found, seen = [], set()
    for name, value in headers.items():
        if not HEADER_NAME.match(name) or name.lower() in HEADERS_OF_OURS:
            found.append(f"{NAME} says health:headers {name!r}: no header that a health check can have")
        elif not isinstance(value, str) or not HEADER_VALUE.match(value):
            found.append(f"{NAME} says health:headers {name} {value!r}: a text of visible ASCII")
        if name.lower() in seen:
            found.append(f"{NAME} says health:headers {name!r}: it is there twice")
        seen.add(name.lower())
    return found
