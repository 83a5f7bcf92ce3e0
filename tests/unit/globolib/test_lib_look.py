"""The beacon's look: edges only, each after enough looks; silent during a deploy; nothing keeps it from telling."""

import json
import os
import pathlib

import pytest
from globolib import ledger, lock
from globolib.minion import Minion
from globolib.monitor import look, probes
from watched import Clock, Watched

MONITOR = {"disk": {"samples": 1}, "cpu": {"samples": 1}}


class Beacon(Watched):
    """Looks by probes that the test sets: `values` holds what each sees."""

    def __init__(self, directory, monkeypatch):
        super().__init__(directory)
        self.clock, self.values, self.looks = Clock(), {}, []
        self.pillar = {"globoapp": {"root": self.layout.root, "monitor": {**MONITOR}}}
        self.minion = Minion({}, {"id": "web1", "cachedir": self.memory.cache}, self.pillar)
        self.state = pathlib.Path(self.memory.cache) / "globoapp_monitor.json"
        monkeypatch.setattr(look, "time", self.clock)
        monkeypatch.setattr(probes, "PROBES", {name: self._probe(name) for name in ("api", "disk", "cpu", "memory")})

    def _probe(self, name):
        def probe(settings, memory):
            self.looks.append((name, self.clock.now))
            value = self.values.get(name)
            if isinstance(value, Exception):
                raise value
            if value == "hangs":
                self.clock.now += 1
            if value is None:
                return None
            seen = {"value": 1, "threshold": 2, "message": f"{name} is {value}"}
            return {"bad": bool(value), **seen, **({"slow": True} if value == "slow" else {})}

        return probe

    def look(self, seconds=100):
        """The events of the next look."""
        self.clock.now += seconds
        return look.look(self.minion, self.memory)

    def turn(self, seconds=100):
        """Probe and state of each event of the next look."""
        return [(event["probe"], event["state"]) for event in self.look(seconds)]

    def restart(self):
        """The minion begins anew: what it remembered is gone."""
        self.memory = probes.Memory(self.layout, self.memory.cache)


@pytest.fixture
def beacon(tmp_path, monkeypatch):
    return Beacon(tmp_path, monkeypatch)


def test_an_event_says_what_was_seen(beacon, monkeypatch):
    times = iter(["2026-01-01T00:00:00.000Z", "2026-01-01T00:05:00.000Z"])
    monkeypatch.setattr(ledger, "now", lambda: next(times))
    beacon.values["disk"] = True
    began = "2026-01-01T00:00:00.000Z"
    seen = {"value": 1, "threshold": 2, "message": "disk is True"}
    expected = {"tag": "disk/bad", "probe": "disk", "state": "bad", "since": began, "time": began, **seen}
    assert beacon.look() == [expected]
    beacon.values["disk"] = False
    (cleared,) = beacon.look()
    assert (cleared["tag"], cleared["since"], cleared["time"]) == ("disk/clear", began, "2026-01-01T00:05:00.000Z")


def test_a_broken_probe_is_an_alert_and_the_others_go_on(beacon):
    beacon.values.update(disk=OSError("gone"), cpu=True)
    assert beacon.turn() == [("disk", "bad"), ("cpu", "bad")]
    assert "gone" in look.opened(beacon.minion)["disk"]["message"]
    beacon.values["disk"] = False
    assert beacon.turn() == [("disk", "clear")]


def test_silent_while_a_deploy_is_under_way(beacon):
    held = lock.acquire(beacon.layout.lock, 0, {"what": "deploy of 1.1"})
    beacon.values.update(api=True, disk=True)
    assert [beacon.turn() for _ in range(5)] == [[]] * 5
    assert beacon.looks == []
    held.release()
    assert beacon.turn() == [("disk", "bad")]
    held = lock.acquire(beacon.layout.lock, 0, {})
    assert beacon.turn() == []
    held.release()
    assert beacon.turn() == [], "looks from before the deploy do not count"
    assert beacon.turn() == [("api", "bad")]


def test_what_is_open_outlives_the_minion(beacon):
    beacon.values["disk"] = True
    assert beacon.turn() == [("disk", "bad")]
    beacon.restart()
    assert beacon.turn() == []
    beacon.values["disk"] = False
    assert beacon.turn() == [("disk", "clear")]
    assert look.opened(beacon.minion) == {}


def test_what_is_kept_has_no_times_of_a_clock_that_ends_with_the_boot(beacon):
    beacon.values["disk"] = True
    beacon.turn()
    kept = json.loads(beacon.state.read_text())
    assert set(kept) == {"disk"}
    assert not {"run", "said", "worse"} & set(kept["disk"])


@pytest.mark.parametrize("torn", ["", '{"disk": {', "[1]", "[" * 100_000, '{"disk": 1, "x": {}}', b"\xff\xfe"])
def test_a_state_that_a_power_cut_tore_is_found_out_anew(beacon, torn):
    beacon.state.write_bytes(torn if isinstance(torn, bytes) else torn.encode())
    assert look.opened(beacon.minion) == {}
    beacon.values["disk"] = True
    assert beacon.turn() == [("disk", "bad")]


