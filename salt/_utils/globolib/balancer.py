"""
Load balancers in pillar, and what is wrong with it: the setting ``balancer`` of a server, by which the master alone
goes in a rollout; and ``globoapp_balancer``, what HAProxy is configured from. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from globolib import hints

# The names that HAProxy takes; more would be another command to its socket.
NAME = re.compile(r"[A-Za-z0-9_.:-]{1,100}\Z")
KNOWN = ("minions", "backend", "server", "wait")


@dataclass(frozen=True)
class Balancer:
    """
    minions
        The ids of the machines with HAProxy, as the master knows them.
    backend, server
        What HAProxy calls the server.
    wait
        Seconds for its last sessions to end, and for HAProxy to find it well afterwards.
    """

    minions: tuple[str, ...]
    backend: str
    server: str
    wait: float = 30


def problems(section: Any) -> list[str]:
    """Everything that is wrong with ``globoapp:balancer``: a list of lines."""
    where = "globoapp:balancer"
    if not isinstance(section, Mapping):
        return [f"{where} is {section!r}: a mapping of {', '.join(KNOWN)}"]
    found = []
    for key in section:
        if key not in KNOWN:
            found.append(hints.unknown_setting(where, key, KNOWN))
    minions = section.get("minions")
    if not isinstance(minions, list) or not minions or not all(isinstance(one, str) and one for one in minions):
        found.append(f"{where}:minions is {minions!r}: a list of the minion ids of the load balancers")
    for key in ("backend", "server"):
        value = section.get(key, "globoapp")
        if not isinstance(value, str) or not NAME.match(value):
            found.append(f"{where}:{key} is {value!r}: the name that HAProxy has for it, of letters, digits and _.:-")
    wait = section.get("wait", 30)
    if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not 1 <= wait <= 3600:
        found.append(f"{where}:wait is {wait!r}: seconds, a number from 1 to 3600")
    return found


def of(section: Any, server: str) -> Balancer | None:
    """
    The setting of a server; None without one. It must have no :func:`problems`.

    server
        Its minion id, which HAProxy calls it by where the setting has no name.
    """
    if section is None:
        return None
    minions = tuple(dict.fromkeys(section["minions"]))
    return Balancer(minions, section.get("backend", "globoapp"), section.get("server", server), section.get("wait", 30))


# What a backend of the tree's own HAProxy is made of: pillar ``globoapp_balancer``.
BACKEND: dict[str, Any] = {"bind": ":80", "servers": {}, "check": {}}
CHECK = {"path": "/status/", "status": 200}


def backends(section: Any) -> tuple[dict[str, Any], list[str]]:
    """
    What pillar ``globoapp_balancer`` wants, with its defaults, and all that is wrong with it.

    Returns ``({name: {"bind": [line, ...], "servers": {name: "address:port"}, "check": {"path", "status"}}},
    problems)``.
    """
    where, found, made = "globoapp_balancer", [], {}
    if not isinstance(section, Mapping) or not section:
        return {}, [f"{where} is {section!r} in pillar: a mapping of backends, each with bind, servers and check"]
    for name, given in section.items():
        place = f"{where}:{name}"
        if not isinstance(name, str) or not NAME.match(name):
            found.append(f"{where} has {name!r}: the name of a backend is letters, digits and _.:-")
        elif not isinstance(given, Mapping):
            found.append(f"{place} is {given!r}: a mapping of bind, servers and check")
        else:
            merged = {**BACKEND, **given, "check": given.get("check") or {}}
            found += _backend_problems(place, merged)
            lines = merged["bind"] if isinstance(merged["bind"], list) else [merged["bind"]]
            made[name] = {**merged, "bind": lines, "check": {**CHECK, **_mapping(merged["check"])}}
    return made, found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _backend_problems(place: str, given: Mapping[str, Any]) -> list[str]:
    found = [
        f"{place}:{key} is an unknown setting; there are: {', '.join(BACKEND)}" for key in given if key not in BACKEND
    ]
    lines = given["bind"] if isinstance(given["bind"], list) else [given["bind"]]
    for one in lines:
        if not isinstance(one, str) or not re.match(r"[ -~]+\Z", one):
            found.append(f"{place}:bind has {one!r}: what HAProxy's bind takes, like :80 or 10.0.0.4:80")
    if not isinstance(given["servers"], Mapping) or not given["servers"]:
        found.append(f"{place}:servers is {given['servers']!r}: a mapping of names to address:port")
    for name, address in _mapping(given["servers"]).items():
        if not isinstance(name, str) or not NAME.match(name):
            found.append(f"{place}:servers has {name!r}: the name of a server is letters, digits and _.:-")
        if not isinstance(address, str) or not re.match(r"[0-9A-Za-z.:\[\]-]+:\d{1,5}\Z", address):
            found.append(f"{place}:servers:{name} is {address!r}: address:port")
    check = given["check"]
    if not isinstance(check, Mapping) or set(check) - set(CHECK):
        return [*found, f"{place}:check is {check!r}: a mapping of path and status"]
    path, status = {**CHECK, **check}["path"], {**CHECK, **check}["status"]
    if not isinstance(path, str) or not re.match(r"/[A-Za-z0-9/_.~%?&=+,:;@-]*\Z", path):
        found.append(f"{place}:check:path is {path!r}: the path of the app's health page, like /status/")
    if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
        found.append(f"{place}:check:status is {status!r}: the status that it answers with, a whole number")
    return found
