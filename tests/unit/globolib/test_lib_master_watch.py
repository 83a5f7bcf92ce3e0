"""What the master makes of events: who is heard, what is recorded, when it heals; whatever is sent or stored."""

import logging
import time
from types import SimpleNamespace

import pytest
from fakecache import Cache
from globolib.monitor import healing, incoming, watch
from globolib.monitor.store import Store
from globolib.monitor.watch import MOST_DEPLOYS, UNKNOWN, Watch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_lib_master_incoming import EVENT, HOSTILE, fits

BAD = {"probe": "api", "state": "bad", "message": "no answer"}
CLEAR = {**BAD, "state": "clear"}


def line(identity, **more):
    return {"id": identity, "time": "2026-01-01T00:00:00.000Z", "version": "1.0", "result": "success", **more}


class Master:
    """A Watch, its cache, what it told minions, and a clock that stands still."""

    def __init__(self, directory):
        self.cache, self.told, self.now = Cache(), [], [1_800_000_000.0]
        self.store = Store(self.cache, str(directory))
        self.accepted = {"web1", "web2"}
        self.watch = Watch(self.store, lambda *told: self.told.append(told), lambda: self.accepted)

    def heals(self, minion="web1"):
        return sum(told[:2] == (minion, "globoapp_minion.heal") for told in self.told)

    def bank(self, name):
        return self.cache.records.setdefault(f"globoapp/{name}", {})


@pytest.fixture
def master(tmp_path, monkeypatch):
    made = Master(tmp_path)
    # A clock of the module's own: threads of the test session go by the real one.
    monkeypatch.setattr(watch, "time", SimpleNamespace(time=lambda: made.now[0], time_ns=time.time_ns))
    return made


CALLS = ("alert", "healed", "deployed", "report")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=st.sampled_from(CALLS), minion=st.sampled_from(["web1", "web2", "web3", "../x"]) | HOSTILE, data=EVENT)
def test_no_event_raises_or_stores_what_does_not_fit(master, call, minion, data):
    getattr(master.watch, call)(minion, data)
    for bank, records in master.cache.records.items():
        assert bank.split("/")[1] in (
            "open",
            "past",
            "cleared",
            "queue",
            "healing",
            "healing-of",
            "servers",
            "refused",
            "deploys",
        )
        assert all(fits(record) for record in records.values())
    assert set(master.bank("refused")) <= {"web1", "web2", UNKNOWN}
    assert {told[0] for told in master.told} <= {"web1", "web2"}


@pytest.mark.parametrize("minion", ["web3", "../../x", "web1,web2", "*", "", None, 5, ["web1"], {"web1": 1}, "x" * 999])
def test_only_accepted_minions_are_heard(master, minion):
    assert master.watch.alert(minion, BAD) is None
    assert master.watch.heal(minion) == "well"
    for call in CALLS:
        getattr(master.watch, call)(minion, [line("a" * 32)])
    assert [bank for bank, records in master.cache.records.items() if records] == ["globoapp/refused"]
    assert master.told == []


def test_a_name_too_long_for_its_records_is_refused(master):
    master.accepted = {"x" * length for length in range(240, 256)}
    for minion in sorted(master.accepted):
        for call in CALLS:
            getattr(master.watch, call)(minion, {**BAD, "result": "healed", "health": {}, "open": {"disk": {}}})
        master.watch.heal(minion)
    for records in master.cache.records.values():
        assert all(len(f"{key}.p") <= 255 for key in records), "a file of the cache has such a name"
    assert master.bank("open")["x" * 240 + ":disk"]


def test_a_server_has_no_part_in_the_alerts_of_another(master):
    """A minion's id may have a colon."""
    master.accepted = {"web", "web:1"}
    early = "2026-10-01T00:00:00.000Z"
    master.watch.alert("web:1", {**BAD, "time": early, "since": early})
    master.watch.report("web", report(open={"api": {"message": "no answer", "since": early}}))
    assert sorted(master.bank("open")) == ["web:1:api", "web:api"]


def test_made_up_names_share_one_record(master):
    for number in range(50):
        master.watch.alert(f"forged{number}", BAD)
    assert list(master.bank("refused")) == [UNKNOWN]
    assert master.bank("refused")[UNKNOWN]["count"] == 50


def test_what_is_refused_is_counted_and_said_once_a_minute(master, caplog):
    caplog.set_level(logging.WARNING)
    for _ in range(30):
        master.watch.alert("web1", {"probe": "x", "state": "bad"})
    assert master.bank("refused")["web1"]["count"] == 30
    assert len([record for record in caplog.records if record.name == "globolib.monitor.watch"]) == 1
    master.now[0] += 61
    master.watch.healed("web1", {})
    assert len(caplog.records) == 2
    master.bank("refused")["web1"] = {"count": "many", "said": "now"}
    master.watch.report("web1", {})
    assert master.bank("refused")["web1"]["count"] == 1


