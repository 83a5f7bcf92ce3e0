"""A version lands on bare servers by the command that an operator types, and what it says is true."""

import json
import re

import pytest
from server import ROOT, WIPE, Server, all_green, apply, highstate

# What a person reads, in the order of the run.
STEPS = [
    "globoapp 1.0 can be deployed",
    "system user globoapp exists",
    f"tree {ROOT} exists",
    "packages of globoapp 1.0 are installed",
    "globoapp 1.0 is unpacked",
    "globoapp 1.0 has passed its trial",
    "units of globoapp are defined",
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


@pytest.fixture(scope="module")
def web1(fleet):
    return Server(fleet, "web1")


@pytest.fixture(scope="module")
def web2(fleet):
    return Server(fleet, "web2")


def changed(runs):
    """{minion: IDs of what changed} of green runs."""
    return {name: run.changed for name, run in all_green(runs).items()}


def test_the_first_command_on_fresh_minions_works(first):
    assert first.cached == {"web1": "", "web2": ""}, "the minions were not fresh"
    assert set(first.deploy) == {"web1", "web2"}
    for run in all_green(first.deploy).values():
        assert [one for one in run.ids if "monitor" not in one] == STEPS


def test_a_dry_run_on_a_bare_host_touches_nothing_and_tells_the_truth(first):
    assert first.dry.code == 0
    assert first.dry.results == {True, None}
    assert sorted(first.before ^ first.after) == []
    assert first.dry.ids == first.deploy["web2"].ids
    foretold = {one["__id__"] for one in first.dry.states if one["result"] is None}
    assert set(first.deploy["web2"].changed) <= foretold


def test_it_serves_the_network(web1, web2):
    web1.assert_answers("1.0")
    web2.assert_answers("1.0")


def test_the_release_belongs_to_root(fleet, web1):
    said = web1.sh(f"stat -c '%U:%G %a' {ROOT}/PACK1_0 {ROOT}/PACK1_0/api.py")
    assert said.splitlines() == ["root:root 755", "root:root 644"]
    as_service = ["runuser", "-u", "globoapp", "--"]
    for path in (ROOT, f"{ROOT}/PACK1_0", f"{ROOT}/PACK1_0/api.py", f"{ROOT}/.globoapp", f"{ROOT}/virtualenvs"):
        assert fleet.exec("web1", *as_service, "test", "-w", path).returncode == 1
    assert web1.sh(f"readlink {ROOT}/current") == "PACK1_0"


def test_the_pins_are_kept_exactly(fleet):
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    python = f"{ROOT}/PACK1_0/.venv/bin/python"
    found = json.loads(fleet.exec("web1", python, "-I", "-c", code, check=True).stdout)
    assert {name: found.get(name) for name in PINS} == PINS
    assert set(found) - set(PINS) <= {"setuptools", "pip"}


def test_the_service_is_unprivileged_and_has_no_network_of_its_own(fleet, web1):
    unit = "globoapp@PACK1_0.service"
    said = fleet.exec("web1", "systemd-analyze", "security", "--no-pager", unit).stdout
    exposure = float(re.search(rf"Overall exposure level for {unit}: ([\d.]+)", said)[1])
    assert exposure <= 1.0
    pid = web1.main_pid("1.0")
    assert web1.sh(f"ps -o user= -p {pid}") == "globoapp"
    links = web1.sh(f"nsenter --target {pid} --net ip -o link").splitlines()
    assert [line.split(":")[1].strip() for line in links] == ["lo"]
    status = web1.sh(f"cat /proc/{pid}/status")
    assert re.search(r"^CapEff:\s+0+$", status, re.M)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)


def test_a_second_run_changes_nothing_and_says_so(fleet, web1):
    before = web1.listing(), web1.main_pid("1.0")
    assert changed(apply(fleet, "web*", "1.0")) == {"web1": [], "web2": []}
    assert sorted(web1.listing() ^ before[0]) == []
    assert web1.main_pid("1.0") == before[1]


def test_a_dry_run_afterwards_foretells_nothing(fleet):
    assert changed(apply(fleet, "web*", "1.0", test=True)) == {"web1": [], "web2": []}


def test_a_dry_run_of_another_version_leaves_this_one(web1):
    before = web1.listing()
    dry = web1.apply("1.1", test=True)
    assert dry.code == 0
    assert "globoapp 1.1 serves" in dry.changed
    assert sorted(web1.listing() ^ before) == []
    web1.assert_answers("1.0")


def test_a_highstate_changes_nothing(fleet):
    runs = highstate(fleet, "web*")
    assert changed(runs) == {"web1": [], "web2": []}
    assert "globoapp 1.0 serves" in runs["web1"].ids


def test_each_deploy_is_told_to_ledger_grains_and_master(fleet, web1, web2):
    listener = fleet.start("exec", "master", "--", "/opt/salt/bin/python", "-c", LISTENER, stdout=-1, text=True)
    try:
        assert listener.stdout.readline() == "listening\n"
        web1.deploy("1.1")
        event = json.loads(listener.stdout.readline())
    finally:
        listener.kill()
        listener.wait()
    line = web1.ledger()[-1]
    assert (line["version"], line["port"], line["result"], line["action"]) == ("1.1", 8000, "success", "deploy")
    assert (line["host"], line["from"]) == ("web1", "1.0")
    assert line["duration"] > 0
    assert "globoapp 1.1 serves" in line["changed"]
    assert event["tag"] == "globoapp/deploy/web1"
    assert event["data"]["data"]["id"] == line["id"]
    job = json.loads(fleet.run("salt-run", "--out=json", "jobs.lookup_jid", line["jid"]).stdout)
    assert "web1" in job
    assert fleet.ask("*", "grains.get", "globoapp:version") == {"web1": "1.1", "web2": "1.0"}
    web1.assert_answers("1.1")
    web2.assert_answers("1.0")


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
    bare = Server(fleet, "master")
    bare.sh(copy)
    try:
        for changes in (True, False):
            done = fleet.exec("master", "sh", "-c", command)
            states = json.loads(done.stdout)["local"]
            assert done.returncode == 0, [one["comment"] for one in states.values() if not one["result"]]
            assert any(one["changes"] for one in states.values()) is changes
            assert bare.version() == "1.1"
        line = bare.ledger()[-1]
        assert (line["version"], line["result"]) == ("1.1", "success")
    finally:
        bare.sh(f"{WIPE}\nrm -rf /root/clone /var/cache/salt/masterless")
    assert bare.get()[0] is None
