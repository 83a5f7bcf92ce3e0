"""The states' own part: what they say under test=True, that errors are red comments, and what goes to the record."""

import pytest

CLEAN = {"problems": [], "warnings": [], "version": "1.0", "release": "PACK1_0", "name": "globoapp", "root": "/opt/x/y"}


@pytest.fixture
def states(tree):
    """salt/_states/globoapp.py on a host where all is as it should be, but for what a test puts into tree.salt."""
    made = {"lock": "a==1", "sha256": "0" * 64, "manifest": {}}
    found = {**CLEAN, "address": "0.0.0.0", "port": 8000, "bind": "0.0.0.0"}
    answers = {
        "globoapp.preflight": found,
        "globoapp.settings": found,
        "globoapp_preflight.artifact": made,
        "globoapp_virtualenv.location": "/opt/x/y/virtualenvs/a",
        "globoapp_virtualenv.complete": True,
        "globoapp_release.differences": [],
        "globoapp_release.record": {"virtualenv": "/opt/x/y/virtualenvs/a"},
        "globoapp_release.environment": False,
        "globoapp_serving.inputs": ["/etc/systemd/system/globoapp@.service"],
        "globoapp_deploy.standing": {"version": "1.0"},
        "globoapp_deploy.leftovers": [],
        "globoapp_systemd.running": ["PACK1_0"],
    }
    for name, answer in answers.items():
        tree.salt[name] = lambda *args, answer=answer, **kwargs: answer
    tree.salt["globoapp_serving.plan"] = lambda *args: {}
    for name in ("globoapp_deploy.begin", "globoapp_virtualenv.build", "globoapp_release.unpack"):
        tree.salt[name] = lambda *args, name=name: pytest.fail(f"{name} was called")
    for name in ("globoapp_deploy.prove", "globoapp_switch.switch"):
        tree.salt[name] = lambda *args, name=name: pytest.fail(f"{name} was called")
    return tree.states.globoapp


def answer(state, *args):
    """(result, has changes, comment) of a state."""
    said = state(*args)
    return said["result"], bool(said["changes"]), said["comment"]


STATES = ["virtualenv", "release", "proven", "serving"]


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("name", STATES)
def test_where_nothing_is_to_be_done_nothing_is_done(tree, states, name, dry):
    tree.opts["test"] = dry
    assert answer(getattr(states, name), "x")[:2] == (True, False)


DRIFT = {
    "virtualenv": ("globoapp_virtualenv.complete", False),
    "release": ("globoapp_release.differences", ["api.py was changed"]),
    "proven": ("globoapp_serving.plan", {"start": "it does not run"}),
    "serving": ("globoapp_serving.plan", {"start": "it does not run"}),
}


@pytest.mark.parametrize("name", STATES)
def test_a_dry_run_foretells_and_does_nothing(tree, states, name):
    function, value = DRIFT[name]
    tree.opts["test"] = True
    tree.salt[function] = lambda *args, **kwargs: value
    tree.salt["globoapp_deploy.standing"] = lambda *args: {"version": "0.9"}
    assert answer(getattr(states, name), "x")[:2] == (None, True)


@pytest.mark.parametrize(
    ("tag", "foretold"),
    [
        ("file_|-unit_|-/etc/systemd/system/globoapp@.service_|-managed", True),
        ("globoapp_|-globoapp 1.0 is unpacked_|-/opt/x/y/PACK1_0_|-release", True),
        ("file_|-unit_|-/etc/systemd/system/globoapp-candidate@.service_|-managed", False),
        ("file_|-tree_|-/opt/x/y_|-directory", False),
    ],
)
def test_a_dry_run_foretells_the_restart_that_a_repair_brings(tree, states, tag, foretold):
    tree.opts["test"] = True
    tree.running[tag] = {"changes": {"x": "y"}, "result": None}
    assert answer(states.serving, "x")[:2] == ((None, True) if foretold else (True, False))
    tree.running[tag]["changes"] = {}
    assert answer(states.serving, "x")[:2] == (True, False)


def test_problems_are_one_red_step(tree, states):
    tree.salt["globoapp.preflight"] = lambda: {**CLEAN, "problems": ["port is 0", "version is missing"]}
    said = states.ready("x")
    assert (said["result"], said["changes"]) == (False, {})
    assert said["comment"] == "Nothing was touched. To be put right first:\n  - port is 0\n  - version is missing"


@pytest.mark.parametrize("name", STATES)
def test_an_error_is_a_red_comment(tree, states, name):
    def fail(*args, **kwargs):
        raise states.CommandExecutionError("the disk is on fire")

    tree.salt[DRIFT[name][0]] = fail
    assert answer(getattr(states, name), "x") == (False, False, "the disk is on fire")


def test_what_failed_and_what_changed_goes_to_the_record(tree, states):
    calls = []
    tree.running.update(
        {
            "a_|-a_|-a_|-a": {"__sls__": "globoapp.app", "__id__": "a", "changes": {"x": 1}, "result": True},
            "b_|-b_|-b_|-b": {"__sls__": "globoapp.app", "__id__": "b", "result": False, "comment": "why"},
            "c_|-c_|-c_|-c": {"__sls__": "globoapp.app", "__id__": "c", "result": False, "comment": "requisite failed"},
            "d_|-d_|-d_|-d": {"__sls__": "other", "__id__": "d", "changes": {"x": 1}, "result": False},
        }
    )
    line = {"action": "deploy", "version": "1.0", "result": "failed", "duration": 1, "id": "i"}
    tree.salt["globoapp_deploy.finish"] = lambda *args: calls.append(args[1:]) or line
    assert answer(states.recorded, "x")[:2] == (True, True)
    assert calls == [(["b: why"], ["a"])]
    tree.salt["globoapp_deploy.finish"] = lambda *args: None
    assert answer(states.recorded, "x") == (True, False, "There is nothing to record.")
