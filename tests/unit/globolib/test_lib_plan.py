# ruff: noqa: E501  a table reads best with one line a case
"""What is to be done on a host, and what speaks against the release being what serves: one line a case."""

import pytest
from globolib import plan, units
from globolib.address import Address
from globolib.host import Listener, Owner
from hosts import (
    BARE,
    HOST,
    LAYOUT,
    PYTHON,
    SETTINGS,
    SOCKET,
    TARGET,
    VIRTUALENV,
    but,
    entry,
    process,
    record,
    texts,
    unit,
)

INSTANCE = "globoapp@PACK1_0.service"
OTHER = "globoapp@PACK0_9.service"
NEW_PORT = SETTINGS.at(port=8001)
NEW_SOCKET = LAYOUT.socket(Address("0.0.0.0", 8001))
UPGRADE = SETTINGS.at(version="1.1")
UNPACKED = {"releases": {"PACK1_1": record("1.1")}, "differences": {"PACK1_1": ()}}
READY = but(**UNPACKED, texts={LAYOUT.environment("PACK1_1"): units.environment_text(UPGRADE, "api:app")})
TEMPLATE = LAYOUT.unit_file(INSTANCE)
WILD = (Listener("0.0.0.0", 8000, "7", owners=(Owner(1, "systemd"), Owner(100, "gunicorn"))),)

