"""Maintenance of an app: how long it lasts, what is refused meanwhile, what beacon and master are quiet about."""

import json
import pathlib

import pytest
from globolib import answers, heal, lock, maintenance, rollback, run, steps
from globolib.errors import Failure
from globolib.maintenance import Clocks
from globolib.monitor import incoming, inventory, look, metrics, report
from globolib.monitor.probes import PROBES
from test_lib_master_watch import master  # noqa: F401  a fixture
from test_lib_several_monitor import said, server  # noqa: F401  a fixture

BEGAN = Clocks("boot 1", 5000.0, 1_800_000_000.0)
HELD = {"reason": "a new disk", "by": "root", "since": "2026-01-01T00:00:00Z", "left": 3600}


@pytest.fixture
def served(machine):
    """A server on which 1.0 and 1.1 were deployed; 1.1 serves."""
    for version in ("1.0", "1.1"):
        machine.publish(version)
        assert machine.deploy(version, without=["tried"]).failure is None
    machine.events.clear()
    return machine


def begin(machine, until="2h", **more):
    return answers.in_maintenance(machine.minion(function="globoapp.maintenance"), "on", "a new disk", until, **more)


# How long.


@pytest.mark.parametrize(("until", "seconds"), [("5s", 5), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("7d", 604800)])
def test_a_span(until, seconds):
    assert maintenance.span(until) == seconds


@pytest.mark.parametrize(
    ("until", "words"),
    [
        (None, "until is missing: say how long, like until=2h"),
        (90, "until is 90: a span like 30m, 2h or 1d is wanted"),
        ("0h", "until is '0h': a span like"),
        ("2026-01-01", "until is '2026-01-01': a span like"),
        ("8d", "until is '8d': at most 7d"),
        ("169h", "until is '169h': at most 7d"),
    ],
)
def test_no_span(until, words):
    with pytest.raises(Failure, match=f"^{words}"):
        maintenance.span(until)


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (Clocks("boot 1", 5000.0, 1_800_000_000.0), 60),
        (Clocks("boot 1", 5059.0, 1_800_000_059.0), 1),
        (Clocks("boot 1", 5060.0, 1_800_000_060.0), 0),
        # A wall clock that is set changes nothing in the same boot, back or forth.
        (Clocks("boot 1", 5059.0, 1_700_000_000.0), 1),
        (Clocks("boot 1", 5059.0, 1_900_000_000.0), 1),
        # After a reboot.
        (Clocks("boot 2", 9.0, 1_800_000_020.0), 40),
        (Clocks("boot 2", 9.0, 1_800_000_061.0), -1),
        (Clocks("boot 2", 9.0, 1_799_999_999.0), 0),
        (Clocks("boot 2", 9.0, 0.0), 0),
    ],
)
def test_what_is_left(tmp_path, monkeypatch, now, left):
    layout = maintenance.Layout("globoapp", str(tmp_path / "root"))
    maintenance.begin(layout, "a new disk", 60, "root", BEGAN)
    monkeypatch.setattr(maintenance, "clocks", lambda: now)
    held = maintenance.current(layout)
    assert (held.left if held else 0) == max(left, 0)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"x"', "{}", '{"boot": 1, "ends": "x"}', "[" * 5000])
def test_a_file_that_is_broken_is_no_maintenance(tmp_path, text):
    layout = maintenance.Layout("globoapp", str(tmp_path))
    (tmp_path / ".globoapp").mkdir()
    pathlib.Path(layout.maintenance).write_text(text)
    assert maintenance.current(layout) is None


def test_the_clocks_of_this_host():
    before, after = maintenance.clocks(), maintenance.clocks()
    assert before.boot == after.boot != ""
    assert before.up <= after.up


# What people say and see.


