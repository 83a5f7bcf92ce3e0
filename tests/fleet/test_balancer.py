"""HAProxy before the web servers: a rollout takes each out of it for its deploy; clients come by HAProxy alone."""

import json
import shlex
import signal
import time

import debs
import pytest
from documents import examples, public_functions
from haproxy import PACKAGES
from load import Load
from machines import CHECKOUT, Fleet
from polling import until
from rolling import drivers, rollout, site, whole
from server import Server, all_green, apply, ask

CHECK = {"path": "/api/comment/list/nobody-commented", "status": 404}  # 1.0 has no page of its own for that
CONFIG = "/etc/haproxy/haproxy.cfg"
PURGE = "dpkg --purge --force-all haproxy; rm -rf /etc/haproxy"


def behind(balancer=True, **settings):
    """The pillar of web servers that are behind the load balancer, for the rollout as well where that is wanted."""
    return site(**({"balancer": {"minions": ["lb"], "wait": 20}} if balancer else {}), **settings)


class Balancer(Server):
    """The machine lb; its states come from the pillar that `configure` writes."""

    def configure(self, servers, **backend):
        """Writes what its pillar says, and returns the Run of its states."""
        held = {name: f"{self.fleet.address(name)}:8000" for name in servers}
        pillar = {"globoapp_balancer": {"globoapp": {"servers": held, "check": CHECK, **backend}}}
        script = "mkdir -p /srv/pillar && cat > /srv/pillar/balancer.sls"
        self.fleet.exec("master", "sh", "-c", script, input=json.dumps(pillar), check=True)
        self.call("saltutil.refresh_pillar", "wait=True")
        return self.apply_states()

    def apply_states(self, test=False):
        """state.apply globoapp_balancer: the Run."""
        return ask(self.fleet, self.name, "state.apply", "globoapp_balancer", test=test)[self.name]

    def statuses(self):
        """{server: HAProxy's word}."""
        return {name: one["status"] for name, one in self.call("globoapp_balancer.state").items()}


@pytest.fixture(scope="module")
def lb(fleet, first_deploy):
    """The machine lb, with HAProxy by this tree's states; it stays, without them: `lab/fleet up` wants all to be on."""
    fleet.run("up", "--web", "2", "--lb")
    machine = Balancer(fleet, "lb")
    machine.sh(PURGE, check=False)
    debs.offer(machine, *PACKAGES)
    machine.configure(["web1", "web2"]).green()
    yield machine
    fleet.heal(False)
    fleet.exec("master", "rm", "-f", "/srv/pillar/balancer.sls")
    machine.sh(PURGE, check=False)
    debs.take_away(machine)


@pytest.fixture
def webs(fleet, lb, serving_1_0):
    """web1 and web2 behind lb, serving 1.0; a rollout is quick."""
    servers = [Server(fleet, name) for name in ("web1", "web2")]
    fleet.heal(False, behind())
    all_green(apply(fleet, "web*", "1.0", port=8000))
    until(lambda: lb.statuses() == {"web1": "UP", "web2": "UP"})
    yield servers
    for server in servers:
        until(lambda server=server: server.call("state.running") == [])


def journal(lb, since):
    """The lines of HAProxy's journal since a time of `date +%s.%N`."""
    return lb.sh(f"journalctl -u haproxy -o cat --since @{since}")


def test_a_second_run_and_a_dry_one_change_nothing(lb):
    assert lb.apply_states().green().changed == []
    assert lb.apply_states(test=True).results == {True}


def test_the_examples_of_its_functions(lb, webs):
    for text in public_functions(CHECKOUT / "salt/_modules/globoapp_balancer.py").values():
        for line in examples(text):
            done = lb.fleet.run(*shlex.split(line), check=False)
            assert (done.returncode, "ERROR" in done.stdout) == (0, False), done.stdout
    assert lb.statuses() == {"web1": "UP", "web2": "UP"}


def test_somebody_elses_configuration_is_left_alone(lb):
    lb.sh(f"sed -i 1d {CONFIG}")
    try:
        run = lb.apply_states()
        assert (run.code != 0, run.changed) == (True, [])
        assert f"{CONFIG} was not written by this tree" in run.failed
    finally:
        lb.sh(f"sed -i '1i # Written by Salt: globoapp_balancer.' {CONFIG}")
    lb.apply_states().green()


def test_what_haproxy_does_not_take_is_not_put_in_place(lb):
    before = lb.sh(f"cat {CONFIG}")
    run = lb.configure(["web1", "web2"], bind=":80 sll")
    assert "unknown keyword 'sll'" in run.text
    assert lb.sh(f"cat {CONFIG}") == before
    run = lb.configure(["web1", "web2"], bund=":80")
    assert "globoapp_balancer:globoapp:bund is an unknown setting" in run.failed
    lb.configure(["web1", "web2"]).green()