def test_an_edge_is_told_once(master):
    assert master.watch.alert("web1", BAD)["message"] == "no answer"
    assert master.watch.alert("web1", BAD) is None
    assert master.watch.alert("web1", {**BAD, "state": "reminder"})["reminders"] == 1
    assert master.watch.alert("web1", CLEAR)["until"]
    assert master.watch.alert("web1", CLEAR) is None
    assert len(master.bank("queue")) == 3
    assert len(master.bank("past")) == 1


@pytest.mark.parametrize("record", [{"until": 5}, {"id": 1, "host": "web1", "since": "x"}, ValueError("torn"), "text"])
def test_a_broken_open_alert_is_replaced_or_cleared(master, record):
    master.bank("open")["web1:disk"] = record
    assert master.watch.alert("web1", {**BAD, "probe": "disk"})["until"] is None
    master.bank("open")["web1:disk"] = record
    assert master.watch.alert("web1", {**CLEAR, "probe": "disk"}) is None
    assert master.bank("open") == {}


def test_slow_is_not_healed_and_dead_after_slow_is_news(master):
    master.watch.alert("web1", {**BAD, "slow": True})
    assert master.watch.heal("web1") == "well"
    assert master.watch.alert("web1", BAD) is not None
    assert master.watch.heal("web1") == "now"


def test_a_host_that_cannot_be_told_keeps_no_other_from_being_healed(master, monkeypatch):
    for host in ("web1", "web2"):
        master.watch.alert(host, BAD)

    def tell(minion, *told):
        if minion == "web1":
            raise OSError("no such key")
        master.told.append((minion, *told))

    monkeypatch.setattr(master.watch, "_tell", tell)
    assert master.watch.tend() == {"web1": "error", "web2": "now"}
    assert master.heals("web2") == 1


@pytest.mark.parametrize(
    "record",
    [
        {"attempts": "x", "refusals": {}, "not_before": None, "gave_up": "no", "last": 5, "answered": []},
        {"attempts": ["x", None]},
        ValueError("torn"),
    ],
)
def test_a_broken_record_of_healing_counts_as_none(master, record):
    master.watch.alert("web1", BAD)
    master.bank("healing")["web1"] = record
    assert master.watch.tend() == {"web1": "now"}


def test_refusals_have_a_budget(master):
    master.watch.alert("web1", BAD)
    for _ in range(600):
        master.watch.tend()
        master.watch.healed("web1", {"result": "refused", "comment": "a deploy is under way"})
        master.now[0] += 1
    assert master.heals() <= healing.REFUSALS + healing.ATTEMPTS
    assert master.bank("healing")["web1"]["gave_up"]
    assert master.watch.heal("web1") == "over"
    assert "web1:healing" in master.bank("open")


@pytest.mark.parametrize("results", [["refused"] * 3, ["refused", "healed"]])
@pytest.mark.parametrize("flaps", [False, True])
def test_forged_refusals_have_a_budget_in_any_ten_minutes(master, results, flaps):
    began = master.now[0]
    master.watch.alert("web1", BAD)
    when = []
    while master.now[0] < began + 1500:
        before = master.heals()
        master.watch.tend()
        when += [master.now[0]] * (master.heals() - before)
        for result in results:
            master.watch.healed("web1", {"result": result, "comment": "forged"})
        if flaps:
            master.watch.alert("web1", CLEAR)
            master.watch.alert("web1", BAD)
        master.now[0] += 5
    most = healing.REFUSALS + healing.ATTEMPTS
    assert healing.ATTEMPTS < max(sum(start <= one < start + healing.WINDOW for one in when) for start in when) <= most


def test_healing_that_nobody_answered_brings_the_code_first(master):
    master.watch.alert("web1", BAD)
    for _ in range(40):
        master.watch.tend()
        master.now[0] += 1
    assert [told[1] for told in master.told] == ["globoapp_minion.heal", "saltutil.sync_all", "globoapp_minion.heal"]


def test_a_person_may_have_it_tried_again(master):
    master.watch.alert("web1", BAD)
    for _ in range(700):
        master.watch.tend()
        master.now[0] += 1
    assert master.watch.heal("web1") == "over"
    assert master.watch.heal("web1", again=True) == "now"
    master.watch.alert("web1", CLEAR)
    assert master.bank("open") == {}
    assert master.watch.heal("web1", again=True) == "well"
    assert master.bank("healing")["web1"]["attempts"] == []