def test_on_and_off(served):
    told = begin(served)
    assert {key: told[key] for key in ("on", "reason", "by", "left")} == {
        "on": True, "reason": "a new disk", "by": "root", "left": 7200,
    }  # fmt: skip
    assert told["stop"] == f"systemctl stop globoapp-127.0.0.1:{served.port}.socket globoapp@PACK1_1.service"
    assert answers.in_maintenance(served.minion())["until"] >= told["until"]
    assert answers.status(served.minion())["maintenance"]["reason"] == "a new disk"
    assert answers.health(served.minion(), deadline=0)["maintenance"]["reason"] == "a new disk"
    assert answers.in_maintenance(served.minion(), "off") == {"on": False}
    assert answers.in_maintenance(served.minion(), "off") == {"on": False}, "a second time it is no error"
    assert "maintenance" not in answers.status(served.minion())
    assert "maintenance" not in answers.health(served.minion(), deadline=0)


def test_said_again_it_lasts_from_then_on(served):
    begin(served, "1d")
    assert begin(served, "5m")["left"] == 300


def test_nothing_need_be_deployed(machine):
    told = begin(machine)
    assert (told["on"], "stop" in told) == (True, False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("on", None, "2h"), "reason is missing: say why"),
        (("on", " ", "2h"), "reason is missing: say why"),
        (("on", "x", None), "until is missing"),
        (("nn", "x", "2h"), "'nn' is neither on nor off"),
        ((1, "x", "2h"), "1 is neither on nor off"),
        (("off", "x", None), "reason and until go with on"),
        ((None, None, "2h"), "reason and until go with on"),
    ],
)
def test_what_is_no_maintenance(served, words, message):
    with pytest.raises(Failure, match=f"^{message}"):
        answers.in_maintenance(served.minion(), *words)
    assert not pathlib.Path(served.layout.maintenance).exists()


def test_it_does_not_begin_during_a_deploy(served):
    held = lock.acquire(served.layout.lock, 0, {"what": "deploy of 2.0"})
    with pytest.raises(Failure, match="another deploy is under way on this host: deploy of 2.0"):
        begin(served)
    held.release()
    assert begin(served)["on"] is True


def test_what_was_said_is_made_harmless(served):
    assert answers.in_maintenance(served.minion(), True, "x\x1b[2J\ny" + "z" * 500, "1h")["reason"].startswith("x yzz")


# What is not done meanwhile.


def test_a_scheduled_run_does_nothing_and_is_content(served):
    begin(served)
    served.edit("1.1")
    served.systemd.run(["systemctl", "stop", "globoapp@PACK1_1.service"])
    served.systemd.calls.clear()
    here = served.begin()
    said = steps.ready(here, "x", True)
    assert (said.result, dict(said.changes)) == (True, {})
    assert said.comment.startswith("Nothing was touched: globoapp is in maintenance until 20")
    assert "by root: a new disk" in said.comment
    assert said.comment.endswith("to end it now: salt 'web1' globoapp.maintenance off")
    assert [one["problems"] for one in steps.rendered(served.minion(), {}, lambda minion: [])] == [True]
    assert {call.split()[0] for call in served.systemd.calls} <= {"show"}
    assert not here.begun
    answers.in_maintenance(served.minion(), "off")
    assert served.deploy().failure is None
    assert served.running() == ["PACK1_1"]


def test_a_pin_that_the_schedule_would_deploy_waits(served):
    served.pillar["globoapp"]["version"] = "1.0"
    begin(served)
    assert steps.ready(served.begin(), "x", True).result is True
    assert served.deployed() == "1.1"


def test_a_deploy_that_a_person_wants_is_refused(served):
    begin(served)
    served.systemd.calls.clear()
    failure = served.deploy("1.0").failure
    assert failure.startswith("Nothing was touched. To be put right first:\n  - globoapp is in maintenance until 20")
    assert {call.split()[0] for call in served.systemd.calls} <= {"show"}
    told = answers.preflight(served.minion(function="globoapp.preflight"), [])
    assert [problem.partition(" until")[0] for problem in told["problems"]] == ["globoapp is in maintenance"]


