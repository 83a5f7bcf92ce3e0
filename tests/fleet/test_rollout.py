"""A rollout over two real servers: its lines, its order, and what breaks in the middle of it."""

import contextlib
import re
import signal

import pytest
from load import Load
from polling import until
from releases import release
from rolling import Rolling, deploying, drivers, rollout, site, whole
from server import MINION_OFF, Server, all_green, apply

# Sick a moment after the switch, and on web2 only.
SICK_ON_WEB2 = """
import os, socket, threading, time
def _sicken():
    time.sleep(1)
    print("marker: it is sick now", flush=True)
    os._exit(3)
if socket.gethostname() == "web2" and "candidate" not in os.environ.get("RUNTIME_DIRECTORY", "candidate"):
    threading.Thread(target=_sicken, daemon=True).start()
"""


@pytest.fixture(scope="module")
def quick(fleet, serving_1_0):
    """web1 and web2; trial and soak take a moment. Afterwards they serve 1.0 as ever."""
    yield [Server(fleet, name) for name in ("web1", "web2")]
    fleet.heal(False)
    back(fleet)


@pytest.fixture
def webs(fleet, quick):
    """web1 and web2, serving 1.0."""
    fleet.heal(False, site())
    back(fleet)
    return quick


def back(fleet):
    """Deploys 1.0 on both, when what a test has left under way has ended."""
    until(lambda: fleet.ask("web*", "state.running") == {"web1": [], "web2": []})
    all_green(apply(fleet, "web*", "1.0", port=8000))


def test_one_first_then_the_other_and_no_request_is_lost(webs):
    fleet = webs[0].fleet
    told = fleet.runner("globoapp.rollout", "version=1.1", "target=web*", "test=True")
    assert told["first"] == ["web1"] and told["then, 1 at once"] == ["web2"]
    assert any("would be put in place" in step or "would" in step for step in told["servers"]["web2"])
    for server in webs:
        server.assert_serves("1.0")
    with contextlib.ExitStack() as loads:
        seen = [loads.enter_context(Load(server.url())) for server in webs]
        code, rolling = whole(fleet, "rollout", "version=1.1", "target=web*")
    assert code == 0, rolling.text
    for load in seen:
        load.assert_nothing_lost()
    ends = [line for line in rolling.lines if " ok " in line]
    assert [re.sub(r"[\d.]+ s, \d+ req", "N s, N req", line) for line in ends] == [
        "web1 1.0 -> 1.1 ok N s, N requests, 0 failed",
        "web2 1.0 -> 1.1 ok N s, N requests, 0 failed",
    ]
    for server in webs:
        server.assert_serves("1.1")
    assert fleet.runner("globoapp.rollouts", "1")[0]["servers"] == "2 of 2 have it"
    # There is nothing to do: nobody deploys.
    before = [len(server.ledger()) for server in webs]
    code, rolling = whole(fleet, "rollout", "version=1.1", "target=web*")
    assert (code, "web2 1.1 had it" in rolling.lines) == (0, True), rolling.text
    assert [len(server.ledger()) for server in webs] == before


def test_nothing_switches_unless_all_can(webs):
    web1, web2 = webs
    web2.sh("rm -f /usr/bin/python3.away; mv $(readlink -f /usr/bin/python3) /usr/bin/python3.away")
    try:
        code, rolling = whole(web1.fleet, "rollout", "version=1.1", "target=web*")
    finally:
        web2.sh("mv /usr/bin/python3.away $(readlink -m /usr/bin/python3)")
    assert code != 0, rolling.text
    assert "web2 1.0 -> 1.1 cannot: " in rolling.text
    assert "not begun: nothing was switched: web2" in rolling.text
    web1.assert_serves("1.0")


def test_a_release_that_is_sick_on_one_server_takes_the_others_back(webs, tmp_path):
    web1, web2 = webs
    web1.fleet.heal(False, site(soak=3))  # it is to be sick before that is over
    with release(tmp_path, "9.60", after=SICK_ON_WEB2), Load(web1.url()) as load:
        words = ("version=9.60", "target=web*", "on_failure=rollback")
        code, rolling = whole(web1.fleet, "rollout", *words)
    assert code != 0, rolling.text
    load.assert_nothing_lost()
    assert "web1 1.0 -> 9.60 ok" in rolling.text
    failed = rolling.text.index("web2 1.0 -> 9.60 failed: ")
    assert "marker: it is sick now" in rolling.text[failed:]
    assert "web1 9.60 -> 1.0 reverted" in rolling.text
    for server in webs:
        server.assert_serves("1.0")