def test_an_answer_to_nothing_is_noted_nowhere(master):
    master.watch.healed("web1", {"result": "healed", "comment": ""})
    assert master.bank("healing") == {}


def test_a_ledger_line_is_recorded_once_and_never_rewritten(master):
    master.watch.deployed("web1", [line("a" * 32)])
    master.watch.deployed("web1", [line("a" * 32, version="6.6.6")])
    assert master.bank("deploys/web1")["a" * 32]["version"] == "1.0"
    assert master.told == [("web1", "globoapp_minion.acknowledge", [["a" * 32]])] * 2
    master.watch.deployed("web1", [])
    master.watch.deployed("web1", line("b" * 32))
    assert len(master.bank("deploys/web1")) == 2


def test_a_line_that_is_refused_does_not_stand_before_the_others_for_ever(master):
    wrong = [line("old-1"), {"version": "1.0"}, line("../x"), line("b" * 32, result="great"), 5]
    master.watch.deployed("web1", [*wrong, line("a" * 32)])
    assert list(master.bank("deploys/web1")) == ["a" * 32]
    assert master.told == [("web1", "globoapp_minion.acknowledge", [["old-1", "", "b" * 32, "a" * 32]])]
    assert master.bank("refused")["web1"]["count"] == 5


def test_of_one_event_so_many_lines_are_taken_and_no_more(master):
    master.watch.deployed("web1", [*range(500), line("a" * 32)])
    assert master.bank("refused")["web1"]["count"] == incoming.DEPLOYS
    assert master.told == []
    master.watch.deployed("web1", [line(f"{number:032x}") for number in range(500)])
    assert master.told == [
        ("web1", "globoapp_minion.acknowledge", [[f"{number:032x}" for number in range(incoming.DEPLOYS)]])
    ]


def test_a_flood_of_deploys_is_limited_and_the_oldest_go(master):
    bank = master.bank("deploys/web1")
    for number in range(MOST_DEPLOYS):
        bank[f"{number:032x}"] = line(
            f"{number:032x}", time=f"2026-01-01T{number // 3600:02}:00:00.{number % 1000:03}Z"
        )
    bank["0" * 32] = ValueError("torn")
    master.watch.deployed("web1", [line("f" * 32, time="2026-02-01T00:00:00.000Z")])
    assert len(bank) <= MOST_DEPLOYS
    assert "f" * 32 in bank
    assert "0" * 32 not in bank


def test_expire(master):
    master.bank("past").update({"2020-01-01T00:00:00.000Z-x": {"id": "x"}, "2027-01-01T00:00:00.000Z-y": {"id": "y"}})
    master.bank("servers")["web1"] = {"heard": "x"}
    assert master.watch.expire() == 1
    assert list(master.bank("past")) == ["2027-01-01T00:00:00.000Z-y"]


def report(**more):
    return {
        "time": "2026-11-01T00:00:00.000Z", "health": {"healthy": True, "version": "1.0"}, "version": "1.0",
        "open": {}, "deploys": [], **more,
    }  # fmt: skip


def test_a_report_puts_right_what_was_missed(master):
    early = {"since": "2026-10-01T00:00:00.000Z", "time": "2026-10-01T00:00:00.000Z"}
    master.watch.alert("web1", {**BAD, "probe": "disk", **early})
    master.watch.alert("web1", {**BAD, "slow": True, **early})
    master.bank("cleared")["web1:cpu"] = {"until": "2026-12-01T00:00:00.000Z"}
    seen = {"message": "m", "since": early["since"]}
    master.watch.report("web1", report(open={"api": seen, "memory": seen, "cpu": seen}, deploys=[line("a" * 32)]))
    assert sorted(master.bank("open")) == ["web1:api", "web1:memory"]
    assert master.bank("open")["web1:api"]["slow"] is False
    assert list(master.bank("deploys/web1")) == ["a" * 32]


def test_silence_and_health_are_alerts_of_the_masters_own(master):
    master.watch.report("web1", report(health={"healthy": False, "version": "1.0", "problems": ["changed"]}))
    assert master.bank("open")["web1:health"]["message"] == "changed"
    assert master.watch.listen({"web1": "2026-11-01T00:00:00.000Z", "web2": None}) == {
        "web1": "2026-11-01T00:00:00.000Z"
    }
    assert "web1:silent" in master.bank("open")
    master.watch.report("web1", report())
    assert master.bank("open") == {}


def test_the_probes_are_those_of_the_door():
    assert set(incoming.BEACON) == {"api", "disk", "cpu", "memory", "monitor"}
