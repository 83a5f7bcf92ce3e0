"""What a server tells its master every minute, and which ledger lines it sends until the master has them."""

import collections
import json
import pathlib
import time

import pytest
from globolib import lock
from globolib.minion import Minion
from globolib.monitor import incoming, look, report, thresholds
from watched import Watched

HEALTH = {"healthy": True, "version": "1.0", "latency_ms": 2.5}


class Reporter(Watched):
    """A server; `sent` is what its master was sent."""

    def __init__(self, directory, monkeypatch):
        super().__init__(directory, 8000)
        self.sent = []
        functions = {"event.send": lambda tag, data: self.sent.append((tag, data))}
        pillar = {"globoapp": {"root": self.layout.root}}
        self.minion = Minion(functions, {"id": "web1", "cachedir": self.memory.cache}, pillar)
        self.acknowledged = pathlib.Path(self.layout.own_file("acknowledged.json"))
        monkeypatch.setattr(look, "begin", lambda minion: self.memory)

    def report(self, health=HEALTH):
        """What the master is sent where this is the health of each app."""
        report.report(self.minion, lambda app: health)
        return self.sent[-1][1]

    def ids(self):
        """The ids of the lines that are still to be sent."""
        return [entry.id for entry in report.unacknowledged(self.minion)]


@pytest.fixture
def server(tmp_path, monkeypatch):
    return Reporter(tmp_path, monkeypatch)


def test_lines_are_sent_until_they_are_acknowledged(server):
    server.ledger("a", "b", "c")
    assert server.ids() == ["a", "b", "c"]
    assert report.acknowledge(server.minion, ["c"]) == 3, "a line is only done when those before it are"
    assert not server.acknowledged.exists()
    assert report.acknowledge(server.minion, ["b", "a"]) == 1
    assert server.ids() == ["c"]
    assert report.acknowledge(server.minion, ["a"]) == 1
    assert report.acknowledge(server.minion, ["c"]) == 0
    assert report.acknowledge(server.minion, []) == 0


def test_another_ledger_is_sent_from_its_beginning(server):
    server.ledger("a")
    report.acknowledge(server.minion, ["a"])
    server.ledger("x")
    assert server.ids() == ["x"]


@pytest.mark.parametrize("torn", ["", '{"through', "[]", '{"through": 7}'])
def test_an_acknowledgement_that_a_power_cut_tore_sends_all_again(server, torn):
    server.ledger("a", "b")
    server.acknowledged.write_text(torn)
    assert server.ids() == ["a", "b"]


def test_a_server_without_a_ledger_has_nothing_to_send(server):
    assert server.ids() == []
    assert report.acknowledge(server.minion, ["a"]) == 0


def test_a_report_is_what_the_door_of_the_master_lets_in(server):
    server.ledger("a" * 32, "b" * 32)
    server.release()
    sent = server.report()
    assert server.sent == [("globoapp/report/web1", sent)]
    assert (sent["health"], sent["version"], sent["port"]) == (HEALTH, "1.0", 8000)
    assert 0 <= sent["cpu"] <= 100 and 0 < sent["memory"] <= 100
    assert sent["disk"] and all(0 <= percent <= 100 for percent in sent["disk"].values())
    assert (sent["open"], sent["looked"], sent["deploying"]) == ({}, None, None)
    taken = incoming.report(json.loads(json.dumps(sent)), "9999-01-01T00:00:00.000Z")
    for key in ("time", "version", "port", "disk", "cpu", "memory"):
        assert taken[key] == sent[key], key
    lines = [incoming.deploy(line, "9999-01-01T00:00:00.000Z") for line in taken["deploys"]]
    assert [line["id"][0] for line in lines] == ["a", "b"]


def test_a_report_says_what_is_open_and_who_deploys(server):
    pathlib.Path(server.memory.cache, "globoapp_monitor.json").write_text('{"disk": {"message": "full"}}')
    held = lock.acquire(server.layout.lock, 0, {"what": "deploy of 1.1"})
    sent = server.report({**HEALTH, "version": None})
    held.release()
    assert (sent["version"], sent["port"], sent["deploys"]) == (None, None, [])
    assert sent["open"] == {"disk": {"message": "full"}}
    assert sent["deploying"] == {"what": "deploy of 1.1"}


def test_what_a_beacon_knew_before_it_was_switched_off_is_not_told(server):
    """The master would heal it again and again, until it gives up."""
    pathlib.Path(server.memory.cache, "globoapp_monitor.json").write_text('{"disk": {"message": "full"}}')
    looked = pathlib.Path(server.layout.looked)
    looked.parent.mkdir(parents=True, exist_ok=True)
    for ago, told in ((thresholds.UNWATCHED - 60, {"disk": {"message": "full"}}), (thresholds.UNWATCHED + 1, {})):
        looked.write_text(str(int(time.monotonic() - ago)))
        assert server.report()["open"] == told


def test_old_lines_go_first_and_not_all_at_once(server):
    server.ledger(*(f"{number:032x}" for number in range(report.BATCH + 20)))
    sent = server.report()
    assert [int(line["id"], 16) for line in sent["deploys"]] == list(range(report.BATCH))
    report.acknowledge(server.minion, [line["id"] for line in sent["deploys"]])
    assert len(server.report()["deploys"]) == 20


Times = collections.namedtuple("Times", "user idle")


@pytest.fixture
def times(monkeypatch):
    """Processor times that psutil gives, one after the other."""
    rows = []
    monkeypatch.setattr(report.psutil, "cpu_times", lambda: Times(*rows.pop(0)))
    return rows


def test_processors_since_the_report_before(server, times):
    times += [(10, 90), (60, 140), (1, 99)]
    busy = [server.report()["cpu"] for _ in range(3)]
    assert busy == [10.0, 50.0, 1.0], "since the boot, since the report before, since another boot"


@pytest.mark.parametrize("torn", ["", "[]", '{"user": 1}', "{}"])
def test_processor_times_that_a_power_cut_tore(server, times, torn):
    pathlib.Path(server.memory.cache, "globoapp_cpu.json").write_text(torn)
    times.append((10, 90))
    assert server.report()["cpu"] == 10.0


def test_a_full_disk_does_not_keep_the_report_from_going_out(server, times, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report.files, "write_json", full)
    times.append((10, 90))
    assert server.report()["cpu"] == 10.0
    assert len(server.sent) == 1


def test_an_app_on_a_unix_socket_has_an_address_and_no_port(server):
    server.ledger("a")
    assert (server.report()["port"], "address" in server.report()) == (8000, False)
    fields = {"id": "b", "time": "2026-01-01T00:00:00.000Z", "version": "1.0", "result": "success"}
    with open(server.layout.ledger, "a") as handle:
        handle.write(json.dumps({**fields, "bind": "unix:/run/x", "address": "unix:/run/x"}) + "\n")
    sent = server.report()
    assert (sent["port"], sent["address"]) == (None, "unix:/run/x")
    assert incoming.report(sent, "2026-01-01T00:00:00.000Z")["address"] == "unix:/run/x"
