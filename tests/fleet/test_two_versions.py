"""Two versions on two servers, each found, each told, each kept; an older version is just a deploy."""

import pytest
from deploys import apply, highstate, ledger, serves


@pytest.fixture(scope="module", autouse=True)
def two(fleet, serving_1_0):
    """web1 has 1.1 on port 8080 from the command line, web2 has 1.0 on 8000."""
    apply(fleet, "web1", version="1.1", port=8080).green()


def test_servers_are_found_by_what_they_serve(fleet):
    for version, host in (("1.1", "web1"), ("1.0", "web2")):
        done = fleet.salt("-G", f"globoapp:version:{version}", "--static", "--out=json", "test.ping")
        assert done.stdout.split() == ["{", f'"{host}":', "true", "}"]
    serves(fleet, "web1", "1.1", port=8080)
    serves(fleet, "web2", "1.0")


def test_a_highstate_of_all_keeps_each_version_and_port(fleet):
    run = highstate(fleet, "web*").green()
    assert {minion: run.changed(minion) for minion in run.states} == {"web1": [], "web2": []}
    serves(fleet, "web1", "1.1", port=8080)
    serves(fleet, "web2", "1.0")


def test_health_and_status_tell_each_server(fleet):
    health = fleet.ask("web*", "globoapp.health")
    assert {host: (one["healthy"], one["version"], one["status"]) for host, one in health.items()} == {
        "web1": (True, "1.1", 200),
        "web2": (True, "1.0", 404),
    }
    assert health["web1"]["asked"] == "http://127.0.0.1:8080/status/"
    status = fleet.ask("web1", "globoapp.status")["web1"]
    assert (status["version"], status["address"], status["current"]) == ("1.1", "0.0.0.0:8080", "PACK1_1")
    assert (status["running"], status["at_boot"], status["differences"]) == (["PACK1_1"], ["PACK1_1"], [])
    assert status["since"] == ledger(fleet, "web1")[-1]["time"]
    done = fleet.salt("web*", "globoapp.status")
    assert done.returncode == 0


def test_old_versions_stay_on_the_server(fleet):
    releases = fleet.ask("web1", "globoapp.releases")["web1"]
    assert list(releases)[:2] == ["PACK1_0", "PACK1_1"]
    assert (releases["PACK1_0"]["state"], releases["PACK1_1"]["state"]) == ("good", "live")


def test_the_history_is_the_ledger_newest_first(fleet):
    lines = ledger(fleet, "web1")
    assert fleet.ask("web1", "globoapp.history", "limit=0")["web1"] == lines[::-1]
    assert fleet.ask("web1", "globoapp.history", "limit=1")["web1"] == lines[-1:]


def test_a_pinned_version_warns_whoever_deploys_another(fleet):
    run = apply(fleet, "web2", "test=True", version="1.1", globoapp={"version": "1.0", "prove": 0, "soak": 0})
    first = run.states["web2"][0]
    assert "pillar pins version 1.0, the command line says 1.1: the next highstate goes back to 1.0" in first["comment"]


def test_an_older_version_is_just_a_deploy(fleet):
    run = apply(fleet, "web1", version="1.0").green()
    assert "packages of globoapp 1.0 are installed" not in run.changed("web1")
    assert "globoapp 1.0 is unpacked" not in run.changed("web1")
    serves(fleet, "web1", "1.0", port=8080)
    line = ledger(fleet, "web1")[-1]
    assert (line["action"], line["version"], line["from"], line["result"]) == ("deploy", "1.0", "1.1", "success")
    assert fleet.ask("web1", "globoapp.releases")["web1"]["PACK1_1"]["state"] == "good"


def test_an_unhealthy_server_says_so_with_its_exit_code(fleet):
    fleet.salt("web2", "beacons.disable", check=True)
    try:
        fleet.exec("web2", "systemctl", "stop", "globoapp-0.0.0.0:8000.socket", "globoapp@PACK1_0", check=True)
        assert fleet.salt("web2", "globoapp.health", "deadline=0").returncode != 0
        health = fleet.ask("web2", "globoapp.health", "deadline=0")["web2"]
        assert health["healthy"] is False
        assert health["problems"][0].startswith("no answer: ConnectionRefusedError")
        assert "log" in health
        assert fleet.salt("web2", "globoapp.status").returncode != 0
        assert fleet.ask("web2", "globoapp.status")["web2"]["differences"]
        highstate(fleet, "web2").green()
        assert fleet.salt("web2", "globoapp.health").returncode == 0
    finally:
        fleet.salt("web2", "beacons.enable", check=True)
