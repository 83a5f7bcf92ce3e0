"""
What monitoring is told by pillar (``globoapp:monitor``, ``globoapp:notify``), and when a probe has gone bad.

Pure functions: no file, no process, no network.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from globolib import apps, balancer, hints

# Seconds, percent and milliseconds; a probe that is False is off. `every` is the pace of looking,
# `samples` how many looks in a row make a probe bad, or clear again.
DEFAULTS: dict[str, Any] = {
    "reminder": 0,
    "api": {"every": 1, "samples": 2, "timeout": 1, "latency_ms": 800},
    "disk": {"every": 10, "samples": 2, "percent": 90, "clear": 85, "logs_days": 14},
    "cpu": {"every": 5, "samples": 12, "percent": 95, "clear": 80},
    "memory": {"every": 5, "samples": 3, "available": 10, "clear": 15},
}
PROBES = ("api", "disk", "cpu", "memory")

# Ranges of what DEFAULTS names; whole numbers where the type says so.
RANGES: dict[str, tuple[float, float, str]] = {
    "every": (1, 3600, "seconds"),
    "samples": (1, 100, "looks in a row"),
    "timeout": (0.1, 10, "seconds"),
    "latency_ms": (1, 10000, "milliseconds"),
    "percent": (1, 100, "percent"),
    "available": (0, 99, "percent"),
    "clear": (0, 100, "percent"),
    "logs_days": (1, 3650, "days"),
    "reminder": (0, 604800, "seconds, 0 is never"),
}
WHOLE = ("samples", "logs_days")
# Seconds without a look of the beacon after which a server is not watched: it was switched off, and forgotten.
UNWATCHED = 120

NOTIFY: dict[str, Any] = {"url": None, "template": {"text": "{summary}"}, "timeout": 5, "headers": {}}
FIELDS = ("summary", "state", "host", "app", "probe", "message", "value", "threshold", "since", "until", "time", "id")


def _number_problem(where: str, key: str, value: Any) -> str | None:
    low, high, unit = RANGES[key]
    whole = key in WHOLE
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        return f"{where}:{key} is {value!r}: {kind} from {low} to {high} ({unit})"
    return None


def _probe_problems(probe: str, given: Any) -> list[str]:
    where, known = f"globoapp:monitor:{probe}", list(DEFAULTS[probe])
    if given is False:
        return []
    if not isinstance(given, Mapping):
        return [f"{where} is {given!r}: a mapping of {', '.join(known)}, or False to switch the probe off"]
    wrong = []
    for key, value in given.items():
        if key not in known:
            wrong.append(hints.unknown_setting(where, key, known))
        else:
            wrong += filter(None, [_number_problem(where, key, value)])
    if wrong:
        return wrong
    merged = {**DEFAULTS[probe], **given}
    if "percent" in merged and merged["clear"] >= merged["percent"]:
        wrong.append(f"{where}:clear is {merged['clear']}: it must be below percent, which is {merged['percent']}")
    if "available" in merged and merged["clear"] <= merged["available"]:
        wrong.append(f"{where}:clear is {merged['clear']}: it must be above available, which is {merged['available']}")
    return wrong


def problems(section: Any, notify: Any = None) -> list[str]:
    """
    Everything that is wrong with ``globoapp:monitor`` and ``globoapp:notify``: a list of lines.
    """
    wrong = _notify_problems({} if notify is None else notify)
    section = {} if section is None else section
    if not isinstance(section, Mapping):
        return [f"globoapp:monitor is {section!r}: a mapping of {', '.join(DEFAULTS)}", *wrong]
    found = []
    for key, value in section.items():
        if key not in DEFAULTS:
            found.append(hints.unknown_setting("globoapp:monitor", key, list(DEFAULTS)))
        elif key in PROBES:
            found += _probe_problems(key, value)
        else:
            found += filter(None, [_number_problem("globoapp:monitor", key, value)])
    return found + wrong


def pillar_problems(pillar: Mapping[str, Any], app: str = apps.DEFAULT) -> list[str]:
    """
    The same for the pillar that an app sees. Empty where ``globoapp`` is not a mapping: that is reported elsewhere.
    """
    section = pillar.get("globoapp", {})
    if not isinstance(section, Mapping):
        return []
    found = problems(section.get("monitor"), section.get("notify"))
    if not isinstance(section.get("catch_up", False), bool):
        found.append(f"globoapp:catch_up is {section['catch_up']!r}: true or false")
    if section.get("balancer") is not None:
        found += balancer.problems(section["balancer"])
    return [apps.place(app) + line.removeprefix(apps.DEFAULT) for line in found]


def _texts(template: Any) -> Iterator[str]:
    """Every string in a template, however deep."""
    if isinstance(template, str):
        yield template
    elif isinstance(template, dict):
        for value in template.values():
            yield from _texts(value)
    elif isinstance(template, list):
        for value in template:
            yield from _texts(value)


def _notify_problems(notify: Any) -> list[str]:
    where = "globoapp:notify"
    if not isinstance(notify, Mapping):
        return [f"{where} is not a mapping of {', '.join(NOTIFY)}"]
    wrong = [hints.unknown_setting(where, key, list(NOTIFY)) for key in notify if key not in NOTIFY]
    url = notify.get("url")
    # The address of a webhook is a secret: it is never shown.
    if url is not None and not (isinstance(url, str) and re.match(r"https?://[^\s/]+\S*\Z", url)):
        wrong.append(f"{where}:url is no http:// or https:// address")
    value = notify.get("timeout", NOTIFY["timeout"])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.1 <= value <= 60:
        wrong.append(f"{where}:timeout is {value!r}: seconds, a number from 0.1 to 60")
    if not isinstance(notify.get("headers", {}), dict):
        wrong.append(f"{where}:headers must be a mapping of name to value")
    template = notify.get("template", NOTIFY["template"])
    if not isinstance(template, dict):
        return [*wrong, f"{where}:template must be a mapping: it is sent as JSON"]
    for text in _texts(template):
        for field in re.findall(r"\{(\w+)\}", text):
            if field not in FIELDS:
                wrong.append(f"{where}:template has {{{field}}}; {hints.near(field, FIELDS)}")
    return wrong


def settle(section: Any) -> dict[str, Any]:
    """
    The settings to look by: DEFAULTS with pillar's on top. A probe that pillar sets wrongly has a key
    ``problem`` and else its defaults; one that is off is False.

    Returns ``{"reminder", "api": {...} or False, ...}``.
    """
    section = section if isinstance(section, Mapping) else {}
    settled = {}
    for key, default in DEFAULTS.items():
        given = section.get(key)
        if key not in PROBES:
            good = given is not None and not _number_problem("", key, given)
            settled[key] = given if good else default
        elif given is False:
            settled[key] = False
        else:
            wrong = _probe_problems(key, given) if given is not None else []
            settled[key] = {**default, "problem": "; ".join(wrong)} if wrong else {**default, **(given or {})}
    return settled


def busy_percent(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """
    How busy the processors were between two psutil.cpu_times() (as dicts): percent, or None when no time passed.
    """
    # guest and guest_nice are counted in user and nice already.
    whole = {key: after[key] - before[key] for key in after if key not in ("guest", "guest_nice") and key in before}
    total = sum(whole.values())
    idle = whole.get("idle", 0) + whole.get("iowait", 0)
    return round(100 * (total - idle) / total, 1) if total > 0 else None


def over(percent: float, settings: Mapping[str, Any], what: str) -> dict[str, Any]:
    """
    A sample of a value that is bad above ``percent``: ``{"bad": True, False, or None in between, ...}``.
    """
    bad = True if percent >= settings["percent"] else (False if percent < settings["clear"] else None)
    return {
        "bad": bad,
        "value": percent,
        "threshold": settings["percent"],
        "message": f"{what} at {percent} % (alert from {settings['percent']} %, clear below {settings['clear']} %)",
    }


def under(percent: float, settings: Mapping[str, Any], what: str) -> dict[str, Any]:
    """
    A sample of a value that is bad below ``available``: as :func:`over` gives it.
    """
    bad = True if percent <= settings["available"] else (False if percent > settings["clear"] else None)
    return {
        "bad": bad,
        "value": percent,
        "threshold": settings["available"],
        "message": f"{what} at {percent} % (alert at {settings['available']} %, clear above {settings['clear']} %)",
    }


def judge(
    track: dict[str, Any], sample: Mapping[str, Any], settings: Mapping[str, Any], reminder: float, now: float
) -> str | None:
    """
    Whether a sample makes an event: at the edge from good to bad and back, each after ``samples`` looks
    in a row, and every ``reminder`` seconds while bad.

    track
        What is remembered of the probe, changed in place: ``{"open": bool, "run": looks in a row that
        speak for a change, "said": time of the last event}``. Begin with ``{}``.
    sample
        ``{"bad": True, False, or None where the value is between the thresholds, ...}``.
    now
        Seconds on any clock that only goes forward.

    Returns ``"bad"``, ``"clear"``, ``"reminder"`` or None.
    """
    is_open = track.setdefault("open", False)
    change = sample["bad"] is (not is_open)
    track["run"] = track.get("run", 0) + 1 if change else 0
    if track["run"] >= settings["samples"]:
        track.update(open=not is_open, run=0, said=now)
        return "bad" if track["open"] else "clear"
    if is_open and reminder and now - track.setdefault("said", now) >= reminder:
        track["said"] = now
        return "reminder"
    return None
