"""
What the beacon sees on its server, and what the master is told of it.

``look`` is called by the beacon in the minion's own loop: it reads a few files of /proc and asks the
service once, and starts no process.
"""

import logging
import os
import socket
import time

import psutil

log = logging.getLogger(__name__)

# How many ledger lines go to the master at once; the rest follows with the next report.
BATCH = 50

# A probe that had to wait must not hold up the minion's loop: it pauses so many times as long.
PAUSE = 4


def __virtual__():
    return "globoapp_monitor"


def root():
    """
    Where the releases are: pillar's ``root``, or the default.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_monitor.root
    """
    given = __pillar__.get("globoapp")
    found = given.get("root") if isinstance(given, dict) else None
    return found if isinstance(found, str) else __utils__["globoapp_settings.defaults"]()["root"]


def _own(*names):
    return os.path.join(root(), ".globoapp", *names)


def settings():
    """
    What monitoring looks by on this server: the defaults with pillar's ``globoapp:monitor`` on top.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_monitor.settings
    """
    given = __pillar__.get("globoapp")
    return __utils__["globoapp_monitor.settle"](given.get("monitor") if isinstance(given, dict) else None)


def _state_path():
    # Not below the root: its file system may be the one that is full.
    return os.path.join(__opts__["cachedir"], "globoapp_monitor.json")


def _target(memory):
    """What stands here and how to ask it; read again when the ledger has changed. None when nothing stands."""
    path = __utils__["globoapp_ledger.path"](root())
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return None
    key = (path, info.st_ino, info.st_mtime_ns, info.st_size)
    if memory.get("ledger") != key:
        standing = __utils__["globoapp_ledger.standing"](__utils__["globoapp_ledger.read"](root()))
        memory["target"] = _describe(standing) if standing else None
        memory["ledger"] = key
    return memory["target"]


def _describe(standing):
    release = __utils__["globoapp_settings.release"](standing["version"])
    known = __salt__["globoapp_release.record"]({"root": root()}, release)
    return {
        "release": release,
        "version": standing["version"],
        "where": __salt__["globoapp_serving.where"](standing),
        "runtime": __salt__["globoapp_serving.runtime"](standing["name"], release),
        "workers": known["manifest"].get("workers", 1) if known else 1,
        "health": known["manifest"]["health"] if known else None,
    }


def _alive(runtime):
    """How many workers have loaded the app and are alive."""
    try:
        ready = [one[6:] for one in os.listdir(runtime) if one.startswith("ready-")]
    except FileNotFoundError:
        return 0
    return sum(os.path.exists(f"/proc/{pid}") for pid in ready)


def _api(settings, memory):
    """The service, asked over its own address. Where no worker is there is no answer to wait for."""
    target = _target(memory)
    if target is None:
        return {"bad": False, "value": None, "threshold": None, "message": "nothing is deployed here"}
    at = f"{target['where'][1]}:{target['where'][2]}"
    sample = {"bad": True, "value": None, "threshold": settings["latency_ms"]}
    if not _alive(target["runtime"]):
        try:
            # A client at the door: where only the unit is stopped, systemd starts it for this one.
            socket.create_connection(target["where"][1:], settings["timeout"]).close()
        except OSError as error:
            return {
                **sample,
                "message": f"no worker of {target['release']} runs, and {at} takes no connection: {error}",
            }
        return {**sample, "message": f"no worker of {target['release']} runs"}
    if target["health"] is None:
        return {**sample, "message": f"{target['release']} is not on this host"}
    problem, answer = __utils__["globoapp_http.once"](target["where"], target["health"], settings["timeout"])
    if problem:
        return {**sample, "message": f"GET http://{at}{target['health']['path']}: {problem}"}
    latency = round(answer["seconds"] * 1000, 1)
    slow = latency >= settings["latency_ms"]
    return {
        **sample,
        "bad": slow,
        "value": latency,
        "message": f"it answers in {latency} ms" + (f", alert from {settings['latency_ms']} ms" if slow else ""),
    }


def file_systems():
    """
    How full the file systems of the releases and of the logs are: ``{path: percent}``, one path each.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_monitor.file_systems
    """
    found, seen = {}, set()
    for path in (root(), os.path.join(root(), "virtualenvs"), "/var/log", "/var/log/journal"):
        if os.path.isdir(path) and os.stat(path).st_dev not in seen:
            seen.add(os.stat(path).st_dev)
            found[path] = psutil.disk_usage(path).percent
    return found


def _disk(settings, memory):
    """The fullest of the file systems."""
    found = file_systems()
    if not found:
        return None
    path = max(found, key=found.get)
    return __utils__["globoapp_monitor.over"](found[path], settings, f"the file system of {path}")


def _cpu(settings, memory):
    """All processors together since the last look."""
    before, memory["cpu"] = memory.get("cpu"), psutil.cpu_times()._asdict()
    percent = __utils__["globoapp_monitor.busy_percent"](before, memory["cpu"]) if before else None
    return None if percent is None else __utils__["globoapp_monitor.over"](percent, settings, "the processors")


def _memory(settings, memory):
    """What programs could still get, of all there is."""
    seen = psutil.virtual_memory()
    percent = round(100 * seen.available / seen.total, 1)
    return __utils__["globoapp_monitor.under"](percent, settings, "available memory")


PROBES = {"api": _api, "disk": _disk, "cpu": _cpu, "memory": _memory}


