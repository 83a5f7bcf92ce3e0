"""One look of each probe, at a server below the test's directory and at a service on loopback."""

import collections
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from globolib import files
from globolib.monitor import probes, thresholds
from watched import Watched

API = {**thresholds.DEFAULTS["api"], "timeout": 0.4}
# More than any kernel gives.
NOBODY = 1 << 30


@pytest.fixture
def service():
    """A service on loopback; `answer` is (status, body, seconds to wait), `asked` the paths."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            status, body, wait = self.server.answer
            self.server.over.wait(wait)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.asked, server.over = (200, b'{"status": "UP"}', 0), [], threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(tmp_path, service):
    """A server with 1.0 deployed, whose worker is this process and whose port is the service's."""
    made = Watched(tmp_path, service.server_address[1])
    made.ledger("a")
    made.release()
    made.worker(os.getpid())
    return made


def test_one_that_answers_is_well(server, service):
    sample = probes.api(API, server.memory)
    assert (sample["bad"], sample["slow"], sample["threshold"]) == (False, False, API["latency_ms"])
    assert 0 < sample["value"] < API["latency_ms"] and f"{sample['value']} ms" in sample["message"]
    assert service.asked == ["/"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((500, b"down", 0), "status 500 instead of 200, body: 'down'"),
        ((200, b'{"status": "DOWN"}', 0), "status is 'DOWN' instead of 'UP'"),
        ((200, b"\x1b[31m\xff", 0), "the body is not JSON"),
    ],
)
def test_a_wrong_answer_says_what_it_was(server, service, answer, words):
    service.answer = answer
    sample = probes.api(API, server.memory)
    assert sample["bad"] is True and not sample.get("slow") and sample["value"] is None
    assert f"GET http://127.0.0.1:{server.port}/: " in sample["message"] and words in sample["message"]
    assert sample["message"].isprintable()


def test_no_answer_has_one_deadline(server, service):
    service.answer = (200, b"", 30)
    began = time.monotonic()
    sample = probes.api(API, server.memory)
    assert time.monotonic() - began < 5
    assert sample["bad"] is True and not sample.get("slow"), "who does not answer at all is dead, not slow"
    assert "no answer" in sample["message"]


def test_one_that_answers_late_is_slow_and_not_dead(server, service):
    service.answer = (200, b'{"status": "UP"}', 0.05)
    sample = probes.api({**API, "timeout": 5, "latency_ms": 20}, server.memory)
    assert (sample["bad"], sample["slow"]) == (True, True)
    assert "alert from 20 ms" in sample["message"]


def test_a_background_process_that_does_not_run_is_dead(server, service):
    unit = server.layout.process("PACK1_0", "worker")
    others = ("globoapp-mine@PACK1_0.service", "globoapp-worker@PACK1_1.service")
    for name, text in ((unit, "# Managed by Salt (globoapp). x\n"), (others[0], "[Unit]\n"), (others[1], "")):
        with open(server.layout.process_file(name), "w") as handle:
            handle.write(text)
    sample = probes.api(API, server.memory)
    assert (sample["bad"], sample.get("slow"), sample["message"]) == (True, None, "worker of PACK1_0 does not run")
    os.makedirs(server.layout.runtime("PACK1_0", "-worker"))
    assert probes.api(API, server.memory)["bad"] is False
    os.unlink(server.layout.process_file(unit))
    os.symlink("/dev/null", server.layout.process_file(unit))
    assert probes.api(API, server.memory)["message"] == "worker of PACK1_0 does not run"


def test_without_a_worker_nobody_waits_for_an_answer(server, service):
    os.unlink(os.path.join(server.layout.runtime("PACK1_0"), f"ready-{os.getpid()}"))
    server.worker(NOBODY)
    sample = probes.api(API, server.memory)
    assert (sample["bad"], sample["message"]) == (True, "no worker of PACK1_0 runs")
    assert service.asked == [], "only a connection, for which systemd starts what was stopped"


