"""Maintenance of a server: what a person stops stays down, and nobody is told; when it ends, it is told and healed."""

import pytest
from polling import until

SERVICE = "systemctl stop globoapp-0.0.0.0:8000.socket globoapp@PACK1_0.service"


@pytest.fixture
def web(watched):
    """web1 with its monitoring, of which nothing is open; not in maintenance."""
    until(lambda: watched.fleet.runner("globoapp.inventory")["web1"]["watched"], 120)
    watched.fleet.runner("globoapp.heal", "web1", "again=True")
    yield watched
    watched.call("globoapp.maintenance", "off")
    until(lambda: opened(watched) == set(), 120)


def opened(server):
    """What the master has open of a server's app: a set of probes."""
    return {"api", "health", "healing", "silent"} & {
        one["probe"] for one in server.fleet.runner("globoapp.alerts", f"host={server.name}")["open"]
    }


def held(server):
    """What the inventory says of the maintenance of a server."""
    return server.fleet.runner("globoapp.inventory")[server.name]["maintenance"]


def is_down(server):
    """Whether neither the socket nor a release is up."""
    return not server.sh("systemctl list-units --plain --no-legend --state=active,activating 'globoapp*'", check=False)


def looks(server, turns):
    """Waits until the beacon has looked so many times more."""
    seen = set()

    def look():
        seen.add(server.sh("cat /run/globoapp-looked", check=False))
        return len(seen) > turns

    until(look, 60)


def test_what_is_stopped_stays_down_until_it_ends(web):
    done = web.fleet.salt("web1", "globoapp.maintenance", "on", "reason=a new disk", "until=2h")
    assert done.returncode == 0, done.stdout
    assert SERVICE in done.stdout
    before = web.ledger()
    assert until(lambda: held(web))["reason"] == "a new disk"
    web.sh(SERVICE)
    looks(web, 5)
    web.highstate().green()
    assert "in maintenance until" in web.highstate().text
    # The report of the minute, by the schedule's own function.
    health = web.call("globoapp.health", "report=True")
    assert (health["healthy"], health["maintenance"]["by"]) == (False, "root")
    refused = web.apply("1.1")
    assert refused.code != 0
    assert "salt 'web1' globoapp.maintenance off" in refused.failed
    assert web.call("globoapp_minion.heal")["result"] == "refused"
    assert web.code("globoapp.rollback") == 1
    looks(web, 5)
    assert (is_down(web), opened(web), web.ledger()) == (True, set(), before)
    web.call("globoapp.maintenance", "off")
    until(web.answers, 120)
    until(lambda: held(web) is None)
    until(lambda: web.call("globoapp.status")["differences"] == [], 120)
    past = web.fleet.runner("globoapp.alerts", "host=web1", "from=2026-01-01")["history"]
    assert past[-1]["probe"] in ("api", "health"), "it was told, too"
    web.assert_serves("1.0")


def test_it_ends_by_itself(web):
    web.call("globoapp.maintenance", "on", "reason=x", "until=5s")
    web.sh(SERVICE)
    until(web.answers, 120)
    assert web.call("globoapp.maintenance") == {"on": False}


def test_it_outlives_a_reboot(web):
    web.call("globoapp.maintenance", "on", "reason=a new kernel", "until=1h")
    web.sh(f"{SERVICE}; systemctl mask globoapp@PACK1_0.service")
    web.fleet.cut("web1")
    web.fleet.boot("web1")
    until(lambda: web.fleet.awake("web1"), 120)
    assert web.call("globoapp.maintenance")["reason"] == "a new kernel"
    looks(web, 5)
    assert (web.sh("systemctl is-enabled globoapp@PACK1_0.service", check=False), opened(web)) == ("masked", set())
    web.call("globoapp.maintenance", "off")
    until(web.answers, 120)
