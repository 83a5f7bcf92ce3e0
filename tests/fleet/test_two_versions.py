"""Two versions on two servers, each found, each told, each kept; an older version is just a deploy."""

import json

import pytest
from server import Server, highstate


@pytest.fixture(scope="module", autouse=True)
def web1(fleet, serving_1_0):
    """web1 has 1.1 on port 8080 from the command line."""
    server = Server(fleet, "web1")
    server.deploy("1.1", port=8080)
    return server


@pytest.fixture(scope="module")
def web2(fleet):
    """web2 has 1.0 on 8000."""
    return Server(fleet, "web2")


def test_servers_are_found_by_what_they_serve(fleet, web1, web2):
    for version, host in (("1.1", "web1"), ("1.0", "web2")):
        done = fleet.salt("-G", f"globoapp:version:{version}", "--static", "--out=json", "test.ping")
        assert done.stdout.split() == ["{", f'"{host}":', "true", "}"]
    web1.assert_answers("1.1", port=8080)
    web2.assert_answers("1.0")


def test_a_highstate_of_all_keeps_each_version_and_port(fleet, web1, web2):
    runs = highstate(fleet, "web*")
    assert {name: run.green().changed for name, run in runs.items()} == {"web1": [], "web2": []}
    web1.assert_answers("1.1", port=8080)
    web2.assert_answers("1.0")


def test_health_and_status_tell_each_server(fleet, web1):
    health = fleet.ask("web*", "globoapp.health")
    assert {host: (one["healthy"], one["version"], one["status"]) for host, one in health.items()} == {
        "web1": (True, "1.1", 200),
        "web2": (True, "1.0", 404),
    }
    assert health["web1"]["asked"] == "http://127.0.0.1:8080/status/"
    status = web1.call("globoapp.status")
    assert (status["version"], status["address"], status["current"]) == ("1.1", "0.0.0.0:8080", "PACK1_1")
    assert (status["running"], status["at_boot"], status["differences"]) == (["PACK1_1"], ["PACK1_1"], [])
    assert status["since"] == web1.ledger()[-1]["time"]
    done = fleet.salt("web*", "globoapp.status")
    assert done.returncode == 0


def test_old_versions_stay_on_the_server(web1):
    releases = web1.call("globoapp.releases")
    assert list(releases)[:2] == ["PACK1_0", "PACK1_1"]
    assert (releases["PACK1_0"]["state"], releases["PACK1_1"]["state"]) == ("good", "live")


def test_the_history_is_the_ledger_newest_first(web1):
    lines = web1.ledger()
    assert web1.call("globoapp.history", "limit=0") == lines[::-1]
    assert web1.call("globoapp.history", "limit=1") == lines[-1:]


def test_a_pinned_version_warns_whoever_deploys_another(web2):
    pillar = json.dumps({"version": "1.1", "globoapp": {"version": "1.0"}})
    first = list(web2.call("state.apply", "globoapp", "test=True", f"pillar={pillar}").values())[0]
    assert "pillar pins version 1.0, the command line says 1.1: the next highstate goes back to 1.0" in first["comment"]


def test_an_older_version_is_just_a_deploy(web1):
    run = web1.deploy("1.0")
    assert "packages of globoapp 1.0 are installed" not in run.changed
    assert "globoapp 1.0 is unpacked" not in run.changed
    web1.assert_answers("1.0", port=8080)
    line = web1.ledger()[-1]
    assert (line["action"], line["version"], line["from"], line["result"]) == ("deploy", "1.0", "1.1", "success")
    assert web1.call("globoapp.releases")["PACK1_1"]["state"] == "good"


def test_an_unhealthy_server_says_so_with_its_exit_code(web2):
    assert web2.code("beacons.disable") == 0
    try:
        web2.sh("systemctl stop globoapp-0.0.0.0:8000.socket globoapp@PACK1_0")
        assert web2.code("globoapp.health", "deadline=0") != 0
        health = web2.call("globoapp.health", "deadline=0")
        assert health["healthy"] is False
        assert health["problems"][0].startswith("no answer: ConnectionRefusedError")
        assert "log" in health
        assert web2.code("globoapp.status") != 0
        assert web2.call("globoapp.status")["differences"]
        web2.highstate().green()
        assert web2.code("globoapp.health") == 0
    finally:
        assert web2.code("beacons.enable") == 0
