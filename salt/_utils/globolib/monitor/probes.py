"""
The four probes of a server: API, disk, processors, memory. Each is one look, and takes a sample: ``{"bad": True,
False, or None in between, "value", "threshold", "message"}``; None when there is nothing to say.

They are called in the minion's own loop: they read a few files, ask the service once, and start no process.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from globolib import background, files, health, ledger, nginx, release, systemd
from globolib.address import Address
from globolib.layout import Layout, release_of
from globolib.manifest import Health
from globolib.monitor import thresholds
from globolib.units import is_ours

log = logging.getLogger(__name__)

Sample = dict[str, Any]
# A file system is bad when so few percent of its inodes are free.
INODES = 5


@dataclass(frozen=True)
class Deployed:
    """What is deployed, and how to ask it: worked out anew when the ledger has changed."""

    release: str
    version: str
    listen: Address
    where: health.Where
    runtime: str
    health: Health | None


@dataclass
class Memory:
    """
    What is remembered of an app between looks.

    beside
        Where the other apps of the host are.
    host
        Whether these looks are at the host, too.
    """

    layout: Layout
    cache: str
    beside: tuple[Layout, ...] = ()
    host: bool = True
    ledger: tuple[Any, ...] | None = None
    deployed: Deployed | None = None
    cpu: Mapping[str, float] | None = None
    due: dict[str, float] = field(default_factory=dict)
    tracks: dict[str, dict[str, Any]] | None = None


def deployed(memory: Memory) -> Deployed | None:
    """What is deployed here; None when nothing is."""
    path = memory.layout.ledger
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return None
    key = (path, info.st_ino, info.st_mtime_ns, info.st_size)
    if memory.ledger != key:
        entry = ledger.deployed(ledger.read(path))
        memory.deployed = _described(memory.layout, entry) if entry else None
        memory.ledger = key
    return memory.deployed


def _described(layout: Layout, entry: ledger.Entry) -> Deployed:
    name = release_of(entry.version)
    record = release.record(layout, name)
    where, runtime = health.where(entry.listen), layout.runtime(name)
    return Deployed(name, entry.version, entry.listen, where, runtime, record.manifest.health if record else None)


def _alive(runtime: str) -> int:
    """How many workers have loaded the app and are alive."""
    try:
        marks = [name.removeprefix("ready-") for name in os.listdir(runtime) if name.startswith("ready-")]
    except FileNotFoundError:
        return 0
    return sum(os.path.exists(f"/proc/{pid}") for pid in marks)


def _dead_processes(layout: Layout, name: str) -> list[str]:
    """
    The background processes of a release that have a unit and do not run: systemd has removed their directory, but for
    that of a unit which was masked before it stopped.
    """
    dead = []
    for path, held in systemd.process_texts(layout).items():
        process, instance = background.of_unit(layout, os.path.basename(path)) or ("", "")
        runs = held and os.path.isdir(layout.runtime(name, f"-{process}"))
        if instance == name and is_ours(held) and not runs:
            dead.append(process)
    return dead


def api(settings: Mapping[str, Any], memory: Memory) -> Sample:
    """
    The service, asked over its own address, and by its proxy where it has one: the message says which of the two is
    dead; and its background processes. Where no worker is there is no answer to wait for. ``slow`` says that it answers
    as it should, only late: for people, and not to be healed.
    """
    target, timeout = deployed(memory), settings["timeout"]
    sample = _app(settings, memory, target)
    front = nginx.taken_up(memory.layout) if target else None
    if target is None or target.health is None or front is None:
        return sample
    if sample["bad"] and not sample.get("slow"):
        dead, _ = nginx.answers(front, timeout)
        return {**sample, "message": f"{sample['message']}; {dead or f'its proxy nginx answers at {front}'}"}
    by_proxy = nginx.unwell(memory.layout, target.health, timeout)
    if by_proxy is None:
        return sample
    return {**sample, "bad": True, "value": None, "slow": False, "message": f"{by_proxy}; the app itself answers"}


def _app(settings: Mapping[str, Any], memory: Memory, target: Deployed | None) -> Sample:
    if target is None:
        gone = os.path.islink(memory.layout.current)
        message = f"{memory.layout.ledger} is gone or holds no deploy, and {memory.layout.current} is there"
        # Not to be healed: who has no ledger does not know what to put back.
        nothing = {"bad": gone, "value": None, "threshold": None, "slow": gone}
        return {**nothing, "message": message if gone else "nothing is deployed here"}
    sample = {"bad": True, "value": None, "threshold": settings["latency_ms"]}
    if not _alive(target.runtime):
        try:
            # A client at the door: where only the unit is stopped, systemd starts it for this one.
            health.knock(target.where, settings["timeout"])
        except OSError as error:
            no_worker = f"no worker of {target.release} runs, and {target.where.at} takes no connection: {error}"
            return {**sample, "message": no_worker}
        return {**sample, "message": f"no worker of {target.release} runs"}
    if target.health is None:
        return {**sample, "message": f"{target.release} is not on this host"}
    problem, answer = health.once(target.where, target.health, settings["timeout"])
    if problem or answer is None:
        return {**sample, "message": f"GET {target.where}{target.health.path}: {problem}"}
    latency = round(answer.seconds * 1000, 1)
    if dead := _dead_processes(memory.layout, target.release):
        return {**sample, "value": latency, "message": f"{', '.join(dead)} of {target.release} does not run"}
    slow = latency >= settings["latency_ms"]
    message = f"it answers in {latency} ms" + (f", alert from {settings['latency_ms']} ms" if slow else "")
    return {**sample, "bad": slow, "value": latency, "message": message, "slow": slow}


def places(memory: Memory) -> list[str]:
    """One path of each file system that matters: releases, virtualenvs, the apps' data, logs, Salt's cache, ``/``."""
    candidates = (
        *(path for one in (memory.layout, *memory.beside) for path in (one.root, one.virtualenvs, one.state)),
        "/var/log",
        "/var/log/journal",
        memory.cache,
        "/",
    )
    by_device: dict[tuple[int, bool], str] = {}
    for path in candidates:
        if os.path.isdir(path):
            # A part of a file system may be mounted read-only by itself.
            by_device.setdefault((os.stat(path).st_dev, files.is_read_only(path)), path)
    return list(by_device.values())


def file_systems(memory: Memory) -> dict[str, float]:
    """How full the file systems that matter are: percent by path."""
    return {path: float(psutil.disk_usage(path).percent) for path in places(memory)}


def _trouble(path: str) -> str | None:
    """Disk trouble that is no percentage: no inodes, or a file system that nothing can be written to."""
    if files.is_read_only(path):
        return f"the file system of {path} is mounted read-only"
    inodes = files.inodes(path)
    if inodes and 100 * inodes.free / inodes.all < INODES:
        return f"the file system of {path} has {inodes.free} of {inodes.all} inodes free"
    return None


def disk(settings: Mapping[str, Any], memory: Memory) -> Sample | None:
    """The fullest of the file systems that matter; and what ails them otherwise."""
    used = file_systems(memory)
    if not used:
        return None
    troubles = [trouble for trouble in map(_trouble, used) if trouble]
    path = max(used, key=lambda name: used[name])
    sample = thresholds.over(used[path], settings, f"the file system of {path}")
    return {**sample, "bad": True, "message": "; ".join(troubles)} if troubles else sample


def cpu(settings: Mapping[str, Any], memory: Memory) -> Sample | None:
    """All processors together since the last look."""
    before, memory.cpu = memory.cpu, psutil.cpu_times()._asdict()
    percent = thresholds.busy_percent(before, memory.cpu) if before else None
    return None if percent is None else thresholds.over(percent, settings, "the processors")


def memory_available() -> float:
    """What programs could still get of the memory, in percent."""
    seen = psutil.virtual_memory()
    return round(100 * seen.available / seen.total, 1)


def memory(settings: Mapping[str, Any], memory: Memory) -> Sample | None:
    """What programs could still get of the memory."""
    return thresholds.under(memory_available(), settings, "available memory")


PROBES: dict[str, Callable[[Mapping[str, Any], Memory], Sample | None]] = {
    "api": api,
    "disk": disk,
    "cpu": cpu,
    "memory": memory,
}


def sample(probe: str, settings: Mapping[str, Any], memory: Memory) -> Sample | None:
    """A look by one probe. A probe that breaks is itself bad: the others go on, and this is told as an alert."""
    if settings.get("problem"):
        return {"bad": True, "value": None, "threshold": None, "message": settings["problem"]}
    try:
        return PROBES[probe](settings, memory)
    except Exception as error:  # noqa: BLE001  see above
        log.error("the probe %s is broken", probe, exc_info=True)
        message = f"the probe is broken: {type(error).__name__}: {error}; the minion's log has more"
        return {"bad": True, "value": None, "threshold": None, "message": message}
