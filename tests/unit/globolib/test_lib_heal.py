"""Healing as the server does it: at once and then by the states, recorded once, and never beside a deploy."""

import os
import pathlib
import shutil
import time

import pytest
from globolib import files, heal, ledger, lock, release, systemd
from globolib.errors import Failure

ONE = "globoapp@PACK1_0.service"


@pytest.fixture
def served(machine):
    """A server on which 1.0 was deployed."""
    assert machine.deploy("1.0", without=["tried"]).failure is None
    machine.events.clear()
    return machine


def lines(machine):
    """(version, action, result) of each line of the ledger after the first."""
    return [(entry.version, entry.action, entry.result) for entry in ledger.read(machine.layout.ledger)][1:]


def refused(machine, words, minion=None):
    """Healing is refused with these words, and nothing is done."""
    machine.systemd.calls.clear()
    answer = heal.heal(minion or machine.minion(function="globoapp_minion.heal"))
    assert (answer["result"], answer["comment"]) == ("refused", words)
    assert {call.split()[0] for call in machine.systemd.calls} <= {"show"}
    assert machine.events[-1] == ("globoapp/heal/web1", answer)


def test_what_has_ended_serves_again_and_is_recorded_once(served):
    served.systemd.run(["systemctl", "stop", ONE])
    answer = heal.heal(served.minion())
    assert answer["result"] == "healed"
    assert answer["comment"] == f"1.0 was put back: {ONE} does not run"
    assert served.answers() == '{"version": "1.0"}'
    assert lines(served) == [("1.0", "repair", "success")]
    entry = ledger.read(served.layout.ledger)[-1]
    assert entry.data["changed"] == [f"{ONE} does not run"]
    assert (entry.port, entry.address, entry.came_from) == (served.port, "127.0.0.1", "1.0")
    assert [tag for tag, _ in served.events] == ["globoapp/deploy/web1", "globoapp/heal/web1"]
    assert served.events[0][1] == dict(entry.data)


def test_it_is_repaired_without_the_master(served):
    """The release, its virtualenv and the units are gone, and so is the place where artifacts come from."""
    served.systemd.run(["systemctl", "stop", ONE])
    shutil.rmtree(served.layout.release("PACK1_0"))
    shutil.rmtree(served.layout.virtualenvs)
    os.unlink(served.layout.unit_file(ONE))
    kept = served.layout.artifact("1.0")
    for path in served.dist.iterdir():
        path.unlink()
    served.functions["state.apply"] = lambda *args, **kwargs: {}
    # What is known of the release went with its directory: its own copy is what it is made from again.
    served.pillar["globoapp"]["source"] = f"file://{kept}"
    served.pillar["globoapp"]["checksum"] = files.sha256(kept)
    answer = heal.heal(served.minion())
    assert answer["result"] == "healed"
    assert served.answers() == '{"version": "1.0"}'


def test_a_release_that_was_edited_is_repaired_from_its_own_copy(served):
    served.edit("1.0", added="raise RuntimeError('by hand')\n")
    served.systemd.run(["systemctl", "restart", ONE])
    for path in served.dist.iterdir():
        path.unlink()
    assert heal.heal(served.minion())["result"] == "healed"
    assert served.answers() == '{"version": "1.0"}'
    assert release.differences(served.layout, "PACK1_0", release.record(served.layout, "PACK1_0")) == ()


def test_a_pin_of_pillar_that_was_never_deployed_is_not_what_healing_brings(served):
    served.pillar["globoapp"].update(version="1.1", port=1)
    served.systemd.run(["systemctl", "stop", ONE])
    assert heal.heal(served.minion())["result"] == "healed"
    assert served.running() == ["PACK1_0"]
    assert served.deployed() == "1.0"


def test_where_nothing_is_wrong_nothing_is_recorded(served):
    answer = heal.heal(served.minion())
    assert (answer["result"], answer["comment"]) == ("healed", "1.0 was put back: nothing had to be changed")
    assert lines(served) == []


def test_a_repair_that_the_states_recorded_is_not_recorded_twice(served):
    """What no client sees is put right by the states: here the answer that is wrong."""
    real = served.functions["state.apply"]

    def apply(*args, **kwargs):
        served.edit("1.0")
        states = real(*args, **kwargs)
        states["release"]["changes"] = {"x": "y"}
        return states

    served.functions["state.apply"] = apply
    served.systemd.run(["systemctl", "stop", ONE])
    answer = heal.heal(served.minion())
    assert answer["comment"] == f"1.0 was put back: {ONE} does not run, release"
    assert lines(served) == [("1.0", "repair", "success")]