def _sample(probe, settings, memory):
    """A look by one probe; None when it has nothing to say. A probe that breaks is itself bad."""
    if settings.get("problem"):
        return {"bad": True, "value": None, "threshold": None, "message": settings["problem"]}
    try:
        return PROBES[probe](settings, memory)
    except Exception as error:  # noqa: BLE001  the other probes go on, and this is told as an alert
        log.error("the probe %s is broken", probe, exc_info=True)
        message = f"the probe is broken: {type(error).__name__}: {error}; the minion's log has more"
        return {"bad": True, "value": None, "threshold": None, "message": message}


def look():
    """
    One look by every probe that is due: what the beacon calls. While a deploy is under way nobody looks.

    Returns the events that are to be fired, mostly none: ``[{"tag": "api/bad", "probe": "api", "state": "bad",
    "clear" or "reminder", "value", "threshold", "message", "since", "time"}]``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_monitor.look
    """
    memory = __context__.setdefault("globoapp.monitor", {})
    if "tracks" not in memory:
        memory["tracks"] = {probe: {"open": True, **one} for probe, one in opened().items()}
    if __utils__["globoapp_lock.busy"](_own("lock")) is not None:
        for track in memory["tracks"].values():
            track["run"] = 0
        return []
    found, events = settings(), []
    due = memory.setdefault("due", {})
    for probe in PROBES:
        began = time.monotonic()
        if found[probe] is False or began < due.get(probe, 0):
            continue
        sample = _sample(probe, found[probe], memory)
        ended = time.monotonic()
        # Half a turn of grace: a look must not slip to the next turn because this one came early.
        due[probe] = max(began + found[probe]["every"] - 0.5, ended + PAUSE * (ended - began))
        if sample is not None:
            events += _judge(memory["tracks"].setdefault(probe, {}), probe, sample, found)
    for probe in [one for one in memory["tracks"] if found.get(one) is False and memory["tracks"][one]["open"]]:
        sample = {"bad": False, "value": None, "threshold": None, "message": "the probe was switched off"}
        events += _judge(memory["tracks"][probe], probe, sample, {**found, probe: {"samples": 1}})
    if events:
        _remember(memory["tracks"])
    return events


def _judge(track, probe, sample, settings):
    state = __utils__["globoapp_monitor.judge"](track, sample, settings[probe], settings["reminder"], time.time())
    if state is None:
        return []
    now = __utils__["globoapp_ledger.now"]()
    if state == "bad":
        track["since"] = now
    seen = {key: sample[key] for key in ("value", "threshold", "message")}
    track.update(seen)
    return [
        {"tag": f"{probe}/{state}", "probe": probe, "state": state, "since": track.get("since"), "time": now, **seen}
    ]


def _remember(tracks):
    """Keep what is open for the next life of the minion, and for the reports."""
    kept = {
        probe: {key: value for key, value in one.items() if key != "run"}
        for probe, one in tracks.items()
        if one["open"]
    }
    try:
        __utils__["globoapp_files.write_json"](_state_path(), kept)
    except OSError as error:  # a full disk must not keep the alert about it from going out
        log.error("%s cannot be written: %s", _state_path(), error)


def opened():
    """
    The probes that are bad at this moment, as the beacon knows them: ``{"api": {"since", "message", ...}}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_monitor.opened
    """
    try:
        found = __utils__["globoapp_files.read_json"](_state_path()) or {}
    except ValueError:  # torn by a power cut: the next look finds out anew
        return {}
    return {probe: one for probe, one in found.items() if probe in PROBES}


def unacknowledged():
    """
    The ledger lines that the master has not yet said it has, oldest first.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_monitor.unacknowledged
    """
    entries = __utils__["globoapp_ledger.read"](root())
    known = (__utils__["globoapp_files.read_json"](_own("acknowledged.json")) or {}).get("through")
    places = [place for place, entry in enumerate(entries) if entry.get("id") == known]
    return entries[places[-1] + 1 :] if places else entries


def acknowledge(ids):
    """
    The master has these ledger lines: do not send them again. Returns how many are still to be sent.

    ids
        A list of the lines' ``id``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_monitor.acknowledge '["0123456789abcdef0123456789abcdef"]'
    """
    left = unacknowledged()
    through = None
    while left and left[0].get("id") in ids:
        through = left.pop(0)["id"]
    if through:
        __utils__["globoapp_files.write_json"](_own("acknowledged.json"), {"through": through})
    return len(left)


def report(health):
    """
    Tell the master how this server is: health, disk, processors, memory, what is open, and the ledger
    lines that it does not have yet. Event ``globoapp/report/<id>``.

    health
        What :func:`globoapp.health` returned.

    Returns what was sent.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.health report=True
    """
    target, path = _target({}), os.path.join(__opts__["cachedir"], "globoapp_cpu.json")
    busy = __utils__["globoapp_monitor.busy_percent"]
    before, now = __utils__["globoapp_files.read_json"](path), psutil.cpu_times()._asdict()
    __utils__["globoapp_files.write_json"](path, now)
    seen = psutil.virtual_memory()
    sent = {
        "time": __utils__["globoapp_ledger.now"](),
        "health": health,
        "version": target["version"] if target else None,
        "port": target["where"][2] if target else None,
        "disk": file_systems(),
        # The first report after a boot has nothing to compare with: since the boot, then.
        "cpu": busy(before, now) if before and before["idle"] <= now["idle"] else busy(dict.fromkeys(now, 0), now),
        "memory": round(100 * seen.available / seen.total, 1),
        "open": opened(),
        "deploying": __utils__["globoapp_lock.busy"](_own("lock")),
        "deploys": unacknowledged()[:BATCH],
    }
    __salt__["event.send"](f"globoapp/report/{__opts__['id']}", sent)
    return sent
