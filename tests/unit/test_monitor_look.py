"""The beacon: edges only, each after enough looks; silent during a deploy; never raising."""

import functools
import importlib.util
import json
import os
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SALT = pathlib.Path(__file__).parents[2] / "salt"


@functools.cache
def _judge():
    """`judge` outside a fixture: hypothesis calls a test many times."""
    from salttree import Tree

    return Tree(pathlib.Path("/nowhere")).utils.globoapp_monitor.judge


@pytest.fixture
def judge(tree):
    return tree.utils.globoapp_monitor.judge


def verdicts(judge, bad, samples=2, reminder=0):
    """What `judge` says to a row of looks, one a second."""
    track = {}
    return [judge(track, {"bad": one}, {"samples": samples}, reminder, now) for now, one in enumerate(bad)]


def test_one_event_at_each_edge(judge):
    row = [False, True, True, True, True, False, False, False]
    assert verdicts(judge, row) == [None, None, "bad", None, None, None, "clear", None]


def test_a_look_between_the_thresholds_changes_nothing(judge):
    assert verdicts(judge, [True, None, True, None, True, True]) == [None] * 5 + ["bad"]
    assert verdicts(judge, [True, True, None, None, None]) == [None, "bad", None, None, None]


def test_reminders_while_it_is_bad(judge):
    row = [True] * 10
    assert verdicts(judge, row, reminder=3) == [None, "bad", None, None, "reminder", None, None, "reminder", None, None]


