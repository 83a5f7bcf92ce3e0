"""
Maintenance: for a while nothing of ours is to start, heal or deploy an app, or to raise an alert about it.

It is a file of the host, which outlives a reboot. Its end is a time of the clock that counts from the boot: a wall
clock that is set back must not make it last. After a reboot only the wall clock is left to go by; where that stands
before the beginning it is wrong, and monitoring goes on.
"""

import contextlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from globolib import files, text
from globolib.errors import Failure
from globolib.layout import Layout
from globolib.minion import Minion

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = 7 * 86400
BOOT = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Clocks:
    """
    boot
        What tells this boot from others.
    up, wall
        Seconds since the boot, which nobody can set, and since the epoch.
    """

    boot: str
    up: float
    wall: float


@dataclass(frozen=True)
class Maintenance:
    """
    reason, by
        Why, and who said so.
    since
        When, as a text in UTC.
    left
        Seconds until it ends by itself.
    """

    reason: str
    by: str
    since: str
    left: float

    @property
    def until(self) -> str:
        """When it ends, by the wall clock as it is now: a text in UTC."""
        return _written(time.time() + self.left)

    @property
    def shown(self) -> dict[str, Any]:
        """What people and the master are told: ``{"reason", "by", "since", "until", "left": whole seconds}``."""
        told = {"reason": self.reason, "by": self.by, "since": self.since, "until": self.until}
        return {**told, "left": max(1, round(self.left))}


def _written(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def clocks() -> Clocks:
    """The clocks of this host, now."""
    return Clocks((files.read(BOOT) or "").strip(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


def span(until: Any) -> int:
    """Seconds of a span as a person writes it: ``30m``, ``2h``, ``1d``. Raises Failure: it is none, or too long."""
    if until is None:
        raise Failure("until is missing: say how long, like until=2h: maintenance without an end is forgotten")
    match = re.fullmatch(r"(\d{1,6})([smhd])", str(until))
    seconds = int(match[1]) * UNITS[match[2]] if match else 0
    if not seconds:
        raise Failure(f"until is {until!r}: a span like 30m, 2h or 1d is wanted (s, m, h or d after a whole number)")
    if seconds > LONGEST:
        raise Failure(f"until is {until!r}: at most 7d; say it again before it ends")
    return seconds


def begin(layout: Layout, reason: Any, seconds: int, by: str, now: Clocks) -> None:
    """Begin it, or let it last for ``seconds`` from now on. Raises Failure: no reason was said."""
    why = text.line(str(reason).strip(), 200) if reason is not None else ""
    if not why:
        raise Failure("reason is missing: say why, for whoever finds the service down: reason='a new disk'")
    files.make_directory(layout.own)
    ends = {"span": seconds, "began": now.wall, "boot": now.boot, "ends": now.up + seconds}
    files.write_json(layout.maintenance, {"reason": why, "by": by, "since": _written(now.wall), **ends})


def end(layout: Layout) -> None:
    """End it, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(layout.maintenance)
        files.sync_directory(layout.own)


def left(noted: Mapping[str, Any], now: Clocks) -> float:
    """Seconds that are left of what was noted; 0 or less when it has ended. Pure."""
    if noted["boot"] == now.boot:
        return float(noted["ends"] - now.up)
    return float(noted["began"] + noted["span"] - now.wall) if noted["began"] <= now.wall else 0.0


def current(layout: Layout) -> Maintenance | None:
    """The maintenance of an app on this host; None where there is none, or it has ended."""
    try:
        noted = files.read_json(layout.maintenance)
        if noted is None:
            return None
        rest = left(noted, clocks())
        reason, by, since = (str(noted[key]) for key in ("reason", "by", "since"))
    except (ValueError, TypeError, KeyError, RecursionError):  # not as this module writes it: monitoring goes on
        return None
    return Maintenance(reason, by, since, rest) if rest > 0 else None


def is_asked(minion: Minion, inner: Mapping[str, Any]) -> bool:
    """
    Whether a person wants this run of the states: a scheduled one brings nothing with it.

    inner
        What a rollback or healing has handed to the states that it applies.
    """
    call = minion.call
    if call is None:
        return bool(inner) or "version" in minion.pillar
    return bool(inner or call.pillar) or call.function == "globoapp.preflight"


def refusal(minion: Minion, held: Maintenance) -> str:
    """Why nothing is done for an app in maintenance, and what ends it."""
    app = "".join(f" app={name}" for name in minion.about.values())
    return (
        f"{minion.app} is in maintenance until {held.until}, by {held.by}: {held.reason}. Nothing is deployed, rolled "
        f"back, started or healed before it ends; to end it now: salt '{minion.id}' globoapp.maintenance off{app}"
    )
