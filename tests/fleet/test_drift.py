"""Drift: whatever was changed by hand is put right by a highstate, and the version and port stay."""

import pytest
from deploys import apply, highstate, ledger, serves
from polling import until

ROOT, UNITS = "/opt/globoHUB/desafio", "/etc/systemd/system"
SOCKET = "globoapp-0.0.0.0:8080.socket"

# What somebody did by hand, and the IDs of the states that put it right.
DRIFT = {
    "edited code": (f"echo '# hotfix' >> {ROOT}/PACK1_1/api.py", ["globoapp 1.1 is unpacked", "globoapp 1.1 serves"]),
    "removed code": (f"rm {ROOT}/PACK1_1/api.py", ["globoapp 1.1 is unpacked"]),
    "wrong modes": (
        f"chmod 666 {ROOT}/PACK1_1/api.py; chmod 777 {ROOT}; chown globoapp {ROOT}/PACK1_1",
        [f"tree {ROOT} exists", "globoapp 1.1 is unpacked"],
    ),
    # Whoever asks first has the socket start it again, so that a highstate may find nothing to do.
    "stopped service": ("systemctl stop globoapp@PACK1_1", []),
    "stopped socket": (f"systemctl stop {SOCKET} globoapp@PACK1_1", ["globoapp 1.1 serves"]),
    "masked service": (
        "systemctl stop globoapp@PACK1_1; systemctl mask globoapp@PACK1_1",
        ["globoapp 1.1 serves"],
    ),
    "disabled service": ("systemctl disable globoapp@PACK1_1", ["globoapp 1.1 serves"]),
    "removed unit": (f"rm {UNITS}/globoapp@.service; systemctl daemon-reload", ["unit globoapp@.service is defined"]),
    "removed socket unit": (f"rm {UNITS}/{SOCKET}; systemctl daemon-reload", ["globoapp 1.1 serves"]),
    "edited socket unit": (
        f"sed -i s/Backlog=4096/Backlog=1/ {UNITS}/{SOCKET}; systemctl daemon-reload",
        ["globoapp 1.1 serves"],
    ),
    "edited unit": (
        f"sed -i s/PrivateNetwork=yes/PrivateNetwork=no/ {UNITS}/globoapp@.service; systemctl daemon-reload",
        ["unit globoapp@.service is defined", "globoapp 1.1 serves"],
    ),
    "removed virtualenv": (f"rm -r {ROOT}/virtualenvs/*/bin", ["packages of globoapp 1.1 are installed"]),
    "removed package": (
        f"rm -r {ROOT}/virtualenvs/*/lib/python3*/site-packages/flask",
        ["packages of globoapp 1.1 are installed", "globoapp 1.1 serves"],
    ),
    "planted byte code": (
        f"mkdir {ROOT}/PACK1_1/__pycache__; echo x > {ROOT}/PACK1_1/__pycache__/api.cpython-311.pyc",
        ["globoapp 1.1 is unpacked"],
    ),
    "moved current": (f"ln -sfn PACK1_0 {ROOT}/current", [f"{ROOT}/current is globoapp 1.1"]),
    "another release by hand": ("systemctl start globoapp@PACK1_0", ["globoapp 1.1 serves"]),
}


@pytest.fixture(scope="module", autouse=True)
def version_1_1(fleet, serving_1_0):
    """1.1 on port 8080, from the command line, and nothing but a highstate repairs: healing is off."""
    apply(fleet, "web1", version="1.1", port=8080).green()
    fleet.salt("web1", "beacons.disable", check=True)
    yield
    fleet.salt("web1", "beacons.enable", check=True)


@pytest.mark.parametrize("drift", DRIFT)
def test_a_highstate_puts_it_right(fleet, drift):
    script, steps = DRIFT[drift]
    fleet.exec("web1", "sh", "-c", script, check=True)
    lines = len(ledger(fleet, "web1"))
    dry = highstate(fleet, "web1", "test=True")
    assert dry.code == 0, dry.failed("web1")
    assert set(steps) <= set(dry.changed("web1")), "the dry run did not see it"
    run = highstate(fleet, "web1").green()
    assert set(steps) <= set(run.changed("web1"))
    assert set(run.changed("web1")) <= {one["__id__"] for one in dry.states["web1"] if one["result"] is None}
    serves(fleet, "web1", "1.1", port=8080)
    status = fleet.ask("web1", "globoapp.status")["web1"]
    assert (status["version"], status["address"], status["differences"]) == ("1.1", "0.0.0.0:8080", [])
    for line in ledger(fleet, "web1")[lines:]:
        assert (line["action"], line["version"], line["port"], line["result"]) == ("repair", "1.1", 8080, "success")
    assert highstate(fleet, "web1").green().changed("web1") == []


def test_a_lost_grain_comes_back(fleet):
    fleet.salt("web1", "grains.delkey", "globoapp", "force=True", check=True)
    until(lambda: not fleet.ask("web1", "grains.get", "globoapp")["web1"])
    assert highstate(fleet, "web1").green().changed("web1") == ["grain globoapp says 1.1"]
    until(lambda: fleet.ask("web1", "grains.get", "globoapp:version")["web1"] == "1.1")