@pytest.mark.parametrize("drain", [True, False], ids=["with drain", "without"])
def test_a_rollout_loses_nothing(lb, webs, say, drain):
    fleet = lb.fleet
    fleet.heal(False, behind(drain))
    begun = lb.sh("date +%s.%N")
    with Load(lb.url(80)) as load:
        code, rolling = whole(fleet, "rollout", "version=1.1", "target=web*")
    assert code == 0, rolling.text
    load.assert_nothing_lost()
    say(f"{load.seen['requests']} requests through HAProxy, {load.seen['failed']} failed, {load.seen['latency_ms']}")
    assert lb.statuses() == {"web1": "UP", "web2": "UP"}
    for server in webs:
        server.assert_serves("1.1")
    seen = [name for name in ("web1", "web2") if f"Server globoapp/{name} enters drain state" in journal(lb, begun)]
    assert seen == (["web1", "web2"] if drain else [])


def test_a_server_that_sickens_is_out_and_comes_back(lb, webs, say):
    """SIGSTOP: its port still takes connections, and nobody answers."""
    web1, _ = webs
    freeze = "systemctl kill --signal={} globoapp@PACK1_0.service"
    with Load(lb.url(80)) as load:
        begun = float(web1.sh("date +%s.%N; " + freeze.format("STOP")))  # the machines have one clock
        try:
            until(lambda: "Server globoapp/web1 is DOWN" in journal(lb, begun))
            out = lb.sh(f"journalctl -u haproxy -o short-unix --since @{begun} | grep -m1 'globoapp/web1 is DOWN'")
            say(f"out of HAProxy {float(out.split()[0]) - begun:.2f} s after the command that stopped it began")
            assert lb.statuses() == {"web1": "DOWN", "web2": "UP"}
            after = time.monotonic()
            until(lambda: time.monotonic() > after + 2)  # requests go on being answered meanwhile
        finally:
            web1.sh(freeze.format("CONT"))
        until(lambda: lb.statuses() == {"web1": "UP", "web2": "UP"})
    late = [start for start, _ in load.seen["lost"] if start > after]
    assert late == [], "lost after it was out"
    assert len([start for start, _ in load.seen["samples"] if start > after]) > 0
    say(f"{load.seen['requests']} requests, of which {load.seen['failed']} failed: {load.seen['kinds']}")


def test_a_load_balancer_that_is_away_stops_it_before_a_deploy(lb, webs):
    lb.sh("systemctl stop haproxy")
    try:
        code, rolling = whole(lb.fleet, "rollout", "version=1.1", "target=web*")
    finally:
        lb.sh("systemctl start haproxy")
    assert code != 0
    assert "web1 1.0 -> 1.1 failed: lb: nobody listens at /run/haproxy/admin.sock: HAProxy does not run" in rolling.text
    for server in webs:
        server.assert_serves("1.0")


def test_who_drives_it_is_killed_and_resume_takes_the_server_back(lb, webs):
    fleet = lb.fleet
    rolling = rollout(fleet).begun(webs[0])
    drivers(fleet, signal.SIGKILL)
    rolling.end()
    assert lb.statuses()["web1"] == "DRAIN"
    code, again = whole(fleet, "resume", rolling.id)
    assert code == 0, again.text
    assert lb.statuses() == {"web1": "UP", "web2": "UP"}


def test_with_ctrl_c_it_is_taken_back_at_once(lb, webs):
    fleet = lb.fleet
    rolling = rollout(fleet).begun(webs[0])
    drivers(fleet, signal.SIGINT)
    assert rolling.end() != 0
    assert "globoapp_balancer.ready globoapp web1" in rolling.text
    until(lambda: lb.statuses() == {"web1": "UP", "web2": "UP"})


@pytest.fixture(scope="module")
def four(fleet):
    """A lab of its own with four web servers behind a load balancer: (its Balancer, their names)."""
    other = Fleet("test-balancer")
    other.run("down")
    try:
        other.run("up", "--web", "4", "--lb")
        machine, names = Balancer(other, "lb"), ["web1", "web2", "web3", "web4"]
        debs.offer(machine, *PACKAGES)
        machine.configure(names).green()
        yield machine, names
    finally:
        other.run("down")


@pytest.mark.long
@pytest.mark.parametrize("drain", [True, False], ids=["with drain", "without"])
def test_four_servers_and_100000_requests(four, say, drain):
    lb, names = four
    lb.fleet.heal(False, behind(drain, prove=3, soak=5))
    all_green(apply(lb.fleet, "web*", "1.0", port=8000))
    until(lambda: lb.statuses() == dict.fromkeys(names, "UP"))
    with Load(lb.url(80), rate=0, at_least=100_000) as load:
        code, rolling = whole(lb.fleet, "rollout", "version=1.1", "target=web*")
        ended = time.monotonic()
    assert code == 0, rolling.text
    load.assert_nothing_lost()
    assert load.seen["requests"] >= 100_000
    within = sum(start < ended for start, _ in load.seen["samples"])
    say(f"{load.seen['requests']} requests, {within} of them before it ended, {load.seen['failed']} failed")
    say(f"in ms: {load.seen['latency_ms']}")
    assert lb.statuses() == dict.fromkeys(names, "UP")
