"""How an answer reads for many servers: a line each, or a table. Pure: data in, text out; None for what is neither."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from globolib import states as runs
from globolib import text

# Of what failed so many lines are shown.
MOST = 12


def told(data: Any) -> str | None:
    """A line for each server; None where one of the answers is of another kind."""
    if not isinstance(data, Mapping) or not data:
        return None
    said = [_line(str(name), answer) for name, answer in data.items()]
    return None if None in said else "\n".join(map(str, said))


def _line(name: str, answer: Any) -> str | None:
    if not isinstance(answer, Mapping):
        # What could not be run at all is told by words.
        words = answer if isinstance(answer, list) else [answer]
        return _failed(name, "\n".join(words)) if words and all(isinstance(word, str) for word in words) else None
    for is_one, line in _KINDS:
        if answer and is_one(answer):
            return line(name, answer)
    return None


def _failed(name: str, why: str) -> str:
    """``web1 failed: the reason``, and below it what its log said."""
    reason = [line for line in text.lines(why) if line.strip()][: MOST + 1] or [""]
    return "\n    ".join([f"{name} failed: {reason[0]}", *reason[1:]])


def _are_states(answer: Mapping[str, Any]) -> bool:
    return all("_|-" in str(key) and isinstance(state, Mapping) for key, state in answer.items())


def _states(name: str, answer: Mapping[str, Any]) -> str:
    states = runs.ordered(answer)
    if reasons := runs.reasons(answer):
        return "\n".join(_failed(name, reason) for reason in reasons)
    said = [state["changes"]["said"] for state in states if "said" in (state.get("changes") or {})]
    if said:
        return "\n".join(f"{name} {one}" for one in said)
    would = [str(state.get("__id__")) for state in states if state.get("result") is None]
    if would:
        return "\n    ".join([f"{name} would change:", *would])
    changed = [str(state.get("__id__")) for state in states if state.get("changes")]
    return f"{name} ok, {'changed: ' + ', '.join(changed) if changed else 'nothing to do'}"


def _rollback(name: str, answer: Mapping[str, Any]) -> str:
    if answer["result"]:
        return f"{name} {answer['from'] or '-'} -> {answer['to'] or '-'} ok: {text.line(str(answer['comment']))}"
    return _failed(name, "\n".join(map(str, [answer["comment"], *(answer.get("failed") or [])])))


def _health(name: str, answer: Mapping[str, Any]) -> str:
    version = answer.get("version") or "-"
    if answer["healthy"]:
        return f"{name} {version} healthy, {answer.get('latency_ms')} ms at {answer.get('asked')}"
    reason = [*(answer.get("problems") or [""]), *(answer.get("log") or [])][: MOST + 1]
    lines = [text.line(str(line)) for line in reason]
    return "\n    ".join([f"{name} {version} unhealthy: {lines[0]}", *lines[1:]])


_KINDS: Sequence[tuple[Callable[[Mapping[str, Any]], bool], Callable[[str, Mapping[str, Any]], str]]] = (
    (_are_states, _states),
    (lambda answer: {"result", "from", "to", "comment"} <= set(answer), _rollback),
    (lambda answer: "healthy" in answer and "heard" not in answer, _health),
)

COLUMNS = ("server", "version", "health", "disk used", "cpu used", "memory available", "heard", "last deploy", "what")


def table(data: Any) -> str | None:
    """The inventory, who is worst off first; None where this is none."""
    lines = list(data.items()) if isinstance(data, Mapping) else []
    if not lines or not all(isinstance(line, Mapping) and {"heard", "alerts"} <= set(line) for _, line in lines):
        return None
    lines.sort(key=lambda pair: (_rank(pair[1]), str(pair[0])))
    rows = [COLUMNS, *(_row(str(name), line) for name, line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _rank(line: Mapping[str, Any]) -> int:
    """How bad it is: dead before alerts, before silent, before behind, before unwatched; maintenance is no fault."""
    if line.get("maintenance"):
        return 5
    signs = (
        line.get("healthy") is False,
        bool(line.get("alerts")),
        line.get("silent") or not line.get("heard"),
        bool(line.get("behind")),
        line.get("watched") is False,
    )
    return signs.index(True) if True in signs else len(signs)


def _row(name: str, line: Mapping[str, Any]) -> tuple[str, ...]:
    disk = line.get("disk") or {}
    fullest = max(disk.items(), key=lambda pair: pair[1], default=None) if isinstance(disk, Mapping) else None
    deploy = line.get("last_deploy") or {}
    deployed = " ".join(str(deploy[key]) for key in ("action", "version", "result") if deploy.get(key))
    held = line.get("maintenance")
    notes = [f"in maintenance until {held.get('until')} ({held.get('by')}): {held.get('reason')}"] if held else []
    notes += [f"{probe}: {message}" for probe, message in (line.get("alerts") or {}).items()]
    notes += [f"behind {line['behind']['version']}"] if line.get("behind") else []
    notes += ["silent"] if line.get("silent") else []
    notes += ["not watched"] if line.get("watched") is False else []
    health = {True: "well", False: "bad"}.get(line.get("healthy"), "-")  # type: ignore[arg-type]
    latency = line.get("latency_ms")
    return (
        name,
        str(line.get("version") or "-"),
        f"{health} {latency} ms" if line.get("healthy") and latency is not None else health,
        f"{fullest[1]:.0f}% {fullest[0]}" if fullest else "-",
        _percent(line.get("cpu")),
        _percent(line.get("memory")),
        age(line.get("heard")),
        f"{deployed} {age(deploy.get('time'))}" if deployed else "-",
        text.line("; ".join(notes), 120),
    )


def _percent(value: Any) -> str:
    return f"{value:.0f}%" if isinstance(value, (int, float)) else "-"


def age(moment: Any) -> str:
    """How long a time of a record is ago: ``40 s``, ``3 min``, ``5 h``, ``2 d``; ``-`` for none."""
    try:
        then = datetime.fromisoformat(str(moment).replace("Z", "+00:00"))
        ago = time.time() - then.replace(tzinfo=then.tzinfo or timezone.utc).timestamp()
    except ValueError:
        return "-"
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if ago < most:
            return f"{max(0, ago) / size:.0f} {unit} ago"
    return f"{ago / 86400:.0f} d ago"
