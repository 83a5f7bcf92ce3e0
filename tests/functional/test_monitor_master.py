"""What the master makes of what it hears: alerts, healing, inventory, history; on files and on a real Redis."""

import socket
import subprocess
import threading
import time

import debian
import pytest
import salt.cache
from salt.exceptions import CommandExecutionError
from salt.runner import RunnerClient
from watchmaster import Master, event, line, report

REDIS = ("redis-tools", "redis-server", "libjemalloc2", "liblzf1", "libatomic1")


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory):
    """The port of a Redis of our own on loopback."""
    try:
        program, environment = debian.program("redis-server", *REDIS)
    except (RuntimeError, FileNotFoundError) as error:
        pytest.skip(str(error))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        program,
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--dir",
        tmp_path_factory.mktemp("redis"),
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, "redis-server does not come up"
            time.sleep(0.05)
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture(params=["localfs", "redis"])
def master(request, tmp_path):
    """A Master, once on files and once on Redis."""
    opts = {"cache": request.param}
    if request.param == "redis":
        opts.update({"cache.redis.host": "127.0.0.1", "cache.redis.port": request.getfixturevalue("redis_port")})
    made = Master(tmp_path, **opts)
    yield made
    if request.param == "redis":
        made.runners["globoapp.inventory"]()  # the connection is there
        import redis

        redis.Redis("127.0.0.1", opts["cache.redis.port"]).flushall()


def opened(master):
    return [(one["host"], one["probe"]) for one in master.run("globoapp.alerts")["open"]]


def queued(master):
    return [(one["probe"], one["state"]) for one in master.run("globoapp.pending")]


def test_an_alert_is_recorded_once_and_told_once(master):
    for _ in range(3):
        master.run("globoapp.alert", "web1", event("disk", "bad"))
    assert opened(master) == [("web1", "disk")]
    assert queued(master) == [("disk", "bad")]
    master.run("globoapp.alert", "web1", event("disk", "clear", time="2026-11-23T16:05:00.000Z"))
    master.run("globoapp.alert", "web1", event("disk", "clear", time="2026-11-23T16:06:00.000Z"))
    assert opened(master) == []
    assert queued(master) == [("disk", "bad"), ("disk", "clear")]


def test_reminders_are_told_and_counted(master):
    master.run("globoapp.alert", "web1", event("cpu", "bad"))
    master.run("globoapp.alert", "web1", event("cpu", "reminder"))
    assert queued(master) == [("cpu", "bad"), ("cpu", "reminder")]
    assert master.run("globoapp.alerts")["open"][0]["reminders"] == 1


def test_a_burst_from_many_threads_is_one_alert(master):
    threads = [
        threading.Thread(target=lambda n=n: master.run("globoapp.alert", f"web{n % 3}", event("cpu", "bad")))
        for n in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened(master)) == [("web0", "cpu"), ("web1", "cpu"), ("web2", "cpu")]
    assert len(queued(master)) == 3


@pytest.mark.parametrize("data", [{"probe": "../../x", "state": "bad"}, {"probe": "api", "state": "worse"}, {}])
def test_what_no_beacon_says_is_refused(master, data):
    assert master.run("globoapp.alert", "web1", data) is None
    assert opened(master) == []
    assert master.run("globoapp.refused")["web1"]["count"] == 1


def test_only_accepted_minions_are_heard(master):
    for number in range(5):
        assert master.run("globoapp.alert", f"strange{number}", event("api", "bad")) is None
    assert opened(master) == []
    (refused,) = master.run("globoapp.refused").values()
    assert refused["count"] == 5
    assert "strange4" in refused["why"]


def test_a_ledger_line_cannot_name_a_file_elsewhere(master):
    master.run("globoapp_watch.deployed", "web1", [line("../../../tmp/x")])
    assert master.run("globoapp.history") == []
    assert "without an id" in master.run("globoapp.refused")["web1"]["why"]


