"""Drift: whatever was changed by hand is put right by a highstate, and the version and port stay."""

import pytest
from polling import until
from server import ROOT, Server
from sweeps import sampled

UNITS = "/etc/systemd/system"
DEFINED, SERVES = "units of globoapp are defined", "globoapp 1.1 serves"
SOCKET = "globoapp-0.0.0.0:8080.socket"

# What somebody did by hand, and the IDs of the states that put it right.
DRIFT = {
    "edited code": (f"echo '# hotfix' >> {ROOT}/PACK1_1/api.py", ["globoapp 1.1 is unpacked"]),
    "edited code that a new worker has loaded": (
        f"echo '# hotfix' >> {ROOT}/PACK1_1/api.py; pkill -KILL -P $(systemctl show -P MainPID globoapp@PACK1_1)",
        ["globoapp 1.1 is unpacked", SERVES],
    ),
    "removed code": (f"rm {ROOT}/PACK1_1/api.py", ["globoapp 1.1 is unpacked"]),
    "wrong modes": (
        f"chmod 666 {ROOT}/PACK1_1/api.py; chmod 777 {ROOT}; chown globoapp {ROOT}/PACK1_1",
        [f"tree {ROOT} exists", "globoapp 1.1 is unpacked"],
    ),
    # Whoever asks first has the socket start it again, so that a highstate may find nothing to do.
    "stopped service": ("systemctl stop globoapp@PACK1_1", []),
    "stopped socket": (f"systemctl stop {SOCKET} globoapp@PACK1_1", [SERVES]),
    "masked service": (
        "systemctl stop globoapp@PACK1_1; systemctl mask globoapp@PACK1_1",
        [SERVES],
    ),
    "disabled service": ("systemctl disable globoapp@PACK1_1", [SERVES]),
    "removed unit": (f"rm {UNITS}/globoapp@.service; systemctl daemon-reload", [DEFINED]),
    "removed socket unit": (f"rm {UNITS}/{SOCKET}; systemctl daemon-reload", [SERVES]),
    "edited socket unit": (
        f"sed -i s/Backlog=4096/Backlog=1/ {UNITS}/{SOCKET}; systemctl daemon-reload",
        [SERVES],
    ),
    "edited unit": (
        f"sed -i s/PrivateNetwork=yes/PrivateNetwork=no/ {UNITS}/globoapp@.service; systemctl daemon-reload",
        [DEFINED],
    ),
    "edited unit that it was started with": (
        f"sed -i s/PrivateNetwork=yes/PrivateNetwork=no/ {UNITS}/globoapp@.service; systemctl daemon-reload; "
        "systemctl restart globoapp@PACK1_1",
        [DEFINED, SERVES],
    ),
    "removed virtualenv": (f"rm -r {ROOT}/virtualenvs/*/bin", ["packages of globoapp 1.1 are installed"]),
    "removed package": (
        f"rm -r {ROOT}/virtualenvs/*/lib/python3*/site-packages/flask",
        ["packages of globoapp 1.1 are installed", SERVES],
    ),
    "planted byte code": (
        f"mkdir {ROOT}/PACK1_1/__pycache__; echo x > {ROOT}/PACK1_1/__pycache__/api.cpython-311.pyc",
        ["globoapp 1.1 is unpacked"],
    ),
    "moved current": (f"ln -sfn PACK1_0 {ROOT}/current", [f"{ROOT}/current is globoapp 1.1"]),
    "another release by hand": ("systemctl start globoapp@PACK1_0", [SERVES]),
}


@pytest.fixture(scope="module")
def web(fleet, serving_1_0):
    """web1 with 1.1 on port 8080, from the command line, and nothing but a highstate repairs: healing is off."""
    server = Server(fleet, "web1")
    server.deploy("1.1", port=8080)
    assert server.code("beacons.disable") == 0
    yield server
    assert server.code("beacons.enable") == 0


OFTEN = ("edited code", "removed package", "edited unit", "removed socket unit", "masked service", "moved current")


@pytest.mark.parametrize("drift", sampled(DRIFT, *OFTEN))
def test_a_highstate_puts_it_right(web, drift):
    script, steps = DRIFT[drift]
    web.sh(script)
    lines = len(web.ledger())
    dry = web.highstate(test=True)
    assert dry.code == 0, dry.failed
    assert set(steps) <= set(dry.changed), "the dry run did not see it"
    run = web.highstate().green()
    assert set(steps) <= set(run.changed)
    assert set(run.changed) <= {one["__id__"] for one in dry.states if one["result"] is None}
    web.assert_answers("1.1", port=8080)
    status = web.call("globoapp.status")
    assert (status["version"], status["address"], status["differences"]) == ("1.1", "0.0.0.0:8080", [])
    for line in web.ledger()[lines:]:
        assert (line["action"], line["version"], line["port"], line["result"]) == ("repair", "1.1", 8080, "success")
    assert web.highstate().green().changed == []


def test_a_lost_grain_comes_back(web):
    assert web.code("grains.delkey", "globoapp", "force=True") == 0
    until(lambda: not web.call("grains.get", "globoapp"))
    assert web.highstate().green().changed == ["grain globoapp says 1.1"]
    until(lambda: web.call("grains.get", "globoapp:version") == "1.1")
