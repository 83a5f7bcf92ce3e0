"""
The door: what comes in by event is foreign, whoever signed it, and goes no further before it fits. Pure, never raises.

Each function returns what fits, cleaned (unknown keys gone, texts harmless and of limited length), or a str: why it
does not.
"""

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from globolib import apps, ledger, text
from globolib.maintenance import LONGEST

# What a beacon may report on (its own failure is "monitor").
BEACON = ("api", "disk", "cpu", "memory", "monitor")
STATES = ("bad", "clear", "reminder")
RESULTS = ("healed", "failed", "refused")
MESSAGE, WORD, PHRASES = 4000, 200, 200  # characters, characters, phrases of a list
DEPLOYS = 100  # ledger lines of one event
APPS = 50  # apps of one server
LARGEST = 1e15
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)\Z")
_ID = re.compile(r"[0-9a-f]{32}\Z")
_NAME = re.compile(r"[\w-]{0,64}\Z", re.ASCII)


def decoded(data: Any) -> Any:
    """
    What a reactor has passed on: JSON in base64, since YAML does not take every text that JSON can write. Anything else
    is as it came (a person types a mapping); what cannot be decoded is None.
    """
    if not isinstance(data, str):
        return data
    try:
        return json.loads(base64.b64decode(data, validate=True))
    except (ValueError, RecursionError):
        return None


def time(value: Any, arrival: str) -> str:
    """A time as the records write it; that of arrival where it is none, or lies in the future."""
    if isinstance(value, str) and _TIME.match(value):
        try:
            parsed = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return arrival
        written = parsed.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return min(written, arrival)
    return arrival


def number(value: Any) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if abs(value) < LARGEST else None  # neither NaN nor an integer that no float can hold


def word(value: Any, limit: int = WORD) -> str | None:
    """A harmless line, else None."""
    return text.line(value, limit) if isinstance(value, str) else None


def message(value: Any) -> str:
    """Harmless text of several lines."""
    return "\n".join(text.lines(str(value)[: 2 * MESSAGE], most=60))[:MESSAGE] if isinstance(value, str) else ""


def phrases(value: Any) -> list[str]:
    """A list of harmless texts."""
    return [message(phrase) for phrase in value[:PHRASES]] if isinstance(value, (list, tuple)) else []


def _shown(value: Any) -> str:
    """A foreign value for a message; what is no text may be of any size and depth, so only its type is named."""
    return repr(text.line(value[:40])) if isinstance(value, str) else f"a {type(value).__name__}"