def test_a_record_that_a_power_cut_tore_stops_nothing(tmp_path):
    master = Master(tmp_path)
    for host in ("web1", "web2"):
        master.run("globoapp_watch.report", host, report(deploys=[line("a" * 32)]))
        master.run("globoapp.alert", host, event("api", "bad"))
    torn = [path for path in (tmp_path / "cache/globoapp").rglob("*.p") if "web1" in str(path)]
    assert len(torn) == 3
    for path in torn:
        path.write_bytes(b"")
    assert opened(master) == [("web2", "api")]
    assert master.run("globoapp_watch.tend") == {"web1": "well", "web2": "now"}
    assert set(master.run("globoapp.inventory")) >= {"web2"}
    assert len(master.run("globoapp.history")) == 1
    master.run("globoapp.alert", "web1", event("api", "bad"))
    master.run("globoapp_watch.report", "web1", report(opened={"api": event("api", "bad")}, deploys=[line("a" * 32)]))
    assert len(opened(master)) == len(master.run("globoapp.history")) == 2


def test_history_of_alerts_between_two_times(master):
    for hour in (10, 12, 14):
        master.run("globoapp.alert", "web1", event("disk", "bad", time=f"2026-11-23T{hour}:00:00.000Z"))
        master.run("globoapp.alert", "web1", event("disk", "clear", time=f"2026-11-23T{hour}:30:00.000Z"))

    def since(**between):
        return [one["since"][11:13] for one in master.run("globoapp.alerts", **between)["history"]]

    assert since(**{"from": "2026-11-23"}) == ["10", "12", "14"]
    assert since(**{"from": "2026-11-23T12:15", "until": "2026-11-23T13:00"}) == ["12"], "one that was open then counts"
    assert since(until="2026-11-23T11") == ["10"]
    assert since(until="2026-11-22") == []
    assert since(**{"from": "2026-11-24"}) == []
    assert "history" not in master.run("globoapp.alerts")


@pytest.mark.parametrize("value", ["yesterday", "2026-11", "11/23/2026", "2026-11-23T16:00:00.000Z; x"])
def test_a_time_that_is_none_is_refused(master, value):
    with pytest.raises(Exception, match="a day or a time in UTC"):
        master.run("globoapp.alerts", **{"from": value})
    with pytest.raises(Exception, match="unknown argument"):
        master.run("globoapp.alerts", form="2026-11-23")


def test_deploys_are_counted_once_however_often_they_come(master):
    lines = [line("a" * 32), line("b" * 32, "2026-11-23T15:30:00.000Z", "1.1")]
    master.run("globoapp_watch.deployed", "web1", lines[:1])
    master.run("globoapp_watch.report", "web1", report(deploys=lines))
    master.run("globoapp_watch.report", "web1", report(deploys=lines))
    assert [one["version"] for one in master.run("globoapp.history")] == ["1.1", "1.0"]
    assert master.told[-1] == ("web1", "globoapp_minion.acknowledge", [["a" * 32, "b" * 32]])
    assert [one["version"] for one in master.run("globoapp.history", limit=1)] == ["1.1"]
    assert master.run("globoapp.history", host="web2") == []
    assert len(master.run("globoapp.history", until="2026-11-23T15:10")) == 1


def test_inventory_is_the_last_report(master):
    master.run("globoapp.alert", "web1", event("disk", "bad", "full"))
    master.run(
        "globoapp_watch.report", "web1", report(opened={"disk": event("disk", "bad", "full")}, deploys=[line("a" * 32)])
    )
    assert master.run("globoapp.inventory") == {
        "web1": {
            "version": "1.0", "port": 8000, "healthy": True, "latency_ms": 2.5, "disk": {"/": 40.0}, "cpu": 3.0,
            "memory": 70.0, "watched": True, "alerts": {"disk": "full"}, "silent": False, "maintenance": None,
            "last_deploy": {
                "time": "2026-11-23T15:00:00.000Z", "version": "1.0", "action": "deploy", "result": "success",
            },
            "heard": master.run("globoapp.inventory")["web1"]["heard"],
        }
    }  # fmt: skip


