"""Back to a good release; and old releases that go."""

import dataclasses
import os

import pytest
from globolib import lock, rollback
from globolib.errors import Failure


@pytest.fixture
def served(machine):
    """A server on which 1.0 and then 1.1 was deployed."""
    machine.has("1.0")
    assert machine.deploy("1.1", without=["tried"]).failure is None
    return machine


def test_back_to_the_last_good_release(served):
    answer = rollback.rollback(served.minion())
    assert answer == {
        "result": True,
        "from": "1.1",
        "to": "1.0",
        "comment": "1.0 (the last good release before 1.1) serves.",
    }
    assert served.answers() == '{"version": "1.0"}'
    assert served.deployed() == "1.0"
    assert lock.holder(served.layout.lock) is None
    assert served.events[-1][1]["action"] == "rollback"


def test_a_second_rollback_does_not_lead_back_to_what_was_left(served):
    rollback.rollback(served.minion())
    answer = rollback.rollback(served.minion())
    assert (answer["result"], answer["to"]) == (False, None)
    assert answer["comment"] == (
        "Nothing to go back to: 1.0 is the only good release on this host. Nothing was changed. On this host there is: "
        "1.0 (live), 1.1 (unused)"
    )
    assert served.answers() == '{"version": "1.0"}'


def test_nothing_was_deployed(machine):
    answer = rollback.rollback(machine.minion())
    assert (answer["result"], answer["from"], answer["to"]) == (False, None, None)
    assert answer["comment"].endswith("On this host there is: no release")
    assert not machine.root.exists()


@pytest.mark.parametrize(
    ("asked", "to"),
    [("1.0", "1.0"), (1.0, "1.0"), ("1.10", "1.10"), (1.1, "two"), ("1.1", "1.1"), (1.5, "1.5"), ("x", "x"), (2, 2)],
)
def test_what_was_asked_for(served, asked, to):
    """The command line reads 1.0 as a number; 1.1 may then be 1.1 or 1.10."""
    served.has("1.9", "1.10")
    answer = rollback.rollback(served.minion(), asked)
    fine = to in ("1.0", "1.1", "1.10")
    assert answer["result"] is fine
    if fine:
        assert answer["to"] == to
        assert answer["comment"] == f"{to} (as asked) serves."
        assert served.deployed() == to
    else:
        words = {
            "two": "version is the number 1.1: to YAML 1.10 and 1.1 are one number",
            "1.5": "version 1.5 is not on this host; there are: 1.0, 1.1, 1.9, 1.10",
            "x": "version is 'x': two to four numbers",
            2: "version is the number 2",
        }[to]
        assert answer["comment"].startswith(words)
        assert answer["comment"].endswith(". Nothing was changed.")
        assert served.deployed() == "1.10"


def test_a_rollback_that_fails_says_what_failed(served):
    served.systemd.fails["start globoapp@PACK1_0.service"] = "Job failed."
    answer = rollback.rollback(served.minion())
    assert answer["result"] is False
    assert answer["comment"] == "1.0 (the last good release before 1.1) could not be put back."
    assert answer["failed"][0].startswith("1.0 did not start: ")
    assert served.answers() == '{"version": "1.1"}'
    assert served.deployed() == "1.1"


def test_a_release_that_failed_is_not_gone_back_to(served):
    served.publish("1.2", "def answer():\n    return 500, ''\n")
    served.deploy("1.2", globoapp={"deadline": 1})
    answer = rollback.rollback(served.minion())
    assert answer["to"] is None
    assert "the last deploy (1.2, 2" in answer["comment"] and "there is nothing to undo" in answer["comment"]


def test_another_deploy_is_waited_for_no_longer_than_pillar_says(served):
    here = served.begin("1.0")
    here.begin()
    with pytest.raises(Failure, match="another deploy is under way on this host: deploy of 1.0"):
        rollback.rollback(served.minion())
    here.unlock()


@pytest.mark.parametrize("broken", [["Rendering SLS failed"], "Minion did not return"])
def test_states_that_could_not_be_applied_are_a_failure_and_the_lock_is_free(served, broken):
    served.functions["state.apply"] = lambda sls, pillar, queue: broken
    with pytest.raises(Failure, match="the states could not be applied: "):
        rollback.rollback(served.minion())
    assert lock.holder(served.layout.lock) is None


def test_what_salt_is_busy_with_goes_first(served):
    running = [[], ["The function state.highstate is running"], ["The function state.highstate is running"]]
    served.functions["state.running"] = lambda: running.pop()
    served.pillar["globoapp"]["lock_wait"] = 5
    assert rollback.rollback(served.minion())["result"] is True
    assert running == []


def test_a_minion_that_only_tests_goes_nowhere(served):
    answer = rollback.rollback(served.minion(test=True))
    assert (answer["result"], answer["to"]) == (False, "1.0")
    assert answer["comment"] == "The minion is configured with test: True. Nothing was changed."
    assert served.answers() == '{"version": "1.1"}'


def test_the_states_know_that_they_are_inside_a_rollback(served):
    given = []
    served.functions["state.apply"] = lambda sls, pillar, queue: given.append((sls, pillar)) or {}
    rollback.rollback(served.minion())
    ((sls, pillar),) = given
    assert (sls, pillar["globoapp_run"]["action"], pillar["globoapp_run"]["version"]) == ("globoapp", "rollback", "1.0")
    assert len(pillar["globoapp_run"]["token"]) == 32


# Old releases.


@pytest.fixture
def many(machine):
    """Four releases, the last one deployed."""
    machine.has("1.0", "1.1", "1.2", "1.3")
    return machine


def test_what_is_beyond_keep_goes(many):
    many.pillar["globoapp"]["keep"] = 2
    assert rollback.pruned(many.minion())["releases"] == ["PACK1_0", "PACK1_1"]
    assert sorted(name for name in os.listdir(many.root) if name.startswith("PACK")) == ["PACK1_2", "PACK1_3"]
    assert lock.holder(many.layout.lock) is None


@pytest.mark.parametrize("kind", ["asked", "the minion's"])
def test_a_dry_run_only_says_so(many, kind):
    minion = many.minion(test=kind == "the minion's")
    assert rollback.pruned(minion, keep=2, test=kind == "asked")["releases"] == ["PACK1_0", "PACK1_1"]
    assert os.path.isdir(many.layout.release("PACK1_0"))


def test_all_are_kept_unless_pillar_says_otherwise(many):
    assert rollback.pruned(many.minion()) == {"releases": [], "virtualenvs": []}


def test_a_keep_that_is_none(many):
    with pytest.raises(Failure, match="keep is 0: "):
        rollback.pruned(many.minion(), keep=0)


def test_nothing_is_pruned_during_a_deploy(many):
    here = many.begin("1.0")
    here.begin()
    with pytest.raises(Failure, match="another deploy is under way"):
        rollback.pruned(many.minion(), keep=1)
    assert os.path.isdir(many.layout.release("PACK1_1"))
    assert rollback.pruned(dataclasses.replace(many.minion()), keep=1, test=True)["releases"]
    here.unlock()


def test_where_nothing_is_deployed_nothing_can_be_chosen(machine):
    with pytest.raises(Failure, match="nothing is deployed on this host"):
        rollback.pruned(machine.minion(), keep=1)