@settings(deadline=None)
@given(st.lists(st.sampled_from([True, False, None]), max_size=60), st.integers(1, 4))
def test_edges_alternate_and_are_never_more_than_samples_allow(row, samples):
    edges = [one for one in verdicts(_judge(), row, samples) if one]
    assert edges == ["bad", "clear"] * (len(edges) // 2) + ["bad"] * (len(edges) % 2)
    assert len(edges) <= len(row) // samples


def test_thresholds_have_a_gap(tree):
    over, under = tree.utils.globoapp_monitor.over, tree.utils.globoapp_monitor.under
    disk = {"percent": 90, "clear": 85}
    assert [over(value, disk, "x")["bad"] for value in (84.9, 85, 89.9, 90)] == [False, None, None, True]
    memory = {"available": 10, "clear": 15}
    assert [under(value, memory, "x")["bad"] for value in (10, 10.1, 15, 15.1)] == [True, None, None, False]


def test_processor_time_between_two_looks(tree):
    busy = tree.utils.globoapp_monitor.busy_percent
    before = {"user": 100, "system": 50, "idle": 850, "iowait": 0, "guest": 10}
    assert busy(before, {"user": 110, "system": 60, "idle": 920, "iowait": 10, "guest": 20}) == 20.0
    assert busy(before, before) is None


@pytest.fixture
def watched(tree, tmp_path):
    """A module that looks by probes that the test sets: `watched.values`, and a clock of its own."""
    module = tree.modules.globoapp_monitor
    (tmp_path / "root" / ".globoapp").mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    tree.pillar["globoapp"] = {
        "root": str(tmp_path / "root"),
        "monitor": {"disk": {"samples": 1}, "cpu": {"samples": 1}},
    }
    module.values, module.clock = {}, [1000.0]

    def probe(name):
        def look(settings, memory):
            value = module.values.get(name)
            if isinstance(value, Exception):
                raise value
            return None if value is None else {"bad": value, "value": 1, "threshold": 2, "message": name}

        return look

    module.PROBES = {name: probe(name) for name in ("api", "disk", "cpu", "memory")}

    class Clock:
        time = staticmethod(lambda: module.clock[0])
        monotonic = staticmethod(lambda: module.clock[0])

    module.time = Clock

    def turn(seconds=100):
        module.clock[0] += seconds
        return [(one["probe"], one["state"]) for one in module.look()]

    module.turn = turn
    return module


def test_a_broken_probe_is_an_alert_and_the_others_go_on(watched):
    watched.values.update(disk=OSError("gone"), cpu=True)
    assert watched.turn() == [("disk", "bad"), ("cpu", "bad")]
    assert "gone" in watched.opened()["disk"]["message"]
    watched.values.update(disk=False)
    assert watched.turn() == [("disk", "clear")]


def test_silent_while_a_deploy_is_under_way(watched, tree):
    busy = tree.utils.globoapp_lock.busy
    watched.__utils__["globoapp_lock.busy"] = lambda path: {"what": "deploy of 1.1"}
    watched.values.update(api=True, disk=True)
    assert [watched.turn() for _ in range(5)] == [[]] * 5
    watched.__utils__["globoapp_lock.busy"] = busy
    assert watched.turn() == [("disk", "bad")]
    assert watched.turn() == [("api", "bad")]


def test_what_is_open_outlives_the_minion(watched, tree):
    watched.values["disk"] = True
    assert watched.turn() == [("disk", "bad")]
    tree.context.clear()
    assert watched.turn() == []
    watched.values["disk"] = False
    assert watched.turn() == [("disk", "clear")]
    assert watched.opened() == {}


def test_a_disk_too_full_to_remember_still_tells(watched, tree):
    def full(*args):
        raise OSError(28, "No space left on device")

    watched.__utils__["globoapp_files.write_json"] = full
    watched.values["disk"] = True
    assert watched.turn() == [("disk", "bad")]


def test_a_probe_that_is_switched_off_clears(watched, tree):
    watched.values["disk"] = True
    assert watched.turn() == [("disk", "bad")]
    tree.pillar["globoapp"]["monitor"]["disk"] = False
    assert watched.turn() == [("disk", "clear")]
    assert watched.turn() == []


def test_wrong_settings_are_an_alert_of_their_probe(watched, tree):
    tree.pillar["globoapp"]["monitor"]["cpu"] = {"percent": 140}
    for _ in range(15):
        events = watched.turn()
        if events:
            break
    assert events == [("cpu", "bad")]
    assert "140" in watched.opened()["cpu"]["message"]


def test_each_probe_looks_at_its_own_pace(watched):
    seen = []
    for name, look in list(watched.PROBES.items()):
        watched.PROBES[name] = lambda settings, memory, name=name, look=look: (
            seen.append(name) or look(settings, memory)
        )
    for _ in range(20):
        watched.turn(1)
    assert (seen.count("api"), seen.count("cpu"), seen.count("disk")) == (20, 4, 2)


def test_a_probe_that_hangs_leaves_the_minion_time_for_its_work(watched):
    def hangs(settings, memory):
        watched.clock[0] += 1
        seen.append(watched.clock[0])
        return {"bad": True, "value": None, "threshold": None, "message": "no answer"}

    seen, watched.PROBES["api"] = [], hangs
    for _ in range(20):
        watched.turn(1)
    assert min(later - earlier for earlier, later in zip(seen, seen[1:], strict=False)) >= 4


@pytest.fixture
def beacon(tree):
    spec = importlib.util.spec_from_file_location("tree_beacon", SALT / "_beacons/globoapp.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__salt__ = {}
    return module


def test_the_beacon_never_raises_and_says_once_why_it_cannot_look(beacon):
    first, second = beacon.beacon([]), beacon.beacon([])
    assert [(one["tag"], one["probe"]) for one in first] == [("monitor/bad", "monitor")]
    assert "globoapp_monitor.look" in first[0]["message"]
    assert second == []
    beacon.__salt__["globoapp_monitor.look"] = lambda: []
    assert [one["tag"] for one in beacon.beacon([])] == ["monitor/clear"]
    assert beacon.beacon([]) == []


@pytest.mark.parametrize("config", [{}, [{"interval": 0}], [{"interval": "1"}], [{"interval": True}], ["x"]])
def test_the_beacon_refuses_a_wrong_configuration(beacon, config):
    assert beacon.validate(config)[0] is False


def test_the_beacon_takes_a_right_one(beacon):
    assert beacon.validate([{"interval": 1}])[0] is True


def ledger(root, *ids):
    lines = [
        json.dumps({"id": one, "result": "success", "version": "1.0", "time": "2026-01-01T00:00:00.000Z"})
        for one in ids
    ]
    (pathlib.Path(root) / "deployments.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_ledger_lines_are_sent_until_they_are_acknowledged(watched, tree):
    root = tree.pillar["globoapp"]["root"]
    ledger(root, "a", "b", "c")
    ids = lambda: [one["id"] for one in watched.unacknowledged()]  # noqa: E731
    assert ids() == ["a", "b", "c"]
    assert watched.acknowledge(["c"]) == 3, "a line is only done when those before it are"
    assert watched.acknowledge(["b", "a"]) == 1
    assert ids() == ["c"]
    assert watched.acknowledge(["a"]) == 1
    assert watched.acknowledge(["c"]) == 0
    ledger(root, "x")
    assert ids() == ["x"], "another ledger is sent from its beginning"


def test_tidy_removes_old_logs_and_nothing_else(watched, tree, monkeypatch):
    own = pathlib.Path(tree.pillar["globoapp"]["root"]) / ".globoapp"
    (own / "failed").mkdir()
    for name in ("failed/old.log", "failed/new.log", "failed/old.txt", "old.log"):
        (own / name).write_text("x")
        if "old" in name:
            os.utime(own / name, (0, 0))
    tree.salt.update({"globoapp_systemd.vacuum": lambda days: "", "globoapp.prune": lambda: {}})
    monkeypatch.setattr(tree.modules.globoapp_heal.time, "time", lambda: 2_000_000_000)
    os.utime(own / "failed/new.log", (2_000_000_000, 2_000_000_000))
    assert tree.modules.globoapp_heal.tidy()["logs"] == [str(own / "failed/old.log")]
    assert sorted(path.name for path in (own / "failed").iterdir()) == ["new.log", "old.txt"]
    assert (own / "old.log").exists()