def test_without_the_words_of_the_call_a_version_says_that_it_is_wanted(served):
    """salt-ssh does not tell what was called."""
    begin(served)
    minion = served.minion()
    silent = type(minion)(minion.functions, {"id": "web1", "cachedir": minion.cache}, minion.pillar)
    assert run.Run(silent).problems == []
    named = type(minion)(silent.functions, silent.opts, {**minion.pillar, "version": "1.0"})
    assert len(run.Run(named).problems) == 1


def test_a_run_that_was_rendered_before_it_began_does_nothing(served):
    here = served.begin("1.0")
    begin(served)
    failure = served.deploy(here=here).failure
    assert failure.startswith("globoapp is in maintenance until 20")
    assert lock.holder(served.layout.lock) is None
    assert served.deployed() == "1.1"


def test_neither_rollback_nor_healing(served):
    begin(served)
    answer = rollback.rollback(served.minion(function="globoapp.rollback"))
    assert (answer["result"], answer["to"]) == (False, "1.0")
    assert answer["comment"].startswith("Nothing was changed: globoapp is in maintenance until 20")
    answer = heal.heal(served.minion(function="globoapp_minion.heal"))
    assert (answer["result"], answer["comment"].partition(" until")[0]) == ("refused", "globoapp is in maintenance")
    assert served.deployed() == "1.1"


def test_what_is_stopped_is_not_asked(served, monkeypatch):
    """A client at the door of its socket would make systemd start it."""
    begin(served)
    served.systemd.run(["systemctl", "stop", "globoapp@PACK1_1.service"])
    monkeypatch.setattr("globolib.health.once", lambda *args: pytest.fail("it was asked"))
    told = answers.health(served.minion(), deadline=9)
    assert (told["healthy"], told["version"], told["attempts"]) == (False, "1.1", 0)
    assert told["problems"][0].startswith("globoapp@PACK1_1.service does not run")
    assert answers.status(served.minion())["differences"], "that it is down is no secret"


# The beacon and the report.


def hold(server, app, seconds=3600):  # noqa: F811
    layout = look.layout(server.minion.for_app(app))
    maintenance.begin(layout, "a new disk", seconds, "root", maintenance.clocks())
    return layout


def test_nobody_looks_at_an_app_in_maintenance(server):  # noqa: F811
    server.bad.update({"globoapp", "shop"})
    shop = hold(server, "shop")
    assert server.turn() == [(None, "api/bad")]
    assert ("shop", "api") not in server.looks
    server.looks.clear()
    own = hold(server, "globoapp")
    assert server.turn() == []
    assert server.looks == [], "with all apps the host is in maintenance"
    maintenance.end(shop)
    assert server.turn() == [("shop", "api/bad")]
    assert server.looks == [("globoapp", name) for name in PROBES if name != "api"] + [("shop", "api")]
    maintenance.end(own)
    server.bad.clear()
    assert sorted(server.turn(), key=str) == [("shop", "api/clear"), (None, "api/clear")]


def test_the_report_tells_of_it(server):  # noqa: F811
    hold(server, "shop")
    report.report(server.minion, lambda minion: {"healthy": True, "version": None})
    _, sent = server.sent[-1]
    assert sent["maintenance"] is None
    assert sent["apps"]["shop"]["maintenance"]["reason"] == "a new disk"
    taken = incoming.report(sent, "2026-01-01T00:00:00.000Z")
    assert taken["apps"]["shop"]["maintenance"] == {
        "reason": "a new disk", "by": "root", "since": "2026-01-01T00:00:00.000Z", "until": "2026-01-01T01:00:00Z",
        "left": 3600,
    }  # fmt: skip


@pytest.mark.parametrize(
    "claimed", [None, True, "x", [], {}, {"left": 0}, {"left": -1}, {"left": 8 * 86400}, {"left": "x"}, {"left": True}]
)
def test_what_a_server_may_not_claim(claimed):
    taken = incoming.report({**said(), "maintenance": claimed}, "2026-01-01T00:00:00.000Z")
    assert taken["maintenance"] is None