# name: (settings, host, the steps in their order)
CASES = {
    "nothing to do": (SETTINGS, HOST, ""),
    "a bare server": (SETTINGS, BARE, "build unpack configure open start enable"),
    "a bare server with its virtualenv": (SETTINGS, but(BARE, virtualenv_differences={VIRTUALENV: ()}), "unpack configure open start enable"),
    "a new version": (UPGRADE, HOST, "unpack configure start enable stop"),
    "a new version, its virtualenv half built": (UPGRADE, but(virtualenv_differences={VIRTUALENV: ("half",)}), "build unpack configure start enable stop"),
    "a new version that is unpacked": (UPGRADE, but(**UNPACKED), "configure start enable stop"),
    "a new version, all there but the switch": (UPGRADE, READY, "start enable stop"),
    "a switch cut after the start": (UPGRADE, but(READY, units={"globoapp@PACK1_1.service": unit("globoapp@PACK1_1.service", pid=200)}, workers={"PACK1_1": (201,)}), "enable stop"),
    "a switch cut after enabling": (UPGRADE, but(READY, enabled=("PACK1_1",), units={"globoapp@PACK1_1.service": unit("globoapp@PACK1_1.service", pid=200)}, workers={"PACK1_1": (201,)}), "stop"),
    "another port": (NEW_PORT, HOST, "open restart close"),
    "another port, cut after the socket opened": (NEW_PORT, but(units={NEW_SOCKET: unit(NEW_SOCKET)}, texts={LAYOUT.unit_file(NEW_SOCKET): units.socket_unit(NEW_PORT)}, listeners=(*WILD, Listener("0.0.0.0", 8001, "8", owners=(Owner(1, "systemd"),)))), "restart close"),
    "another address on the same port": (SETTINGS.at(bind="10.0.0.5", address="10.0.0.5"), HOST, "open restart close"),
    "version and port at once": (UPGRADE.at(port=8001), READY, "open start enable stop close"),
    "a file of the release was changed": (SETTINGS, but(differences={"PACK1_0": ("api.py was changed",)}), "unpack restart"),
    "the release is gone, its process runs": (SETTINGS, but(releases={"PACK1_0": None}), "unpack restart"),
    "the release's record names another virtualenv": (SETTINGS, but(releases={"PACK1_0": record(failed=None)}, virtualenv_differences={VIRTUALENV: ("bin/python is missing",)}), "build restart"),
    "the virtualenv was edited": (SETTINGS, but(virtualenv_differences={VIRTUALENV: ("x was changed",)}), "build restart"),
    "another lock": (SETTINGS, but(virtualenv_differences={VIRTUALENV: None}), "build restart"),
    "the unit was edited": (SETTINGS, but(texts={TEMPLATE: "[Unit]\n"}), "configure restart"),
    "the unit's file is gone": (SETTINGS, but(texts={TEMPLATE: None}), "configure restart"),
    "pillar wants more workers": (SETTINGS.at(worker_count=2), HOST, "configure restart"),
    "gunicorn's settings were edited": (SETTINGS, but(texts={LAYOUT.gunicorn_conf: ""}), "configure restart"),
    "the environment file is gone": (SETTINGS, but(texts={LAYOUT.environment("PACK1_0"): None}), "configure restart"),
    "another environment": (SETTINGS.at(environment={"A": "1"}), HOST, "configure restart"),
    "another user": (SETTINGS.at(user="web"), HOST, "configure restart"),
    "what sockets start was edited": (SETTINGS, but(texts={LAYOUT.unit_file(LAYOUT.activate): ""}), "configure restart"),
    "the unit is masked": (SETTINGS, but(units={INSTANCE: unit(INSTANCE, pid=100, file_state="masked")}), "unmask"),
    "masked until the next boot, and stopped": (SETTINGS, but(units={INSTANCE: unit(INSTANCE, "inactive", file_state="masked-runtime")}, workers={"PACK1_0": None}), "unmask start"),
    "it was stopped": (SETTINGS, but(units={INSTANCE: unit(INSTANCE, "inactive")}, workers={"PACK1_0": None}), "start"),
    "it failed": (SETTINGS, but(units={INSTANCE: unit(INSTANCE, "failed")}, workers={"PACK1_0": None}), "start"),
    "it waits for its restart": (SETTINGS, but(units={INSTANCE: unit(INSTANCE, "activating")}, workers={"PACK1_0": None}), "start"),
    "active, and no worker has loaded the app": (SETTINGS, but(workers={"PACK1_0": ()}), "start"),
    "it had read what is no longer there": (SETTINGS, but(outdated={"PACK1_0": "api.py changed after it had started"}), "restart"),
    "the interpreter was updated": (SETTINGS, but(processes={"PACK1_0": (process(exe=f"{PYTHON} (deleted)"),)}), "restart"),
    "the socket was stopped": (SETTINGS, but(units={SOCKET: unit(SOCKET, "inactive")}), "open restart"),
    "the socket is unknown to systemd": (SETTINGS, but(units={SOCKET: None}), "open restart"),
    "the socket's file is gone": (SETTINGS, but(texts={LAYOUT.unit_file(SOCKET): None}), "open restart"),
    "the socket is active by name only": (SETTINGS, but(listeners=()), "open restart"),
    "only the release still holds the address": (SETTINGS, but(listeners=(Listener("0.0.0.0", 8000, "7", owners=(Owner(100, "gunicorn"),)),)), "open restart"),
    "the socket's file was edited": (SETTINGS, but(texts={LAYOUT.unit_file(SOCKET): "[Socket]\n"}), "define"),
    "it was handed another socket": (SETTINGS, but(handed=(NEW_SOCKET,)), "restart"),
    "it was handed two sockets": (SETTINGS, but(handed=(SOCKET, NEW_SOCKET)), "restart"),
    "nothing names its sockets": (SETTINGS, but(handed=()), "restart"),
    "it does not start at boot": (SETTINGS, but(enabled=()), "enable"),
    "another release starts at boot": (SETTINGS, but(enabled=("PACK0_9",)), "enable"),
    "two releases start at boot": (SETTINGS, but(enabled=("PACK0_9", "PACK1_0")), "enable"),
    "what starts at boot is no link to the template": (SETTINGS, but(stray_links=True), "enable"),
    "another release runs too": (SETTINGS, but(units={OTHER: unit(OTHER, pid=50)}), "stop"),
    "another socket is open": (SETTINGS, but(units={NEW_SOCKET: unit(NEW_SOCKET)}), "close"),
    "another socket has a file": (SETTINGS, but(texts={LAYOUT.unit_file(NEW_SOCKET): "[Socket]\n"}), "close"),
    "after a boot with everything there": (SETTINGS, but(units={INSTANCE: unit(INSTANCE, "activating", pid=100)}, workers={"PACK1_0": (101,)}), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_steps(case):
    settings, host, steps = CASES[case]
    found = plan.plan(settings, host, TARGET)
    assert " ".join(found) == steps
    assert all(found.values())


def test_enough_cases():
    assert len(CASES) >= 40


TRIALS = {
    "nothing to do": (SETTINGS, HOST, False),
    "a new version": (UPGRADE, READY, True),
    "a first deploy": (SETTINGS, BARE, True),
    "another environment": (SETTINGS.at(environment={"A": "1"}), HOST, True),
    "the deployed one was stopped": (
        SETTINGS,
        but(units={INSTANCE: unit(INSTANCE, "inactive")}, workers={"PACK1_0": None}),
        False,
    ),
    "a new version while nothing serves": (UPGRADE, but(READY, units={INSTANCE: unit(INSTANCE, "inactive")}), True),
    "it does not start at boot": (SETTINGS, but(enabled=()), False),
}


@pytest.mark.parametrize("case", TRIALS)
def test_trial(case):
    settings, host, wanted = TRIALS[case]
    assert plan.needs_trial(settings, host, plan.plan(settings, host, TARGET)) is wanted


AGAINST = {
    "all is well": (SETTINGS, HOST, []),
    "not on this host": (UPGRADE, HOST, ["PACK1_1 is not on this host"]),
    "it does not run": (SETTINGS, but(processes={"PACK1_0": ()}), [f"{INSTANCE} does not run"]),
    "another directory": (SETTINGS, but(processes={"PACK1_0": (process(cwd="/tmp"), process(101))}), ["process 100 runs in /tmp instead of /opt/x/y/PACK1_0"]),
    "a worker elsewhere": (SETTINGS, but(processes={"PACK1_0": (process(), process(101, cwd="/"))}), ["process 101 runs in / instead of /opt/x/y/PACK1_0"]),
    "a child that is no worker": (SETTINGS, but(processes={"PACK1_0": (process(), process(101), process(102, exe="/bin/sh", cwd="/"))}), []),
    "the root is a link": (SETTINGS, but(processes={"PACK1_0": (process(cwd="/srv/y/PACK1_0"), process(101, cwd="/srv/y/PACK1_0"))}, real={"/opt/x/y/PACK1_0": "/srv/y/PACK1_0"}), []),
    "another interpreter": (SETTINGS, but(processes={"PACK1_0": (process(exe="/usr/bin/perl"), process(101))}), [f"process 100 runs {VIRTUALENV}/bin/python (/usr/bin/perl) instead of {VIRTUALENV}/bin/python"]),
    "another virtualenv": (SETTINGS, but(processes={"PACK1_0": (process(command=("/v/bin/python",)), process(101))}), [f"process 100 runs /v/bin/python ({PYTHON}) instead of {VIRTUALENV}/bin/python"]),
    "an updated interpreter": (SETTINGS, but(processes={"PACK1_0": (process(exe=f"{PYTHON} (deleted)"), process(101, exe=f"{PYTHON} (deleted)"))}), []),
    "a title set by the app": (SETTINGS, but(processes={"PACK1_0": (process(command=("gunicorn: master [api:app]",)), process(101))}), []),
    "no command line": (SETTINGS, but(processes={"PACK1_0": (process(command=()), process(101))}), [f"process 100 runs  ({PYTHON}) instead of {VIRTUALENV}/bin/python"]),
    "too few workers for pillar": (SETTINGS, but(texts={LAYOUT.gunicorn_settings: '{"workers": 3}'}), ["1 of 3 workers have loaded the app"]),
    "one worker, because the version can have no more": (SETTINGS, but(texts={LAYOUT.gunicorn_settings: '{"workers": 3}'}, releases={"PACK1_0": record(single_process=True)}), []),
    "too few workers": (SETTINGS, but(releases={"PACK1_0": record(workers=2)}), ["1 of 2 workers have loaded the app"]),
    "outdated": (SETTINGS, but(outdated={"PACK1_0": "api.py changed"}), [f"{INSTANCE}: api.py changed"]),
    "a changed file": (SETTINGS, but(differences={"PACK1_0": ("api.py was changed",)}), ["PACK1_0: api.py was changed"]),
    "a changed virtualenv": (SETTINGS, but(virtualenv_differences={VIRTUALENV: ("x is missing",)}), ["x is missing"]),
    "nobody listens": (SETTINGS, but(listeners=()), ["nothing listens on 0.0.0.0:8000"]),
    "a stranger listens too": (SETTINGS, but(listeners=(*WILD, Listener("10.0.0.5", 8000, "9", owners=(Owner(66, "nc"),)))), ["process 66 (nc) also takes requests on port 8000"]),
    "a stranger on IPv6 loopback": (SETTINGS, but(listeners=(*WILD, Listener("::1", 8000, "9", owners=(Owner(66, "nc"),)))), []),
    "a stranger on another port": (SETTINGS, but(listeners=(*WILD, Listener("0.0.0.0", 80, "9", owners=(Owner(66, "nc"),)))), []),
}  # fmt: skip


@pytest.mark.parametrize("case", AGAINST)
def test_proof(case):
    settings, host, lines = AGAINST[case]
    assert plan.proof(settings, host) == lines


def test_an_updated_interpreter_is_a_note():
    host = but(processes={"PACK1_0": (process(exe=f"{PYTHON} (deleted)"),)})
    assert plan.restart_notes(SETTINGS, HOST) == []
    assert plan.restart_notes(SETTINGS, host) == [
        f"{PYTHON} was updated since PACK1_0 had started: it runs the old one until its next restart"
    ]


def test_a_deploy_elsewhere_is_another_line():
    assert entry("1.0").place != entry("1.0", port=8001).place
    assert texts()[LAYOUT.handed].endswith(f"Sockets={SOCKET}\n")