def test_a_server_that_falls_silent_is_an_alert_until_it_reports(master):
    master.run("globoapp_watch.report", "web1", report())
    master.run("globoapp_watch.listen")
    assert opened(master) == []
    known = master.store.get("servers", "web1")
    master.store.put("servers", "web1", {**known, "heard_epoch": time.time() - 3600})
    assert master.run("globoapp_watch.listen") == {"web1": known["heard"]}
    assert opened(master) == [("web1", "silent")]
    assert master.run("globoapp.inventory")["web1"]["silent"] is True
    master.run("globoapp_watch.report", "web1", report())
    assert opened(master) == []


def test_what_was_missed_while_the_master_was_down_is_put_right(master):
    master.run("globoapp.alert", "web1", event("disk", "bad"))
    master.run("globoapp_watch.report", "web1", report(opened={"memory": event("memory", "bad", "low")}))
    assert opened(master) == [("web1", "memory")]
    late = report(time="2026-11-23T16:11:00.000Z", opened={"memory": event("memory", "bad", "low")})
    master.run("globoapp.alert", "web1", event("memory", "clear", time="2026-11-23T16:12:00.000Z"))
    master.run("globoapp_watch.report", "web1", late)
    assert opened(master) == [], "a report that is older than what came since opens nothing again"


def test_an_unproven_release_is_an_alert_of_its_own(master):
    master.run("globoapp_watch.report", "web1", report(healthy=False))
    assert opened(master) == [("web1", "health")]
    assert "api.py was changed" in master.run("globoapp.alerts")["open"][0]["message"]
    master.run("globoapp_watch.report", "web1", report(time="2026-11-23T16:20:00.000Z"))
    assert opened(master) == []
    master.run("globoapp_watch.report", "web1", report(healthy=False, deploying={"what": "deploy of 1.1"}))
    assert opened(master) == [], "a deploy is no alert"
    master.run("globoapp_watch.report", "web1", report(healthy=False, version="1.1"))
    assert opened(master) == [], "neither is one that ended while the check looked"
    master.run("globoapp_watch.report", "web1", report(healthy=False))
    nothing = report(version=None)
    nothing["health"] = {"healthy": False, "version": None, "problems": ["nothing is deployed on this host"]}
    master.run("globoapp_watch.report", "web1", nothing)
    assert opened(master) == []


def test_forget_a_server_that_is_no_more(master):
    master.run("globoapp_watch.report", "web9", report(deploys=[line("a" * 32)]))
    master.run("globoapp.alert", "web9", event("cpu", "bad"))
    master.run("globoapp.alert", "web99", event("cpu", "bad"))
    assert master.run("globoapp.forget", "web9") is True
    assert master.run("globoapp.inventory") == {}
    assert opened(master) == [("web99", "cpu")]
    assert master.run("globoapp.forget", "web9") is False


@pytest.fixture
def clock(master, monkeypatch):
    """What the master thinks is the time: a list of one number."""
    now = [1_000_000.0]

    class Clock:
        time = staticmethod(lambda: now[0])
        time_ns = staticmethod(lambda: int(now[0] * 1e9) + len(master.run("globoapp.pending")))

    monkeypatch.setattr("globolib.monitor.watch.time", Clock)
    return now


def attempts(master):
    return sum(told[1] == "globoapp_minion.heal" for told in master.told)


def test_healing_three_times_with_growing_pauses_then_a_person(master, clock):
    master.run("globoapp.alert", "web1", event("api", "bad"))
    began, when = clock[0], []
    for _ in range(1200):
        if master.run("globoapp.heal", "web1") == "now":
            when.append(clock[0] - began)
            master.run("globoapp_watch.healed", "web1", {"result": "failed", "comment": "it did not start"})
        clock[0] += 1
    assert when == [0, 20, 80]
    assert ("web1", "healing") in opened(master)
    (given_up,) = (one for one in master.run("globoapp.alerts")["open"] if one["probe"] == "healing")
    assert "it did not start" in given_up["message"]
    assert queued(master).count(("healing", "bad")) == 1
    assert master.run("globoapp.heal", "web1", again=True) == "now", "a person may"
    master.run("globoapp.alert", "web1", event("api", "clear"))
    assert opened(master) == []