def test_a_claim_is_made_harmless():
    told = {**HELD, "reason": "x\x1b[2J" + "y" * 500, "by": 5, "until": "9999", "more": "x"}
    taken = incoming.report({**said(), "maintenance": told}, "2026-01-01T00:00:00.000Z")["maintenance"]
    assert sorted(taken) == ["by", "left", "reason", "since", "until"]
    assert (len(taken["reason"]), taken["by"], taken["until"]) == (200, None, "2026-01-01T01:00:00Z")


# The master.

DEAD = {"healthy": False, "version": "1.0", "latency_ms": None, "problems": ["it does not run"]}


def reported(master, own=None, shop=None, **more):  # noqa: F811
    told = said(**more)
    told["maintenance"], told["apps"]["shop"] = own, {**told["apps"]["shop"], "maintenance": shop}
    master.watch.report("web1", json.loads(json.dumps(told)))


def test_what_was_open_stays_and_is_not_healed(master):  # noqa: F811
    master.watch.alert("web1", {"probe": "api", "state": "bad", "message": "no answer"})
    track = {"since": "2026-01-01T00:00:00.000Z", "message": "no answer"}
    reported(master, HELD, health=DEAD, open={"api": track})
    assert master.watch.heal("web1") == "maintenance"
    assert master.watch.heal("web1", again=True) == "maintenance"
    assert master.watch.tend() == {"web1": "maintenance"}
    assert (list(master.bank("open")), master.heals()) == (["web1:api"], 0)
    master.now[0] += 3601
    assert master.watch.tend() == {"web1": "now"}
    reported(master, health=DEAD, open={"api": track})
    assert master.heals() == 1


def test_each_app_by_itself(master):  # noqa: F811
    for app in ({}, {"app": "shop"}):
        master.watch.alert("web1", {"probe": "api", "state": "bad", "message": "no answer", **app})
    track = {"since": "2026-01-01T00:00:00.000Z", "message": "no answer"}
    reported(master, shop=HELD, open={"api": track, "api@shop": track})
    assert master.watch.tend() == {"web1": "now", "web1@shop": "maintenance"}


def test_a_check_that_fails_meanwhile_is_no_alert(master):  # noqa: F811
    reported(master, HELD, health=DEAD)
    assert master.bank("open") == {}
    reported(master, None, health=DEAD)
    assert list(master.bank("open")) == ["web1:health"]


@pytest.mark.parametrize(("own", "shop", "told"), [(HELD, HELD, False), (HELD, None, True), (None, HELD, True)])
def test_a_server_that_is_silent_meanwhile_is_no_alert(master, own, shop, told):  # noqa: F811
    reported(master, own, shop)
    assert bool(master.watch.listen({"web1": "2026-01-01T00:00:00.000Z"})) is told
    master.now[0] += 3601
    assert list(master.watch.listen({"web1": "2026-01-01T00:00:00.000Z"})) == ["web1"]


def test_it_is_in_the_inventory_until_it_ends(master, monkeypatch):  # noqa: F811
    monkeypatch.setattr(inventory, "time", type("Clock", (), {"time": staticmethod(lambda: master.now[0])}))
    reported(master, HELD)
    shown = inventory.inventory(master.store, [])
    assert {key: shown["web1"]["maintenance"][key] for key in ("reason", "by")} == {
        "reason": "a new disk",
        "by": "root",
    }
    assert sorted(shown["web1"]["maintenance"]) == ["by", "reason", "since", "until"]
    assert shown["web1/shop"]["maintenance"] is None
    assert 'globoapp_maintenance{app="globoapp",host="web1"} 1.0' in metrics.text(shown, 1.0)
    master.now[0] += 3601
    assert inventory.inventory(master.store, [])["web1"]["maintenance"] is None


@pytest.mark.parametrize(
    "record",
    [None, 5, [], {}, {"report": 5}, {"heard_epoch": "x", "report": {}}, {"heard_epoch": 1, "report": {"apps": 5}}],
)
def test_a_broken_record_is_no_maintenance(record):
    assert incoming.in_maintenance(record, "globoapp", 1.0) is None
    assert incoming.in_maintenance(record, "shop", 1.0) is None