def test_a_release_command_runs_once_on_the_first(webs, tmp_path):
    web1, web2 = webs
    command = ["sh", "-c", "echo marker: it ran"]
    with release(tmp_path, "9.61", release_command=command):
        code, rolling = whole(web1.fleet, "rollout", "version=9.61", "target=web*", "first=0", "batch=100%")
    assert code == 0, rolling.text
    ran = [server.ledger()[-1].get("release_command") for server in webs]
    assert (ran[0]["exit"], ran[1]) == (0, None)
    for server in webs:
        server.assert_serves("9.61")


def test_power_lost_in_the_middle_is_named_and_resumed(webs):
    web1, web2 = webs
    fleet = web1.fleet
    fleet.heal(False, site(soak=8))
    rolling = rollout(fleet, "1.1", "first=0", "batch=100%", "wait=10").begun(web2)
    fleet.cut("web2")
    try:
        assert rolling.end() != 0
        assert "web2 1.0 -> 1.1 lost: silent for 10 s in its deploy" in rolling.text
        assert f"salt-run globoapp.resume {rolling.id}" in rolling.text
        web1.assert_serves("1.1")
        silent = rollout(fleet, "1.0", "wait=5")
        assert silent.end() != 0
        assert "nothing was switched: web2 (it has not answered for 5 s)" in silent.text
    finally:
        fleet.boot("web2")
    before = len(web1.ledger())
    code, again = whole(fleet, "resume", rolling.id)
    assert code == 0, again.text
    assert len(web1.ledger()) == before, "who has it is left alone"
    for server in webs:
        server.assert_serves("1.1")
    # And back, by one command.
    code, back = whole(fleet, "revert", rolling.id)
    assert (code, "web1 1.1 -> 1.0 reverted" in back.lines) == (0, True), back.text
    for server in webs:
        server.assert_serves("1.0")


def test_who_drives_it_is_killed_and_the_next_goes_on(webs):
    web1, web2 = webs
    fleet = web1.fleet
    rolling = rollout(fleet, "1.1", "pause=12").begun(web1)
    second = rollout(fleet, "2.0")
    assert second.end() != 0
    assert f"globoapp is being rolled out: {rolling.id} by " in second.text
    drivers(fleet, signal.SIGKILL)
    rolling.end()
    assert fleet.runner("globoapp.rollouts", "1")[0]["phase"] == "cut while rolling: resume it"
    assert web2.call("globoapp.status")["version"] == "1.0"
    code, again = whole(fleet, "resume", rolling.id)
    assert code == 0, again.text
    for server in webs:
        server.assert_serves("1.1")


def test_ctrl_c_and_orders(webs):
    web1, web2 = webs
    fleet = web1.fleet
    rolling = rollout(fleet, "1.1", "pause=60").begun(web1)
    drivers(fleet, signal.SIGINT)
    assert rolling.end() != 0
    assert "paused: interrupted; web1 will go on by itself" in rolling.text
    again = Rolling(fleet, "resume", rolling.id)
    again.until("web1 .*(ok|had it)")
    fleet.run("salt-run", "globoapp.pause", rolling.id)
    again.end()
    assert fleet.runner("globoapp.rollouts", "1")[0]["phase"] == "paused", again.text
    web1.assert_serves("1.1")
    web2.assert_serves("1.0")


def test_a_server_that_was_away_is_behind_and_catches_up(webs):
    web1, web2 = webs
    fleet = web1.fleet
    fleet.heal(False, site(catch_up=True))
    web2.call("globoapp.health", "report=True")
    web2.sh(MINION_OFF)
    try:
        code, rolling = whole(fleet, "rollout", "version=1.1", "target=web*", "skip_silent=True", "wait=5")
        assert code != 0, rolling.text
        assert "finished: without web2 (it has not answered for 5 s)" in rolling.text
        web1.assert_serves("1.1")
        assert fleet.runner("globoapp.inventory")["web2"]["behind"] == {"version": "1.1", "rollout": rolling.id}
    finally:
        web2.sh("systemctl start salt-minion")
        until(lambda: fleet.awake("web2"), 120)
    web2.call("globoapp.health", "report=True")  # as the schedule does every minute
    until(lambda: web2.call("globoapp.status")["version"] == "1.1", 90)
    until(lambda: not deploying(web2))
    until(lambda: "behind" not in fleet.runner("globoapp.inventory")["web2"])
    web2.assert_serves("1.1")


def test_the_master_goes_away_in_the_middle(webs):
    web1, web2 = webs
    fleet = web1.fleet
    fleet.heal(False, site(soak=3))
    rolling = rollout(fleet, "1.1", "wait=60").begun(web1)
    with Load(web1.url()) as load:
        fleet.exec("master", "systemctl", "stop", "salt-master", check=True)
        until(lambda: web1.version() == "1.1")
        fleet.exec("master", "systemctl", "start", "salt-master", check=True)
        assert rolling.end() == 0, rolling.text
    load.assert_nothing_lost()
    for server in webs:
        server.assert_serves("1.1")
