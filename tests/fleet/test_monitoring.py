"""Each way to break a server, on real machines: seen, told, healed; what is printed is how long that took."""

import json

import pytest
from breaking import BREAKS, Master, outlast
from polling import until
from server import ROOT
from sweeps import sampled

EXTRA = "/etc/salt/test-pillar.yaml"


@pytest.fixture(scope="module")
def master(fleet):
    """The Master, with a pillar file that tests may fill."""
    made = Master(fleet)
    conf = f"ext_pillar: [cmd_yaml: cat {EXTRA}]"
    made.sh(
        f"echo '{{}}' > {EXTRA}; echo '{conf}' > /etc/salt/master.d/test-pillar.conf; systemctl restart salt-master"
    )
    answer(fleet)
    fleet.heal(True)
    yield made
    fleet.heal(False)
    made.sh(f"rm -f {EXTRA} /etc/salt/master.d/test-pillar.conf; systemctl restart salt-master")
    answer(fleet)


def answer(fleet):
    """Waits until the servers have found the master again."""
    until(lambda: fleet.awake("web1", "web2"), 180)


@pytest.fixture(scope="module")
def web(alone, master):
    """web1 with 1.0 and nothing open."""
    made = alone("web1", "1.0")
    made.call("saltutil.refresh_pillar", "wait=True")
    until(lambda: master.run("globoapp.inventory").get("web1", {}).get("version") == "1.0", 120)
    return made


@pytest.fixture
def pillar(master, web):
    """Gives all servers more pillar, until the test ends."""

    def give(data):
        master.sh(f"cat > {EXTRA} <<'EOF'\n{json.dumps(data)}\nEOF")
        web.call("saltutil.refresh_pillar", "wait=True")

    yield give
    give({})


@pytest.mark.parametrize(
    "fault", sampled(BREAKS, "gunicorn killed", "unit masked", "unit file deleted", "flask removed")
)
def test_serves_again_without_a_person(web, master, fault, say):
    seen = outlast(web, master, fault)
    told = "no alert: systemd was quicker" if seen["alert"] is None else f"{seen['alert']:.1f} s to the alert"
    say(f"{told}, {seen['healed']:.1f} s to the first answer")
    until(lambda: "api" not in master.open("web1"))
    web.assert_serves("1.0")


def test_a_deploy_is_no_alert(web, master):
    began = float(web.sh("date +%s.%N"))
    web.deploy("1.1")
    web.deploy("1.0")
    assert [one["probe"] for one in master.past("web1", began) if one["probe"] in ("api", "health")] == []


def test_thresholds_in_pillar_and_back(web, master, pillar):
    pillar({"globoapp": {"monitor": {"memory": {"available": 98, "clear": 99, "samples": 1}}}})
    alert = until(lambda: master.open("web1").get("memory"))
    assert alert["threshold"] == 98 and alert["value"] <= 98
    pillar({})
    until(lambda: "memory" not in master.open("web1"))


def test_bad_thresholds_are_refused_before_anything_is_touched(web):
    before = web.ledger()
    outcome = web.apply("1.1", monitor={"disk": {"percent": 140}, "dsik": {}, "cpu": {"percent": "lots"}})
    assert outcome.code != 0
    assert "globoapp:monitor:disk:percent is 140: a number from 1 to 100 (percent)" in outcome.text
    assert "globoapp:monitor:dsik is an unknown setting; did you mean disk?" in outcome.text
    assert "globoapp:monitor:cpu:percent is 'lots'" in outcome.text
    assert web.ledger() == before
    web.assert_serves("1.0")


def test_the_schedule_is_visible_and_reports(web, master):
    jobs = web.call("schedule.list", "return_yaml=False")
    assert jobs["globoapp-health"]["function"] == "globoapp.health" and jobs["globoapp-health"]["seconds"] == 60
    assert jobs["globoapp-highstate"]["minutes"] == 30 and jobs["globoapp-highstate"]["splay"]
    server = until(lambda: (one := master.run("globoapp.inventory")["web1"])["healthy"] and one, 120)
    assert server["version"] == "1.0" and server["port"] == 8000 and not server["silent"]
    assert server["latency_ms"] > 0 and server["disk"]


def test_a_full_disk_loses_old_releases_and_nothing_else(alone, web, master, pillar):
    other = alone("web2")
    other.sh(f"mkdir -p {ROOT} && mount -t tmpfs -o size=300M,mode=0755 tmpfs {ROOT}")
    for version in ("1.0", "1.1", "2.0"):
        other.deploy(version, reserve=1)
    other.sh(f"mkdir {ROOT}/PACK0_9; echo mine > {ROOT}/notes; echo x > {ROOT}/.globoapp/keepme")
    pillar({"globoapp": {"keep": 2, "monitor": {"disk": {"samples": 1, "every": 1}}}})
    other.call("saltutil.refresh_pillar", "wait=True")
    assert sorted(other.call("globoapp.releases")) == ["PACK1_0", "PACK1_1", "PACK2_0"]
    other.sh(f"head -c $(($(stat -f -c '%a * %S' {ROOT}) - 20000000)) /dev/zero > {ROOT}/ballast")
    until(lambda: "disk" in master.open("web2"))
    until(lambda: sorted(other.call("globoapp.releases")) == ["PACK1_1", "PACK2_0"])
    assert other.sh(f"cat {ROOT}/notes {ROOT}/.globoapp/keepme; ls -d {ROOT}/PACK0_9 {ROOT}/ballast").split() == [
        "mine", "x", f"{ROOT}/PACK0_9", f"{ROOT}/ballast",
    ]  # fmt: skip
    other.sh(f"rm {ROOT}/ballast")
    until(lambda: "disk" not in master.open("web2"))


def test_deploys_made_while_the_master_was_down_are_counted_once(fleet, web, master):
    pillar = json.dumps({"version": "2.0", "globoapp": {"prove": 10, "soak": 0}})
    before = [one["id"] for one in web.ledger()]
    try:
        fleet.salt("--async", "web1", "state.apply", "globoapp", f"pillar={pillar}")
        until(lambda: web.sh("systemctl is-active 'globoapp-candidate@PACK2_0' || true") == "active")
        master.sh("systemctl stop salt-master")
        new = until(lambda: [one["id"] for one in web.ledger()][len(before) :], 120)
    finally:
        master.sh("systemctl start salt-master")
        answer(fleet)

    def known():
        return [one["id"] for one in master.run("globoapp.history", "host=web1", "limit=0")]

    until(lambda: set(new) <= set(known()), 180)
    assert sorted(known()) == sorted(set(known()))
    until(lambda: web.call("globoapp_minion.acknowledge", "[]") == 0, 120)
    web.deploy("1.0")
