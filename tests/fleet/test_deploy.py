"""A version lands on bare servers by the command that an operator types, and what it says is true."""

import json
import re

import pytest
from deploys import apply, get, highstate, ledger, listing, main_pid, serves

ROOT = "/opt/globoHUB/desafio"
# What a person reads, in the order of the run.
STEPS = [
    "globoapp 1.0 can be deployed",
    "system user globoapp exists",
    f"tree {ROOT} exists",
    "packages of globoapp 1.0 are installed",
    "globoapp 1.0 is unpacked",
    "gunicorn is configured for globoapp",
    "unit globoapp@.service is defined",
    "unit globoapp-candidate@.service is defined",
    "unit globoapp-activate.service is defined",
    "globoapp 1.0 is proven",
    "globoapp 1.0 serves",
    "globoapp 1.0 is healthy",
    "globoapp 1.0 is recorded",
    f"{ROOT}/current is globoapp 1.0",
    "old releases of globoapp are pruned",
    "grain globoapp says 1.0",
]
# A process on the master that prints the deploys' events; its first line says that it listens.
LISTENER = """
import json, salt.config, salt.utils.event
options = salt.config.master_config("/etc/salt/master")
with salt.utils.event.get_event("master", opts=options, listen=True) as bus:
    bus.subscribe("globoapp/deploy/")
    assert bus.connect_pub()
    print("listening", flush=True)
    event = None
    while not event:
        event = bus.get_event(tag="globoapp/deploy/", full=True, wait=60)
    print(json.dumps(event), flush=True)
"""
PINS = {
    "click": "7.1.2",
    "Flask": "1.1.2",
    "gunicorn": "20.0.4",
    "itsdangerous": "1.1.0",
    "Jinja2": "2.11.2",
    "MarkupSafe": "1.1.1",
    "Werkzeug": "1.0.1",
}


@pytest.fixture(scope="module", autouse=True)
def first(first_deploy):
    return first_deploy


def ids(states):
    """The IDs of a run in their order, each once."""
    return list(dict.fromkeys(one["__id__"] for one in states))


def test_the_first_command_on_fresh_minions_works(first):
    assert first.cached == {"web1": "", "web2": ""}, "the minions were not fresh"
    first.deploy.green()
    for minion in ("web1", "web2"):
        assert [one for one in ids(first.deploy.states[minion]) if "monitor" not in one] == STEPS


def test_a_dry_run_on_a_bare_host_touches_nothing_and_tells_the_truth(first):
    assert first.dry.code == 0
    assert first.dry.results("web2") == {True, None}
    assert not first.before ^ first.after
    assert ids(first.dry.states["web2"]) == ids(first.deploy.states["web2"])
    foretold = {one["__id__"] for one in first.dry.states["web2"] if one["result"] is None}
    assert set(first.deploy.changed("web2")) <= foretold


def test_it_serves_the_network(fleet):
    for host in ("web1", "web2"):
        serves(fleet, host, "1.0")


def test_the_release_belongs_to_root(fleet):
    said = fleet.exec("web1", "stat", "-c", "%U:%G %a", f"{ROOT}/PACK1_0", f"{ROOT}/PACK1_0/api.py", check=True)
    assert said.stdout.splitlines() == ["root:root 755", "root:root 644"]
    as_service = ["runuser", "-u", "globoapp", "--"]
    for path in (ROOT, f"{ROOT}/PACK1_0", f"{ROOT}/PACK1_0/api.py", f"{ROOT}/.globoapp", f"{ROOT}/virtualenvs"):
        assert fleet.exec("web1", *as_service, "test", "-w", path).returncode == 1
    assert fleet.exec("web1", "readlink", f"{ROOT}/current").stdout == "PACK1_0\n"


def test_the_pins_are_kept_exactly(fleet):
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    python = f"{ROOT}/PACK1_0/.venv/bin/python"
    found = json.loads(fleet.exec("web1", python, "-I", "-c", code, check=True).stdout)
    assert {name: found.get(name) for name in PINS} == PINS
    assert set(found) - set(PINS) <= {"setuptools", "pip"}


