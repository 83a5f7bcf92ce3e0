"""What a notification says. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from globolib.apps import DEFAULT

WORDS = {"bad": "ALERT", "clear": "clear", "reminder": "still"}

# Seconds before the next attempt to deliver, by the number of those that failed.
BACKOFF = (1, 2, 4, 8, 15, 30, 60, 120, 300)


def notice(alert: Mapping[str, Any], state: str, now: str) -> dict[str, str]:
    """
    The values that a template may name, all texts.

    alert
        A record of an alert: ``{"id", "host", "probe", "message", "value", "threshold", "since", "until"}``, with
        ``app`` where that is not ``globoapp``.
    state
        ``"bad"``, ``"clear"`` or ``"reminder"``.
    """
    lasted = f"since {alert['since']}" + (f" until {alert['until']}" if alert.get("until") else "")
    of_app = f" {alert['app']}" if "app" in alert else ""
    values = {
        "summary": f"[{WORDS[state]}] {alert['host']}{of_app} {alert['probe']}: {alert['message']} ({lasted})",
        "app": str(alert.get("app", DEFAULT)),
        "state": state,
        "time": now,
    }
    for key in ("id", "host", "probe", "message", "value", "threshold", "since", "until"):
        values[key] = "" if alert.get(key) is None else str(alert[key])
    return values


def fill(template: Any, values: Mapping[str, str]) -> Any:
    """
    A template with each ``{field}`` in its texts replaced; the rest as it is.
    """
    if isinstance(template, str):
        return re.sub(r"\{(\w+)\}", lambda match: values.get(match.group(1), match.group(0)), template)
    if isinstance(template, dict):
        return {key: fill(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, values) for value in template]
    return template


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return BACKOFF[min(failures, len(BACKOFF)) - 1] if failures else 0
