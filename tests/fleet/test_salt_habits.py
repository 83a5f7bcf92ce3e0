"""What people do to Salt itself: caches cleared, beacons switched off, parts of the states, a queue, another user."""

import pytest
from polling import until
from server import Server

UNIT = "globoapp@PACK1_0.service"


@pytest.fixture
def watched(fleet, watched):
    """The same, once the master knows that monitoring looks after it."""
    until(lambda: inventory(fleet)["web1"]["watched"], 120)
    return watched


def inventory(fleet):
    """What the master knows of each server."""
    return fleet.runner("globoapp.inventory")


def restarted(server):
    """Waits until the minion has started anew and answers."""
    # When its master comes back a minion writes the schedule of its pillar down as its own, and that outlives a change
    # of pillar: here it would be the one of tests that want no monitoring.
    server.restart_minion("rm -f /etc/salt/minion.d/_schedule.conf", 120)


def test_a_cleared_cache_is_filled_again(watched):
    watched.sh("rm -rf /var/cache/salt/minion")
    restarted(watched)
    watched.sh(f"systemctl mask --runtime --now {UNIT}")
    until(watched.answers, 240)
    until(lambda: watched.call("globoapp.status")["differences"] == [], 120)
    watched.assert_serves("1.0")


def test_a_cache_that_salt_cleared_is_no_trouble(watched):
    assert watched.call("saltutil.clear_cache") is True
    watched.deploy("1.1")
    watched.deploy("1.0")
    watched.assert_serves("1.0")


@pytest.mark.long
def test_a_beacon_that_was_switched_off_is_seen(watched):
    watched.fleet.heal(False)
    until(lambda: inventory(watched.fleet)["web1"]["watched"] is False, 400)


def test_a_part_of_the_states_leaves_what_serves_alone(web1):
    before, pid = web1.ledger(), web1.main_pid("1.0")
    for part in ("globoapp.app", "globoapp.service"):
        web1.fleet.salt("web1", "state.apply", part, 'pillar={"version": "1.1", "globoapp": {"prove": 0, "soak": 0}}')
        assert (web1.ledger(), web1.main_pid("1.0")) == (before, pid)
    web1.assert_answers("1.0")
    assert "interrupted" not in web1.deploy("1.1").text
    web1.deploy("1.0")


def test_a_deploy_that_meets_a_highstate_waits_or_says_so(web1):
    web1.fleet.salt("--async", "web1", "state.apply", "globoapp", 'pillar={"globoapp": {"prove": 0, "soak": 5}}')
    until(lambda: web1.call("state.running"))
    met = web1.apply("1.1")
    if met.code:
        assert "is running as PID" in met.text
        until(lambda: not web1.call("state.running"))
        met = web1.apply("1.1")
    met.green()
    web1.deploy("1.0")


def test_a_queue_of_states_deploys_and_goes_back_in_turn(web1):
    conf = "/etc/salt/minion.d/queue.conf"
    web1.sh(f"echo 'state_queue: True' > {conf}")
    try:
        restarted(web1)
        web1.deploy("1.1")
        web1.fleet.salt("--async", "web1", "state.highstate")
        until(lambda: web1.call("state.running"))
        assert web1.call("globoapp.rollback")["result"] is True
        until(lambda: not web1.call("state.running"))
        web1.assert_serves("1.0")
    finally:
        web1.sh(f"rm {conf}")
        restarted(web1)


def test_a_broken_pillar_of_the_site_is_told_and_nothing_changes(web1):
    before = web1.ledger()
    web1.fleet.heal(False, "broken: [\n")
    try:
        run = web1.apply("1.1")
        assert run.code != 0 and "Pillar failed to render" in run.text
        assert web1.ledger() == before
        web1.assert_answers("1.0")
    finally:
        web1.fleet.heal(False)
    web1.highstate().green()


def test_a_server_that_boots_while_the_master_is_away_serves(fleet, web1):
    fleet.cut("master")
    try:
        fleet.cut("web1")
        fleet.boot("web1")
        until(web1.answers, 60)
        # What systemd can heal needs no master.
        web1.sh(f"systemctl kill --signal=KILL {UNIT}")
        until(web1.answers, 60)
    finally:
        fleet.boot("master")
        until(lambda: fleet.awake("web1", "web2"), 180)
    web1.highstate().green()


OWNED = "/etc/salt/pki /var/cache/salt /var/log/salt /run/salt"


@pytest.fixture
def unprivileged_master(fleet, watched):
    """The master as a user of its own, as Salt's packages run it; afterwards as before."""

    def owned(user):
        done = fleet.exec(
            "master", "sh", "-c",
            "systemctl stop salt-master && mkdir -p /run/salt"
            f" && chown -R {user} {OWNED} && systemctl start salt-master", check=True,
        )  # fmt: skip
        until(lambda: fleet.awake("web1", "web2"), 180)
        return done

    conf = "/etc/salt/master.d/user.conf"
    fleet.exec("master", "sh", "-c", f"useradd --system salt; echo 'user: salt' > {conf}", check=True)
    owned("salt")
    yield
    fleet.exec("master", "sh", "-c", f"rm {conf}; userdel salt || true", check=True)
    owned("root")


@pytest.mark.long
def test_a_master_that_is_not_root(fleet, watched, unprivileged_master):
    user = Server(fleet, "master").sh("ps -o user= -p $(systemctl show -P MainPID salt-master)")
    assert user == "salt"
    watched.deploy("1.1")
    until(lambda: inventory(fleet)["web1"]["version"] == "1.1", 120)
    watched.sh("systemctl mask --runtime --now globoapp@PACK1_1.service")
    until(watched.answers, 120)
    until(lambda: watched.call("globoapp.status")["differences"] == [], 120)
    watched.deploy("1.0")