def test_while_a_deploy_is_under_way_it_is_refused(served):
    here = served.begin("1.1")
    here.begin()
    refused(served, "deploy of 1.1 is under way, job id 20260101000000000000")
    here.finish([], [])


def test_where_nothing_is_deployed_it_is_refused(machine):
    refused(machine, "nothing is deployed on this host")


def test_a_minion_in_test_mode_is_not_healed(served):
    served.systemd.run(["systemctl", "stop", ONE])
    words = "the minion is configured with test: True: nothing was done"
    refused(served, words, served.minion(test=True))
    assert served.running() == []


@pytest.mark.parametrize(("running", "result"), [(["state.apply is running"], "refused"), ([], "failed")])
def test_states_that_could_not_be_applied_at_all(served, running, result):
    served.functions["state.apply"] = lambda sls, pillar, queue: [
        "The function state.apply is running",
        "Rendering failed",
    ]
    served.functions["state.running"] = lambda: running
    answer = heal.heal(served.minion())
    assert answer["result"] == result
    assert answer["comment"] == "the states could not be applied: The function state.apply is running; Rendering failed"


def test_what_failed_is_told_and_not_too_long(served):
    states = {"a": {"result": False, "comment": "x" * 5000}, "b": {"result": True, "comment": "fine"}}
    served.functions["state.apply"] = lambda sls, pillar, queue: states
    answer = heal.heal(served.minion())
    assert (answer["result"], answer["comment"]) == ("failed", "x" * 4000)


@pytest.mark.parametrize("error", [Failure("no"), OSError("no")])
def test_what_cannot_be_done_at_once_is_left_to_the_states(served, monkeypatch, error):
    def show(*args, **more):
        monkeypatch.undo()
        raise error

    monkeypatch.setattr(systemd, "show", show)
    applied = []
    served.functions["state.apply"] = lambda sls, pillar, queue: applied.append(pillar) or {}
    assert heal.heal(served.minion())["result"] == "healed"
    assert applied == [{"globoapp_run": {"version": "1.0", "port": served.port}}]


def test_a_repair_holds_the_lock_and_lets_go_of_it(served, monkeypatch):
    holders, real = [], systemd.systemctl

    def systemctl(verb, *names):
        holders.append(lock.holder(served.layout.lock))
        return real(verb, *names)

    monkeypatch.setattr(systemd, "systemctl", systemctl)
    served.systemd.run(["systemctl", "stop", ONE])
    settings, entry, _ = heal.run.deployed_settings(served.minion())
    assert heal.repair(served.minion(), settings, entry) == [f"{ONE} does not run"]
    assert {holder["what"] for holder in holders} == {"repair of 1.0"}
    assert lock.holder(served.layout.lock) is None


def test_a_repair_makes_whole_what_is_broken(served):
    (pathlib.Path(served.layout.virtualenvs) / os.listdir(served.layout.virtualenvs)[0] / "by hand").touch()
    served.edit("1.0")
    pathlib.Path(served.layout.gunicorn_conf).write_text("")
    settings, entry, _ = heal.run.deployed_settings(served.minion())
    done = heal.repair(served.minion(), settings, entry)
    assert len(done) == 4
    assert served.deploy().line is None


# Making room.


@pytest.mark.parametrize("days", [0, 14])
def test_old_logs_go_and_nothing_else(served, days):
    failures = pathlib.Path(served.layout.failures)
    failures.mkdir(parents=True)
    for name, age in {"old.log": 15, "new.log": 13, "old.txt": 15}.items():
        (failures / name).touch()
        os.utime(failures / name, (time.time() - age * 86400,) * 2)
    answer = heal.tidy(served.minion(), 14)
    assert answer == {"releases": {"releases": [], "virtualenvs": []}, "logs": [str(failures / "old.log")]}
    assert sorted(path.name for path in failures.iterdir()) == ["new.log", "old.txt"]
    assert served.systemd.calls[-1] == "journalctl --quiet --vacuum-time=14d" if days else True


def test_releases_beyond_keep_go(served):
    served.has("1.1", "1.2", "1.3")
    served.pillar["globoapp"]["keep"] = 1
    assert heal.tidy(served.minion(), 14)["releases"]["releases"] == ["PACK1_1"]
    assert served.answers() == '{"version": "1.0"}', "a process runs out of it"


def test_a_bare_server_has_nothing_to_tidy(machine):
    answer = heal.tidy(machine.minion(), 14)
    assert answer["logs"] == []
    assert answer["releases"]["problem"].startswith("nothing is deployed on this host")
