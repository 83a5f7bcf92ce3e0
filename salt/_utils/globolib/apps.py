"""
The apps of a host as its pillar names them: ``globoapp``, and beside it those below ``globoapps``. Pure.

Each is worked on as if it were the only one: :func:`view` gives the pillar as one app sees it, with its own settings
below ``globoapp``.
"""

import re
from collections.abc import Mapping
from typing import Any

from globolib import hints

DEFAULT = "globoapp"
BESIDE = "globoapps"
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")

# What a run that was made by another one (a rollback, healing) is told by pillar: ``token``, ``action``, ``version``,
# ``port`` and ``app``.
INNER = "globoapp_run"
# What at the top level of a call's pillar is for one app.
OF_ONE = ("version", "port")


def _sections(pillar: Mapping[str, Any]) -> dict[str, Any]:
    """What is below ``globoapps``, by names that an app can have; :func:`problems` tells of the others."""
    below = pillar.get(BESIDE)
    below = below if isinstance(below, Mapping) else {}
    return {name: section for name, section in below.items() if _name_problem(name) is None}


def _name_problem(name: Any) -> str | None:
    if name == DEFAULT:
        return "globoapps has globoapp: its settings go below globoapp:, beside globoapps"
    if not isinstance(name, str) or not NAME.match(name):
        return (
            f"globoapps has {name!r}: the name of an app is lower-case letters, digits and _, beginning with a letter"
        )
    return None


def names(pillar: Mapping[str, Any]) -> tuple[str, ...]:
    """The apps of a pillar, in its order: ``globoapp`` first where pillar has it, or nothing else."""
    beside = tuple(_sections(pillar))
    return (DEFAULT, *beside) if DEFAULT in pillar or not beside else beside


def default(pillar: Mapping[str, Any]) -> str | None:
    """The app that is meant where none is named; None where it could be one of several."""
    known = names(pillar)
    return known[0] if DEFAULT in known or len(known) == 1 else None


def place(name: str) -> str:
    """Where in pillar the settings of an app are."""
    return DEFAULT if name == DEFAULT else f"globoapps:{name}"


def problem(pillar: Mapping[str, Any], name: Any) -> str | None:
    """Why a name is that of no app of a pillar; None is no name."""
    known = names(pillar)
    if name in known:
        return None
    if name is None:
        return f"app is missing, and this host has several: {', '.join(known)}; say which one"
    return f"app is {name!r}: an unknown app; {hints.near(name, known)}"


def problems(pillar: Mapping[str, Any], name: str) -> list[str]:
    """What is wrong with ``globoapps`` itself, and with the section of one app in it."""
    below = pillar.get(BESIDE)
    if below is None:
        return []
    if not isinstance(below, Mapping):
        return [f"globoapps is a {type(below).__name__} in pillar: it must be a mapping of the apps' names"]
    found = [line for line in map(_name_problem, below) if line]
    section = below.get(name)
    if section is not None and not isinstance(section, Mapping):
        kind = type(section).__name__
        found.append(f"globoapps:{name} is a {kind} in pillar: it must be a mapping with version, port, ...")
    elif section and section.get("name") not in (None, name):
        found.append(
            f"globoapps:{name}:name is {section['name']!r}: the app's name is {name}, its key; remove this one"
        )
    return found


def meant(pillar: Mapping[str, Any], asked: Mapping[str, Any]) -> Any:
    """
    The app that a call is for: the one that it names, else the default; None where that is not clear.

    asked
        The pillar that came with the call.
    """
    return default(pillar) if asked.get("app") is None else asked["app"]


def chosen(pillar: Mapping[str, Any], asked: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """
    The apps that a run of the states works on, and what is wrong with what was asked for: all apps, or the one that
    the call, its version or its port is for.
    """
    inner = pillar.get(INNER)
    if isinstance(inner, Mapping):
        name = inner.get("app", DEFAULT)
    elif any(asked.get(key) is not None for key in ("app", *OF_ONE)):
        name = meant(pillar, asked)
    else:
        return names(pillar), None
    wrong = problem(pillar, name)
    return (names(pillar)[:1], wrong) if wrong else ((name,), None)


def told(pillar: Mapping[str, Any], name: str, mine: bool) -> dict[str, Any]:
    """
    What a pillar says to one app: its section is below ``globoapp``.

    mine
        Whether ``version`` and ``port`` of the top level are for this app.
    """
    said = {key: value for key, value in pillar.items() if mine or key not in OF_ONE}
    inner = pillar.get(INNER)
    if isinstance(inner, Mapping) and inner.get("app", DEFAULT) != name:
        del said[INNER]
    if name != DEFAULT:
        said[DEFAULT] = _sections(pillar).get(name)
    return said


def view(pillar: Mapping[str, Any], name: str, mine: bool) -> dict[str, Any]:
    """:func:`told` by the whole pillar: the app has its name."""
    seen = told(pillar, name, mine)
    if name != DEFAULT:
        seen[DEFAULT] = {**(seen[DEFAULT] if isinstance(seen[DEFAULT], Mapping) else {}), "name": name}
    return seen


def section(pillar: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The settings of an app in a pillar; empty where that has no such app, or no mapping."""
    found = view(pillar, name, False).get(DEFAULT) if name in names(pillar) else None
    return found if isinstance(found, Mapping) else {}


def about(name: str) -> dict[str, str]:
    """What a record, an event or a call says of the app that it is about: of ``globoapp`` nothing."""
    return {} if name == DEFAULT else {"app": name}


def subject(probe: str, app: str) -> str:
    """What the records of an alert are found by: the probe, with ``@`` and the app where that is not ``globoapp``."""
    return probe if app == DEFAULT else f"{probe}@{app}"


def split(name: str) -> tuple[str, str]:
    """Probe and app of a :func:`subject`."""
    probe, _, app = name.partition("@")
    return probe, app or DEFAULT