def test_one_that_dies_again_and_again_is_healed_three_times_in_ten_minutes(master, clock):
    when = []
    for _ in range(1500):
        master.run("globoapp.alert", "web1", event("api", "bad"))
        if master.run("globoapp.heal", "web1") == "now":
            when.append(clock[0])
            master.run("globoapp_watch.healed", "web1", {"result": "healed", "comment": "1.0 was put back"})
            master.run("globoapp.alert", "web1", event("api", "clear"))
        clock[0] += 1
    assert len(when) > 3
    assert all(sum(start <= one < start + 600 for one in when) <= 3 for start in when)


def test_a_server_that_refuses_is_asked_again_and_not_given_up(master, clock):
    master.run("globoapp.alert", "web1", event("api", "bad"))
    for _ in range(100):
        if master.run("globoapp.heal", "web1") == "now":
            master.run("globoapp_watch.healed", "web1", {"result": "refused", "comment": "a deploy is under way"})
        clock[0] += 1
    assert attempts(master) == 10
    assert opened(master) == [("web1", "api")]


def test_nothing_is_healed_that_is_well(master):
    assert master.run("globoapp.heal", "web1") == "well"
    assert master.told == []
    assert master.run("globoapp_watch.tend") == {}


def test_a_server_that_never_reported_is_shown_as_that(master):
    keys = master.directory / "pki/minions"
    keys.mkdir(parents=True)
    cache = salt.cache.Cache(master.opts)
    for name, pillar in {"web7": {"globoapp": {"bind": "0.0.0.0"}}, "db1": {}}.items():
        (keys / name).write_text("key")
        cache.store(f"minions/{name}", "data", {"grains": {"id": name}, "pillar": pillar})
        for part, content in {"grains": {"id": name}, "pillar": pillar}.items():
            cache.store(part, name, content)  # where Salt 3008 keeps them
    (server,) = master.run("globoapp.inventory").items()
    assert server[0] == "web7"
    assert (server[1]["heard"], server[1]["silent"]) == (None, True)
    assert master.run("globoapp_watch.listen") == {}, "it is shown, and nobody is woken for it"


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("forget", {"host": "../x"}, "'../x' is not the name of a server"),
        ("alerts", {"from": "yesterday"}, "from is 'yesterday': a day or a time in UTC, like 2026-11-23"),
        ("metrics", {"path": "/nowhere/x.prom"}, "/nowhere is not there: make it and start node_exporter with"),
        ("metrics", {"path": "/proc/x.prom"}, "/proc/x.prom cannot be read or written: "),
    ],
)
def test_an_error_is_told_in_a_line(master, name, arguments, words):
    """What salt-run shows, and its exit code: Salt adds a traceback to other errors."""
    (master.directory / "cache/proc").mkdir(exist_ok=True)
    told = RunnerClient(master.opts).cmd(f"globoapp.{name}", kwarg=arguments, full_return=True, print_event=False)
    assert (told["return"].startswith(words), told["return"].count("\n"), told["retcode"]) == (True, 0, 1), told


def test_metrics_that_may_not_be_written_say_what_to_type(master, tmp_path, monkeypatch):
    def denied(path, text):
        raise PermissionError(13, "Permission denied", f"{tmp_path}/.write-x")

    monkeypatch.setattr("globolib.files.write", denied)
    with pytest.raises(CommandExecutionError) as told:
        master.run("globoapp.metrics", path=str(tmp_path / "x.prom"))
    user = master.opts["user"]
    assert str(told.value) == f"{tmp_path}/x.prom cannot be written by {user}: chown {user} {tmp_path}"