def test_a_disk_too_full_to_remember_still_tells(beacon, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(look.files, "write_json", full)
    beacon.values["disk"] = True
    assert beacon.turn() == [("disk", "bad")]


def test_a_probe_that_is_switched_off_clears(beacon):
    beacon.values["disk"] = True
    assert beacon.turn() == [("disk", "bad")]
    beacon.pillar["globoapp"]["monitor"]["disk"] = False
    assert beacon.turn() == [("disk", "clear")]
    assert beacon.turn() == []


def test_wrong_settings_are_an_alert_of_their_probe(beacon):
    beacon.pillar["globoapp"]["monitor"]["cpu"] = {"percent": 140}
    events = [event for _ in range(15) for event in beacon.look()]
    assert [(event["probe"], event["state"]) for event in events] == [("cpu", "bad")]
    assert "140" in events[0]["message"]


def test_what_was_slow_and_is_dead_now_is_news(beacon):
    beacon.values["api"] = "slow"
    assert beacon.turn() == []
    (slow,) = beacon.look()
    assert (slow["state"], slow["slow"]) == ("bad", True)
    assert look.opened(beacon.minion)["api"]["slow"] is True
    beacon.values["api"] = True
    assert beacon.turn() == [], "one look proves nothing"
    (dead,) = beacon.look()
    assert dead["state"] == "bad" and "slow" not in dead
    assert dead["since"] == slow["since"], "it is the same alert"
    assert [beacon.turn() for _ in range(5)] == [[]] * 5
    beacon.values["api"] = "slow"
    assert [beacon.turn() for _ in range(5)] == [[]] * 5, "a dead one that is slow now has not cleared"


def test_one_dead_look_between_slow_ones_is_no_news(beacon):
    beacon.values["api"] = "slow"
    assert beacon.turn() + beacon.turn() == [("api", "bad")]
    for value in (True, "slow", True, "slow"):
        beacon.values["api"] = value
        assert beacon.turn() == []


def test_a_reminder_does_not_take_the_place_of_the_news_that_it_is_dead(beacon):
    beacon.pillar["globoapp"]["monitor"]["reminder"] = 100
    beacon.values["api"] = "slow"
    beacon.turn()
    assert beacon.turn() == [("api", "bad")]
    beacon.values["api"] = True
    (reminder,) = beacon.look()
    assert (reminder["state"], reminder["slow"]) == ("reminder", True), "one look proves nothing"
    (dead,) = beacon.look()
    assert dead["state"] == "bad" and "slow" not in dead
    assert beacon.turn() == [("api", "reminder")]


def test_each_probe_looks_at_its_own_pace(beacon):
    for _ in range(20):
        beacon.look(1)
    counts = {name: sum(probe == name for probe, _ in beacon.looks) for name in ("api", "cpu", "disk")}
    assert counts == {"api": 20, "cpu": 4, "disk": 2}


def test_a_probe_that_hangs_leaves_the_minion_time_for_its_work(beacon):
    beacon.values["api"] = "hangs"
    for _ in range(20):
        beacon.look(1)
    began = [when for name, when in beacon.looks if name == "api"]
    assert min(later - earlier for earlier, later in zip(began, began[1:], strict=False)) >= 1 + look.PAUSE


def test_that_the_beacon_looks_is_noted_also_during_a_deploy(beacon):
    assert look.last_look(beacon.layout) is None
    held = lock.acquire(beacon.layout.lock, 0, {})
    beacon.look()
    held.release()
    beacon.clock.now += 7
    assert look.last_look(beacon.layout) == 7


def test_who_reads_the_note_never_finds_a_part_of_it(beacon, monkeypatch):
    beacon.look()
    before, replace = pathlib.Path(beacon.layout.looked).read_text(), os.replace
    seen = []

    def replacing(source, target):
        seen.append(pathlib.Path(target).read_text())
        replace(source, target)

    monkeypatch.setattr(os, "replace", replacing)
    beacon.clock.now += 7
    beacon.look()
    assert before in seen
    assert look.last_look(beacon.layout) == 0
    assert pathlib.Path(beacon.layout.looked).stat().st_mode & 0o777 == 0o644


def test_a_look_that_cannot_be_noted_still_tells(beacon, caplog):
    pathlib.Path(beacon.layout.looked).mkdir()
    beacon.values["disk"] = True
    assert beacon.turn() == [("disk", "bad")]
    assert beacon.layout.looked in caplog.text


@pytest.mark.parametrize(
    ("section", "name", "root"),
    [
        ({}, "globoapp", "/opt/globoHUB/desafio"),
        ({"name": "other", "root": "/srv/other"}, "other", "/srv/other"),
        ({"name": 7, "root": 7}, "globoapp", "/opt/globoHUB/desafio"),
        ("x", "globoapp", "/opt/globoHUB/desafio"),
    ],
)
def test_where_it_looks_is_in_pillar(section, name, root):
    memory = look.begin(Minion({}, {"id": "web1", "cachedir": "/c"}, {"globoapp": section}))
    assert (memory.layout.name, memory.layout.root, memory.cache) == (name, root, "/c")