def test_the_service_is_unprivileged_and_has_no_network_of_its_own(fleet):
    unit = "globoapp@PACK1_0.service"
    said = fleet.exec("web1", "systemd-analyze", "security", "--no-pager", unit).stdout
    exposure = float(re.search(rf"Overall exposure level for {unit}: ([\d.]+)", said)[1])
    assert exposure <= 1.0
    pid = main_pid(fleet, "web1", "PACK1_0")
    assert fleet.exec("web1", "ps", "-o", "user=", "-p", pid).stdout.strip() == "globoapp"
    links = fleet.exec("web1", "nsenter", "--target", pid, "--net", "ip", "-o", "link", check=True).stdout.splitlines()
    assert [line.split(":")[1].strip() for line in links] == ["lo"]
    status = fleet.exec("web1", "cat", f"/proc/{pid}/status", check=True).stdout
    assert re.search(r"^CapEff:\s+0+$", status, re.M)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)


def test_a_second_run_changes_nothing_and_says_so(fleet):
    before = listing(fleet, "web1"), main_pid(fleet, "web1", "PACK1_0")
    again = apply(fleet, "web*", version="1.0").green()
    assert {minion: again.changed(minion) for minion in again.states} == {"web1": [], "web2": []}
    assert not listing(fleet, "web1") ^ before[0]
    assert main_pid(fleet, "web1", "PACK1_0") == before[1]


def test_a_dry_run_afterwards_foretells_nothing(fleet):
    dry = apply(fleet, "web*", "test=True", version="1.0").green()
    assert {minion: dry.changed(minion) for minion in dry.states} == {"web1": [], "web2": []}


def test_a_dry_run_of_another_version_leaves_this_one(fleet):
    before = listing(fleet, "web1")
    dry = apply(fleet, "web1", "test=True", version="1.1")
    assert dry.code == 0
    assert "globoapp 1.1 serves" in dry.changed("web1")
    assert not listing(fleet, "web1") ^ before
    serves(fleet, "web1", "1.0")


def test_a_highstate_changes_nothing(fleet):
    run = highstate(fleet, "web*").green()
    assert {minion: run.changed(minion) for minion in run.states} == {"web1": [], "web2": []}
    assert "globoapp 1.0 serves" in ids(run.states["web1"])


def test_each_deploy_is_told_to_ledger_grains_and_master(fleet):
    listener = fleet.start("exec", "master", "--", "/opt/salt/bin/python", "-c", LISTENER, stdout=-1, text=True)
    try:
        assert listener.stdout.readline() == "listening\n"
        apply(fleet, "web1", version="1.1").green()
        event = json.loads(listener.stdout.readline())
    finally:
        listener.kill()
        listener.wait()
    line = ledger(fleet, "web1")[-1]
    assert (line["version"], line["port"], line["result"], line["action"]) == ("1.1", 8000, "success", "deploy")
    assert (line["host"], line["from"]) == ("web1", "1.0")
    assert line["duration"] > 0
    assert "globoapp 1.1 serves" in line["changed"]
    assert event["tag"] == "globoapp/deploy/web1"
    assert event["data"]["data"]["id"] == line["id"]
    job = json.loads(fleet.run("salt-run", "--out=json", "jobs.lookup_jid", line["jid"]).stdout)
    assert "web1" in job
    assert fleet.ask("*", "grains.get", "globoapp:version") == {"web1": "1.1", "web2": "1.0"}
    serves(fleet, "web1", "1.1")
    serves(fleet, "web2", "1.0")


def test_without_a_master_from_the_checkout(fleet):
    """The master's machine as a bare server: salt-call --local in a clone."""
    command = (
        "cd /root/clone && salt-call --local --out=json state.apply globoapp "
        """pillar='{"version": "1.1", "globoapp": {"prove": 0, "soak": 0}}'"""
    )
    # A clone of its own: Salt writes grains beside its configuration.
    # What other tests put into dist/ meanwhile comes and goes.
    copy = (
        "mkdir -p /root/clone/dist && cd /srv/globoapp && cp -r Saltfile etc salt pillar /root/clone && "
        "cp -r dist/wheels dist/globoapp-1.[01].zip* /root/clone/dist"
    )
    fleet.exec("master", "sh", "-c", copy, check=True)
    try:
        for changes in (True, False):
            done = fleet.exec("master", "sh", "-c", command)
            states = json.loads(done.stdout)["local"]
            assert done.returncode == 0, [one["comment"] for one in states.values() if not one["result"]]
            assert any(one["changes"] for one in states.values()) is changes
            assert json.loads(get(fleet, "master", "/status/")[1])["version"] == "1.1"
        line = ledger(fleet, "master")[-1]
        assert (line["version"], line["result"]) == ("1.1", "success")
    finally:
        fleet.remove_app("master")
        fleet.exec("master", "rm", "-r", "/root/clone", check=True)
    assert get(fleet, "master")[0] is None
