"""A rollout over six servers while one loses its power, one its network, one its disk, one stands still, and the master
goes away: each server has the old version, or the new one, or is named with what to type; nobody else loses a thing."""

import contextlib
import json

import pytest
from load import Load
from machines import Fleet
from polling import until
from rolling import Rolling, deploying, site, whole
from server import ROOT, Server, all_green, apply

SERVERS = [f"web{number}" for number in range(1, 7)]


@pytest.fixture(scope="module")
def six():
    """A fleet of its own with six web servers that serve 1.0; web5's root is small."""
    fleet = Fleet("test-chaos")
    fleet.run("down")
    try:
        fleet.run("up", "--web", "6", capture_output=False)
        fleet.heal(False, site(soak=20))  # time enough for all the faults
        small = Server(fleet, "web5")
        small.sh(f"mkdir -p {ROOT} && mount -t tmpfs -o size=160m,mode=0755 tmpfs {ROOT}")
        all_green(apply(fleet, "web*", "1.0", reserve=1))
        yield fleet
    finally:
        fleet.run("down", check=False)


@pytest.mark.long
def test_every_server_is_old_or_new_or_named(six, say):
    servers = {name: Server(six, name) for name in SERVERS}
    # web1 goes first; of the five others each has its own fault, but for web6.
    with contextlib.ExitStack() as loads:
        spared = {
            name: loads.enter_context(Load(servers[name].url(), rate=20, connections=4))
            for name in ("web1", "web4", "web5", "web6")
        }
        rolling = Rolling(
            six,
            "rollout",
            "version=1.1",
            "target=web*",
            "first=1",
            "batch=100%",
            "failures=6",
            "wait=20",
            "deadline=120",
        )
        rolling.until("web1 1.0 -> 1.1 ok")
        until(lambda: all(deploying(servers[name]) for name in ("web2", "web3", "web4")))
        six.cut("web2")
        servers["web3"].sh("ip link set host0 down", check=False)
        servers["web4"].sh("systemctl kill --signal=STOP salt-minion")
        free = int(servers["web5"].sh(f"df --output=avail -B1M {ROOT} | tail -1"))
        servers["web5"].sh(f"fallocate -l {free}M {ROOT}/filler", check=False)
        six.exec("master", "systemctl", "restart", "salt-master", check=True)
        code = rolling.end()
    said = rolling.text
    for load in spared.values():
        load.assert_nothing_lost()
    six.boot("web2")
    servers["web3"].sh("ip link set host0 up; systemctl restart systemd-networkd || true", check=False)
    servers["web4"].sh("systemctl kill --signal=CONT salt-minion")
    servers["web5"].sh(f"rm -f {ROOT}/filler")
    until(lambda: six.awake(*SERVERS), 180)
    assert code != 0, said
    summary = six.runner("globoapp.rollouts", "1")[0]
    stated = {
        name: state
        for name in SERVERS
        for state in ("ok", "lost", "failed", "unclear")
        if f"{name} 1.0 -> 1.1 {state}" in said
    }
    say(f"a rollout over six servers: {json.dumps(stated)}; {summary['servers']}")
    assert set(stated) == set(SERVERS), said
    assert stated["web1"] == "ok" and stated["web2"] == stated["web3"] == "lost", said
    for name, server in servers.items():
        until(lambda server=server: not deploying(server))
        status = server.call("globoapp.status")
        # web2 and web3 may have come to their end unheard; nothing is half.
        assert status["version"] in ("1.0", "1.1"), status
        if stated[name] == "ok":
            assert status["version"] == "1.1", (name, status)
    code, again = whole(six, "resume", rolling.id)
    assert code == 0, again.text
    for server in servers.values():
        server.assert_serves("1.1")