def _seen(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a probe saw."""
    seen = {"value": number(data.get("value")), "threshold": number(data.get("threshold"))}
    return {**seen, "message": message(data.get("message")), **({"slow": True} if data.get("slow") is True else {})}


def app(value: Any) -> str | None:
    """The name of an app: ``globoapp`` where there is none, None where it cannot be one."""
    if value is None:
        return apps.DEFAULT
    return value if isinstance(value, str) and apps.NAME.match(value) else None


def edge(data: Any, arrival: str) -> dict[str, Any] | str:
    """A beacon's event: ``{"probe", "state", "since", "time", "value", "threshold", "message"}``, and ``app``."""
    if not isinstance(data, Mapping):
        return "an alert that is not a mapping"
    probe, state = data.get("probe"), data.get("state")
    if probe not in BEACON or state not in STATES:
        return f"an alert of probe {_shown(probe)}, state {_shown(state)}: not both are known"
    name = app(data.get("app"))
    if name is None:
        return f"an alert of app {_shown(data['app'])}, which is no name of an app"
    times = {"since": time(data.get("since"), arrival), "time": time(data.get("time"), arrival)}
    return {"probe": probe, "state": state, **apps.about(name), **times, **_seen(data)}


def healed(data: Any) -> dict[str, Any] | str:
    """What came of an attempt to heal: ``{"result", "comment"}``, and ``app``."""
    if not isinstance(data, Mapping) or data.get("result") not in RESULTS:
        return "an answer of healing without a known result"
    name = app(data.get("app"))
    if name is None:
        return f"an answer of healing of app {_shown(data['app'])}, which is no name of an app"
    return {"result": data["result"], **apps.about(name), "comment": message(data.get("comment"))[:2000]}


def deploy(data: Any, arrival: str) -> dict[str, Any] | str:
    """A ledger line."""
    if not isinstance(data, Mapping) or not isinstance(data.get("id"), str) or not _ID.match(data["id"]):
        return "a ledger line without an id"
    version, result = word(data.get("version"), 40), data.get("result")
    if not version or result not in (ledger.SUCCESS, ledger.FAILED, ledger.INTERRUPTED):
        return "a ledger line without a version, or without a known result"
    name = app(data.get("app"))
    if name is None:
        return f"a ledger line of app {_shown(data['app'])}, which is no name of an app"
    line: dict[str, Any] = {"id": data["id"], **apps.about(name), "version": version, "result": result}
    line["time"] = time(data.get("time"), arrival)
    for key in ("host", "name", "bind", "address", "action", "from", "jid"):
        if key in data:
            line[key] = word(data[key])
    for key in ("port", "duration", "cut"):
        if key in data:
            line[key] = number(data[key])
    for key in ("changed", "failed"):
        if key in data:
            line[key] = phrases(data[key])
    if isinstance(data.get("probe"), Mapping):
        probe = data["probe"]
        line["probe"] = {key: number(probe.get(key)) for key in ("sent", "failed", "longest_gap_ms")}
        if "first_failure" in probe:
            line["probe"]["first_failure"] = word(probe["first_failure"])
    if isinstance(data.get("release_command"), Mapping):
        line["release_command"] = {"exit": number(data["release_command"].get("exit"))}
    return line


def identity(data: Any) -> str | None:
    """
    The id by which a server's ledger names a line that is refused, to acknowledge it by: sent again it would be as
    wrong, and would stand before those that are right. Empty where the line has none; None where it is no line.
    """
    name = data.get("id", "") if isinstance(data, Mapping) else None
    return name if isinstance(name, str) and _NAME.match(name) else None


def report(data: Any, arrival: str) -> dict[str, Any] | str:
    """A server's report of the minute; ``deploys`` as they came, to be judged one by one."""
    if not isinstance(data, Mapping) or not isinstance(data.get("health"), Mapping):
        return "a report without health"
    disk = data.get("disk") if isinstance(data.get("disk"), Mapping) else {}
    opened = data.get("open") if isinstance(data.get("open"), Mapping) else {}
    beside = data.get("apps") if isinstance(data.get("apps"), Mapping) else {}
    return {
        "time": time(data.get("time"), arrival),
        **_part(data, arrival),
        "disk": {
            text.line(path, 255): number(percent)
            for path, percent in list((disk or {}).items())[:50]
            if isinstance(path, str) and number(percent) is not None
        },
        "cpu": number(data.get("cpu")),
        "memory": number(data.get("memory")),
        "looked": number(data.get("looked")),
        "open": {
            name: {"since": time(track.get("since"), arrival), **_seen(track)}
            for name, track in list((opened or {}).items())[: APPS * len(BEACON)]
            if _is_subject(name) and isinstance(track, Mapping)
        },
        "apps": {
            name: _part(part, arrival)
            for name, part in list((beside or {}).items())[:APPS]
            if app(name) not in (None, apps.DEFAULT) and isinstance(part, Mapping)
        },
        "deploys": list(data["deploys"])[:DEPLOYS] if isinstance(data.get("deploys"), (list, tuple)) else [],
    }


def _is_subject(name: Any) -> bool:
    """Whether a name is that of a beacon's probe, and of an app (:func:`globolib.apps.subject`)."""
    if not isinstance(name, str):
        return False
    probe, beside = apps.split(name)
    return probe in BEACON and name in (probe, apps.subject(probe, app(beside) or apps.DEFAULT))


def _part(data: Mapping[str, Any], arrival: str) -> dict[str, Any]:
    """What a report says of one app."""
    health = data["health"] if isinstance(data.get("health"), Mapping) else {}
    return {
        "health": {
            "healthy": health.get("healthy") is True,
            "version": word(health.get("version"), 40),
            "latency_ms": number(health.get("latency_ms")),
            "problems": phrases(health.get("problems"))[:20],
        },
        "version": word(data.get("version"), 40),
        "port": number(data.get("port")),
        **({"address": word(data["address"])} if "address" in data else {}),
        "deploying": data.get("deploying") is not None,
        "maintenance": _maintenance(data.get("maintenance"), arrival),
    }


def _maintenance(data: Any, arrival: str) -> dict[str, Any] | None:
    """Of an app in maintenance ``{"reason", "by", "since", "until", "left"}``; ``until`` by the master's clock."""
    left = number(data.get("left")) if isinstance(data, Mapping) else None
    if left is None or not 0 < left <= LONGEST:
        return None
    try:
        until = datetime.fromisoformat(arrival.replace("Z", "+00:00")) + timedelta(seconds=round(left))
    except (ValueError, OverflowError):
        return None
    told = {key: word(data.get(key)) for key in ("reason", "by")}
    return {**told, "since": time(data.get("since"), arrival), "until": f"{until:%Y-%m-%dT%H:%M:%SZ}", "left": left}


def in_maintenance(known: Any, app: str, now: float) -> dict[str, Any] | None:
    """
    What the last report of a server says of an app's maintenance; None where there is none, or it has ended meanwhile.

    known
        The record of the server.
    now
        Seconds since the epoch.
    """
    record = _mapping(known)
    part, heard, arrival = _mapping(record.get("report")), number(record.get("heard_epoch")), record.get("heard")
    if app != apps.DEFAULT:
        part = _mapping(_mapping(part.get("apps")).get(app))
    held = _maintenance(part.get("maintenance"), arrival) if isinstance(arrival, str) else None
    return held if held and heard is not None and heard + held["left"] > now else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
