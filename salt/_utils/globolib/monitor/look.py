"""
What the beacon does at each turn of the minion's loop: a look by every probe that is due; an event where one has gone
bad or has cleared.
"""

import logging
import os
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

from globolib import files, ledger, lock, maintenance
from globolib.layout import Layout
from globolib.minion import Minion
from globolib.monitor import probes, thresholds
from globolib.monitor.probes import Memory
from globolib.settings import Settings, root_of

log = logging.getLogger(__name__)

# A probe that had to wait must not hold up the minion's loop: it pauses so many times as long.
PAUSE = 4
# The probe of an app; all others are of its host.
API = "api"


def begin(minion: Minion) -> Memory:
    """What is remembered of an app between looks, at the first one. The first app's looks are at the host, too."""
    if minion.app != minion.apps[0]:
        return Memory(layout(minion), minion.cache, host=False)
    beside = tuple(layout(minion.for_app(name)) for name in minion.apps[1:])
    return Memory(layout(minion), minion.cache, beside)


def layout(minion: Minion) -> Layout:
    """Where the app is, by its pillar alone."""
    section = minion.pillar_section
    name = section.get("name") if isinstance(section.get("name"), str) else Settings.name
    return Settings(name=str(name), root=root_of(minion.pillar, minion.app)).layout


def turn(minion: Minion, memories: MutableMapping[str, Memory]) -> list[dict[str, Any]]:
    """
    :func:`look` at every app of pillar.

    memories
        What is remembered of each between looks; filled here.

    Raises what a look has raised where no other one has anything to tell.
    """
    events: list[dict[str, Any]] = []
    broken: Exception | None = None
    for name in minion.apps:
        app = minion.for_app(name)
        fresh, memory = begin(app), memories.get(name)
        # Another name or root is another app; and a class that was loaded anew takes nothing over from the old one.
        if type(memory) is not type(fresh) or (memory.layout, memory.host) != (fresh.layout, fresh.host):
            memory = memories[name] = fresh
        memory.beside = fresh.beside
        try:
            events += look(app, memory)
        except Exception as error:  # what is wrong with one app must not hide another
            log.error("the beacon cannot look at %s", name, exc_info=True)
            broken = error
    if broken and not events:
        raise broken
    return events


def look(minion: Minion, memory: Memory) -> list[dict[str, Any]]:
    """
    One look at an app by every probe that is due. While a deploy is under way nobody looks; in maintenance nobody looks
    at the app, and where all apps of the host are, nobody at the host either.

    Returns the events that are to be fired, mostly none: ``[{"tag": "api/bad", "probe": "api", "state": "bad", "clear"
    or "reminder", "value", "threshold", "message", "since", "time"}]``, of any app but ``globoapp`` with ``app``.
    """
    if memory.tracks is None:
        memory.tracks = {probe: {"open": True, **track} for probe, track in opened(minion).items()}
    _looked(memory)
    held = maintenance.current(memory.layout) is not None
    rest = held and all(maintenance.current(beside) for beside in memory.beside)
    if lock.holder(memory.layout.lock) is not None or rest:
        for track in memory.tracks.values():
            track["run"] = 0
        return []
    settings, events = thresholds.settle(minion.pillar_section.get("monitor")), []
    for probe in probes.PROBES if memory.host else (API,):
        began = time.monotonic()
        if probe == API and held:
            continue
        if settings[probe] is False or began < memory.due.get(probe, 0):
            continue
        sample = probes.sample(probe, settings[probe], memory)
        ended = time.monotonic()
        # Half a turn of grace: a look must not slip to the next turn because this one came early.
        memory.due[probe] = max(began + settings[probe]["every"] - 0.5, ended + PAUSE * (ended - began))
        if sample is not None:
            events += _judged(memory.tracks.setdefault(probe, {}), probe, sample, settings)
    for probe, track in memory.tracks.items():
        if settings.get(probe) is False and track["open"]:
            sample = {"bad": False, "value": None, "threshold": None, "message": "the probe was switched off"}
            events += _judged(track, probe, sample, {**settings, probe: {"samples": 1}})
    if events:
        _remember(minion, memory.tracks)
    return [{**event, **minion.about} for event in events]


def _looked(memory: Memory) -> None:
    """Note that the beacon looks: one that somebody has switched off and forgotten is to be seen."""
    try:
        files.write(memory.layout.looked, f"{time.monotonic():.0f}\n")  # the report reads it at any moment
    except OSError as error:
        log.error("%s cannot be written: %s", memory.layout.looked, error)


def last_look(layout: Layout) -> float | None:
    """Seconds since the beacon looked last; None where it has not looked since the boot."""
    noted = files.read(layout.looked)
    return time.monotonic() - float(noted) if noted and noted.strip().isdigit() else None


def _judged(
    track: dict[str, Any], probe: str, sample: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    state = thresholds.judge(track, sample, settings[probe], settings["reminder"], time.monotonic())
    # What was only slow, and does not answer any more, is news: slow is not healed.
    worse = track["open"] and track.get("slow") and sample["bad"] and not sample.get("slow")
    track["worse"] = track.get("worse", 0) + 1 if worse else 0
    if state in (None, "reminder") and track["worse"] >= settings[probe]["samples"]:
        state = "bad"
    if state is None:
        return []
    now = ledger.now()
    if state == "bad" and not worse:
        track["since"] = now
    seen = {key: sample[key] for key in ("value", "threshold", "message")}
    track.pop("slow", None)
    if sample.get("slow") or (worse and state == "reminder"):  # one look does not prove it dead
        seen["slow"] = True
    track.update(seen)
    event = {"tag": f"{probe}/{state}", "probe": probe, "state": state, "since": track.get("since"), "time": now}
    return [{**event, **seen}]


def _state_path(minion: Minion) -> str:
    # Not below the root: its file system may be the one that is full.
    return os.path.join(minion.cache, "_".join(["globoapp_monitor", *minion.about.values()]) + ".json")


def _remember(minion: Minion, tracks: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep what is open for the next life of the minion, and for the reports."""
    passing = ("run", "said", "worse")  # counts of this process, and times of its clock
    kept = {
        probe: {key: value for key, value in track.items() if key not in passing}
        for probe, track in tracks.items()
        if track["open"]
    }
    try:
        files.write_json(_state_path(minion), kept)
    except OSError as error:  # a full disk must not keep the alert about it from going out
        log.error("%s cannot be written: %s", _state_path(minion), error)


def opened(minion: Minion) -> dict[str, dict[str, Any]]:
    """The probes that are bad at this moment, as the beacon knows them: ``{"api": {"since", "message", ...}}``."""
    try:
        known = files.read_json(_state_path(minion))
    except (ValueError, RecursionError):  # torn by a power cut: the next look finds out anew
        return {}
    if not isinstance(known, dict):
        return {}
    return {probe: track for probe, track in known.items() if probe in probes.PROBES and isinstance(track, dict)}
