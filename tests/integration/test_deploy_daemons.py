"""A deploy by daemons on loopback: the modules reach a cold minion with the very command that needs them."""

import json
import os

import pytest
import salt.version
from bare import file_roots

QUIET = {"enable_fqdns_grains": False, "loop_interval": 1}


@pytest.fixture(scope="module")
def master(salt_factories, tmp_path_factory):
    """A master on loopback that serves this checkout."""
    roots = file_roots(tmp_path_factory.mktemp("bare"))
    overrides = {"interface": "127.0.0.1", "file_roots": roots, "worker_threads": 2, "auto_accept": True}
    factory = salt_factories.salt_master_daemon("deploy-master", overrides=overrides)
    with factory.started():
        yield factory


@pytest.fixture(scope="module")
def minion(master):
    """Its minion, which has no custom module."""
    factory = master.salt_minion_daemon("web-cold", overrides={"interface": "127.0.0.1", **QUIET})
    with factory.started():
        assert not os.path.exists(os.path.join(factory.config["extension_modules"], "modules"))
        yield factory


@pytest.fixture
def apply(master, minion, tmp_path):
    """Runs state.apply globoapp test=True with settings; returns (exit code, states in their order)."""

    def call(**settings):
        # A dry run makes nothing; below /tmp no service could see it.
        pillar = {"globoapp": {"root": f"/opt/globoapp-tests/{tmp_path.name}", "reserve": 0, **settings}}
        command = ["state.apply", "globoapp", "test=True", f"pillar={json.dumps(pillar)}"]
        done = master.salt_cli(timeout=120).run(*command, minion_tgt=minion.id)
        return done.returncode, sorted(done.data.values(), key=lambda one: one["__run_num__"])

    return call


def test_a_cold_minion_foretells_its_first_deploy(apply, master, minion):
    code, states = apply(version="1.0")
    assert code == 0, [one["comment"] for one in states if one["result"] is False]
    assert states[0]["__id__"] == "globoapp 1.0 can be deployed"
    assert {one["result"] for one in states} == {True, None}
    assert "globoapp 1.0 serves" in [one["__id__"] for one in states if one["result"] is None]
    assert not os.path.exists("/opt/globoapp-tests")
    assert os.path.exists(os.path.join(minion.config["extension_modules"], "modules", "globoapp.py"))
    assert master.salt_cli().run("test.version", minion_tgt=minion.id).data == salt.version.__version__


def test_bad_input_is_one_red_step_and_an_exit_code(apply):
    code, states = apply(version="9.9", port=0)
    assert code != 0
    (only,) = states
    assert only["result"] is False
    assert "version 9.9 is unknown" in only["comment"]
    assert "port is 0: it must be from 1 to 65535" in only["comment"]
    assert not os.path.exists("/opt/globoapp-tests")


def test_health_of_a_bare_server_is_an_answer_with_an_exit_code(apply, master, minion):
    apply(version="1.0")  # brings the modules: this test may be the first
    done = master.salt_cli(timeout=60).run("globoapp.health", "deadline=0", minion_tgt=minion.id)
    assert done.returncode != 0
    assert done.data == {"healthy": False, "version": None, "problems": ["nothing is deployed on this host"]}