def test_without_a_worker_and_without_a_socket(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Watched(tmp_path, taken.getsockname()[1])
    server.ledger("a")
    server.release()
    sample = probes.api(API, server.memory)
    assert sample["bad"] is True
    assert f"no worker of PACK1_0 runs, and 127.0.0.1:{server.port} takes no connection" in sample["message"]


def test_a_release_that_is_gone_is_said(server, service):
    os.rmdir(server.layout.release("PACK1_0"))
    sample = probes.api(API, server.memory)
    assert (sample["bad"], sample["message"]) == (True, "PACK1_0 is not on this host")


def test_a_server_without_a_deploy_is_well(tmp_path):
    server = Watched(tmp_path)
    assert probes.api(API, server.memory)["bad"] is False
    server.ledger("a", result="failed")
    sample = probes.api(API, server.memory)
    assert (sample["bad"], sample["message"]) == (False, "nothing is deployed here")


def test_a_ledger_that_is_gone_is_an_alert_and_not_to_be_healed(server):
    os.symlink("PACK1_0", server.layout.current)
    os.unlink(server.layout.ledger)
    sample = probes.api(API, server.memory)
    assert (sample["bad"], sample["slow"]) == (True, True)
    assert server.layout.ledger in sample["message"]


def test_a_new_deploy_is_seen_and_an_old_one_is_not_read_again(server, monkeypatch):
    first = probes.deployed(server.memory)
    assert (first.version, first.release) == ("1.0", "PACK1_0")
    reads, read = [], probes.ledger.read
    monkeypatch.setattr(probes.ledger, "read", lambda path: reads.append(path) or read(path))
    assert probes.deployed(server.memory) is first and reads == []
    server.ledger("a", "b", version="1.1")
    assert probes.deployed(server.memory).version == "1.1" and len(reads) == 1


Usage = collections.namedtuple("Usage", "percent")


@pytest.fixture
def disks(monkeypatch):
    """File systems of a test: percent by path; `state` is what statvfs says of each."""

    class State:
        f_flag, f_files, f_favail = 0, 1000, 900

    used = {"/srv": 40.0, "/var/log": 91.5}
    monkeypatch.setattr(probes, "places", lambda memory: list(used))
    monkeypatch.setattr(probes.psutil, "disk_usage", lambda path: Usage(used[path]))
    monkeypatch.setattr(os, "statvfs", lambda path: State)
    monkeypatch.setattr(files, "nearest", lambda path: path)
    return used, State


DISK = thresholds.DEFAULTS["disk"]


def test_the_fullest_file_system_counts(disks, server):
    sample = probes.disk(DISK, server.memory)
    assert (sample["bad"], sample["value"]) == (True, 91.5)
    assert "/var/log" in sample["message"]
    disks[0]["/var/log"] = 10.0
    assert probes.disk(DISK, server.memory)["bad"] is False
    disks[0].clear()
    assert probes.disk(DISK, server.memory) is None


@pytest.mark.parametrize(
    ("state", "words"),
    [({"f_favail": 49}, "has 49 of 1000 inodes free"), ({"f_flag": os.ST_RDONLY}, "is mounted read-only")],
)
def test_disk_trouble_that_is_no_percentage(disks, server, state, words):
    disks[0].pop("/var/log")
    for name, value in state.items():
        setattr(disks[1], name, value)
    sample = probes.disk(DISK, server.memory)
    assert sample["bad"] is True and words in sample["message"]
    if "f_favail" in state:
        disks[1].f_favail = 50
        assert probes.disk(DISK, server.memory)["bad"] is False
        disks[1].f_files = disks[1].f_favail = 0  # btrfs has none to count
        assert probes.disk(DISK, server.memory)["bad"] is False


def test_each_file_system_is_looked_at_once(server):
    places = probes.places(server.memory)
    devices = [os.stat(path).st_dev for path in places]
    assert len(devices) == len(set(devices))
    assert os.stat(server.layout.root).st_dev in devices and os.stat("/").st_dev in devices
    assert all(0 <= percent <= 100 for percent in probes.file_systems(server.memory).values())


def mounted(monkeypatch, devices, read_only=()):
    """Each of these paths is there, and on the file system of this number."""
    real = os.stat
    told = collections.namedtuple("Told", "st_dev")
    monkeypatch.setattr(os.path, "isdir", lambda path: path in devices)
    monkeypatch.setattr(os, "stat", lambda path, **more: told(devices[path]) if path in devices else real(path, **more))
    monkeypatch.setattr(files, "is_read_only", lambda path: path in read_only)


def test_the_file_systems_that_matter(server, monkeypatch):
    layout, cache = server.layout, server.memory.cache
    paths = [layout.root, layout.virtualenvs, "/var/lib/globoapp", "/var/log", "/var/log/journal", cache, "/"]
    mounted(monkeypatch, {path: number for number, path in enumerate(paths)})
    assert probes.places(server.memory) == paths


def test_a_part_that_is_mounted_read_only_is_looked_at(server, monkeypatch):
    """mount --bind, then remount,ro,bind: it has the number of the file system that it is a part of."""
    paths = [server.layout.root, "/var/lib/globoapp", "/"]
    mounted(monkeypatch, dict.fromkeys(paths, 1), read_only=["/var/lib/globoapp"])
    assert probes.places(server.memory) == paths[:2]


Times = collections.namedtuple("Times", "user system idle")


def test_processors_since_the_last_look(server, monkeypatch):
    rows = iter([Times(0, 0, 100), Times(97, 1, 102), Times(97, 1, 102)])
    monkeypatch.setattr(probes.psutil, "cpu_times", lambda: next(rows))
    settings = thresholds.DEFAULTS["cpu"]
    assert probes.cpu(settings, server.memory) is None, "the first look has nothing to compare with"
    sample = probes.cpu(settings, server.memory)
    assert (sample["bad"], sample["value"]) == (True, 98.0)
    assert probes.cpu(settings, server.memory) is None, "no time has passed"


def test_memory_that_programs_could_still_get(server, monkeypatch):
    seen = collections.namedtuple("Seen", "available total")
    monkeypatch.setattr(probes.psutil, "virtual_memory", lambda: seen(5, 100))
    sample = probes.memory(thresholds.DEFAULTS["memory"], server.memory)
    assert (sample["bad"], sample["value"], sample["threshold"]) == (True, 5.0, 10)


def test_a_probe_that_breaks_is_itself_bad(server, monkeypatch):
    def gone(settings, memory):
        raise OSError("gone")

    monkeypatch.setitem(probes.PROBES, "cpu", gone)
    sample = probes.sample("cpu", {}, server.memory)
    assert sample["bad"] is True and "the probe is broken: OSError: gone" in sample["message"]


def test_a_probe_that_is_set_wrongly_says_so_and_does_not_look(server, monkeypatch):
    monkeypatch.setitem(probes.PROBES, "cpu", lambda settings, memory: pytest.fail("it looked"))
    assert probes.sample("cpu", {"problem": "percent is 140"}, server.memory) == {
        "bad": True, "value": None, "threshold": None, "message": "percent is 140",
    }  # fmt: skip
