"""One run: who may, what is noted of it, what the ledger says, and what a run that was cut leaves to the next one."""

import errno
import json
import os
import pathlib

import pytest
from globolib import files, ledger, leftovers, lock, release, run, started, systemd
from globolib.errors import Failure
from globolib.settings import INNER

ONE = "globoapp@PACK1_0.service"


@pytest.fixture
def served(machine):
    """A server on which 1.0 was deployed."""
    assert machine.deploy("1.0", without=["tried"]).failure is None
    machine.events.clear()
    return machine


def lines(machine):
    """(version, action, result) of each line of the ledger."""
    return [(entry.version, entry.action, entry.result) for entry in ledger.read(machine.layout.ledger)]


def cut(machine, version="1.1"):
    """Begin a deploy whose process ends at once."""
    here = machine.begin(version)
    here.begin()
    here.unlock()
    return here


# What is deployed, and what would be.


def test_where_nothing_is_named_what_is_deployed_stays(served):
    settings, entry, entries = run.deployed_settings(served.minion())
    assert (settings.version, settings.port, settings.address) == ("1.0", served.port, "127.0.0.1")
    assert entry == entries[-1]
    assert served.deploy().line is None


def test_what_is_deployed_is_not_what_would_be(served):
    settings, entry, _ = run.deployed_settings(served.minion({"version": "1.1", "port": 1}))
    assert (settings.version, settings.port) == ("1.0", served.port)
    assert run.resolve(served.minion({"version": "1.1", "port": 1}))[0].settings.release == "PACK1_1"
    assert entry.version == "1.0"


def test_a_top_level_port_of_the_sites_pillar_is_other_peoples(served):
    served.pillar.update(port=1, version="9.9")
    here = served.begin()
    assert (here.settings.version, here.settings.port) == ("1.0", served.port)
    assert here.problems == []


def test_a_run_inside_another_one_is_told_version_and_port(served):
    served.pillar.update(port=1, version="9.9")
    here = run.Run(served.inner({INNER: {"version": "1.1", "port": 8123}}))
    assert (here.settings.version, here.settings.port) == ("1.1", 8123)
    assert here.problems == []


@pytest.mark.parametrize("inner", [None, "x", [], 7])
def test_rubbish_in_the_place_of_an_outer_run_is_no_outer_run(served, inner):
    here = run.Run(served.inner({INNER: inner}))
    assert here.inner == {}


# The lock.


def test_a_second_deploy_is_refused_and_told_who_is_at_it(served):
    first = served.begin("1.1")
    first.begin()
    done = served.deploy("1.0")
    assert done.failure.startswith("another deploy is under way on this host: deploy of 1.1, since 2")
    assert f"job id 20260101000000000000, process {os.getpid()}; waited 0 s" in done.failure
    assert "job id" in done.failure and done.line is None
    assert os.path.exists(served.layout.note), "the note is the other deploy's"
    first.finish([], [])
    assert served.deploy("1.0").failure is None


def test_a_begin_that_fails_lets_go_of_the_lock(served, monkeypatch):
    monkeypatch.setattr(leftovers, "clear", lambda left: (_ for _ in ()).throw(OSError("no")))
    here = served.begin("1.1")
    with pytest.raises(OSError):
        here.begin()
    assert lock.holder(served.layout.lock) is None


def test_a_run_inside_another_one_goes_on_under_its_lock(served):
    settings = run.deployed_settings(served.minion())[0]
    held = run.take_lock(served.minion(), settings, "rollback to 1.1", token="abc")
    try:
        inner = run.Run(served.inner({INNER: {"token": "abc", "action": "rollback", "version": "1.1"}}))
        inner.begin()
        inner.finish([], [])
        assert lock.holder(served.layout.lock)["what"] == "rollback to 1.1", "it is not the inner run's to release"
    finally:
        held.release()
    assert lines(served)[-1] == ("1.1", "rollback", "success")


@pytest.mark.parametrize("token", ["abd", "", None])
def test_with_another_token_it_does_not(served, token):
    settings = run.deployed_settings(served.minion())[0]
    held = run.take_lock(served.minion(), settings, "rollback to 1.1", token="abc")
    try:
        with pytest.raises(Failure, match="another deploy is under way on this host: rollback to 1.1"):
            run.Run(served.inner({INNER: {"token": token, "version": "1.1"}})).begin()
    finally:
        held.release()


def test_a_token_without_a_lock_is_worth_nothing(served):
    inner = run.Run(served.inner({INNER: {"token": "abc", "version": "1.1"}}))
    inner.begin()
    assert lock.holder(served.layout.lock)["what"] == "deploy of 1.1"
    inner.finish([], [])


# What is noted.


def test_a_deploy_is_noted_before_anything_is_done_and_a_repair_is_not(served):
    repair = served.begin()
    repair.begin()
    assert not os.path.exists(served.layout.note)
    repair.finish([], [])
    here = served.begin("1.1")
    here.begin()
    note = files.read_json(served.layout.note)
    assert (note["version"], note["action"], note["from"], note["id"]) == ("1.1", "deploy", "1.0", here.id)
    here.finish([], [])
    assert not os.path.exists(served.layout.note)


def test_a_deploy_that_was_cut_gets_one_line(served):
    first = cut(served)
    second = cut(served)
    assert served.deploy("1.1").failure is None
    assert served.deploy("1.1").line is None
    entries = ledger.read(served.layout.ledger)
    assert [(entry.id, entry.result) for entry in entries[1:-1]] == [
        (first.id, "interrupted"),
        (second.id, "interrupted"),
    ]
    assert entries[1].data["failed"] == ["the deploy was cut before it ended: its process or the machine went down"]
    assert entries[-1].succeeded


def test_what_was_cleared_is_told(served):
    cut(served)
    (served.root / ".incoming-PACK1_1").mkdir()
    here = served.begin("1.1")
    assert here.begin() == [str(served.root / ".incoming-PACK1_1"), leftovers.NOTE]
    assert not (served.root / ".incoming-PACK1_1").exists()
    assert here.host.leftovers == (leftovers.NOTE,)  # its own
    here.finish([], [])


def test_a_cut_after_the_line_that_decides_is_no_interruption(served):
    here = cut(served)
    ledger.append(served.layout.ledger, {**files.read_json(served.layout.note), "result": "success"})
    assert served.begin("1.1").begin() == [leftovers.NOTE]
    assert [entry.result for entry in ledger.read(served.layout.ledger) if entry.id == here.id] == ["success"]


@pytest.mark.parametrize(
    "torn",
    ["", "{", "[]", "null", '{"id": "a"}', '{"id": "a", "version": "1.1", "port": "x"}',
     '{"id": "a", "version": "1.1", "port": null}', "[" * 100000],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_note_that_a_power_cut_tore_is_taken_away(served, torn):
    pathlib.Path(served.layout.note).write_text(torn)
    assert served.deploy("1.1").failure is None
    assert lines(served) == [("1.0", "deploy", "success"), ("1.1", "deploy", "success")]
    assert not os.path.exists(served.layout.note)


def test_the_line_is_written_before_the_note_goes(served, monkeypatch):
    here = served.begin("1.1")
    here.begin()
    real, seen = os.unlink, []

    def unlink(path, *args, **kwargs):
        if path == served.layout.note:
            seen.append(lines(served)[-1])
        real(path, *args, **kwargs)

    monkeypatch.setattr(os, "unlink", unlink)
    here.finish(["x: it failed"], ["y"])
    assert seen == [("1.1", "deploy", "failed")]


def test_a_line_that_cannot_be_written_leaves_the_note_and_no_lock(served, monkeypatch):
    here = served.begin("1.1")
    here.begin()
    with monkeypatch.context() as patch:
        patch.setattr(files, "append_line", lambda *args: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space")))
        with pytest.raises(OSError):
            here.finish([], ["x"])
    assert lock.holder(served.layout.lock) is None
    assert os.path.exists(served.layout.note)
    assert here.finish([], ["x"]) is None, "it has ended"
    served.deploy("1.1")
    assert lines(served)[1:] == [("1.1", "deploy", "interrupted"), ("1.1", "deploy", "success")]


def test_one_that_never_began_records_nothing(served):
    cut(served)
    assert served.begin("1.1").finish(["x"], ["y"]) is None
    assert os.path.exists(served.layout.note)
    assert len(lines(served)) == 1


# What another deploy has done meanwhile.


def test_a_deploy_that_ended_meanwhile_somewhere_else_goes_before(served):
    """Nothing is named: this run was to repair 1.0, and now 1.1 is deployed."""
    here = served.begin()
    served.deploy("1.1")
    done = served.deploy(here=here)
    assert done.failure == (
        f"while this deploy of 1.0 to 127.0.0.1:{served.port} began, another one put 1.1 to 127.0.0.1:{served.port}: "
        "look at globoapp.history, and deploy again"
    )
    assert lock.holder(served.layout.lock) is None
    assert served.answers() == '{"version": "1.1"}'


def test_a_deploy_that_ended_meanwhile_at_the_same_place_is_taken_as_it_is(served):
    here = served.begin("1.1")
    served.deploy("1.1")
    served.systemd.calls.clear()
    done = served.deploy(here=here)
    assert done.failure is None and done.line is None
    assert {call.split()[0] for call in served.systemd.calls} == {"show"}


def test_what_another_deploy_has_cleared_meanwhile_is_not_missed(served):
    left = served.root / ".trash-PACK0_9"
    left.mkdir()
    part = served.root / ".globoapp" / "x.part"
    part.touch()
    here = served.begin("1.1")
    assert set(here.host.leftovers) == {str(left), str(part)}
    left.rmdir()
    part.unlink()
    done = served.deploy(here=here)
    assert done.failure is None
    assert "cleared" not in done.said["ready"]


def test_an_environment_that_changed_meanwhile_is_no_other_deploy(served):
    here = served.begin("1.1")
    served.pillar["globoapp"]["environment"] = {"A": "1"}
    here.minion = served.minion({"version": "1.1"})
    here.begin()
    here.finish([], [])


# What the ledger says.


def test_the_line_of_a_deploy(served):
    done = served.deploy("1.1")
    line = done.line
    assert {key: line[key] for key in ("host", "name", "version", "port", "bind", "address", "action", "from")} == {
        "host": "web1", "name": "globoapp", "version": "1.1", "port": served.port, "bind": "127.0.0.1",
        "address": "127.0.0.1", "action": "deploy", "from": "1.0",
    }  # fmt: skip
    assert (line["jid"], line["result"]) == ("20260101000000000000", "success")
    assert line["changed"] == ["release", "configured", "serving"]
    assert served.events == [("globoapp/deploy/web1", line)]


def test_a_failed_line_says_why_and_the_next_success_takes_the_mark_away(served):
    served.systemd.fails["start globoapp@PACK1_1.service"] = "Job failed."
    failed = served.deploy("1.1")
    assert failed.line["failed"][0].startswith("serving: 1.1 did not start: ")
    assert release.record(served.layout, "PACK1_1").failed
    served.systemd.fails.clear()
    assert served.deploy("1.1").line["result"] == "success"
    assert release.record(served.layout, "PACK1_1").failed is None


def test_the_same_version_on_another_port_is_a_deploy(served, monkeypatch):
    assert served.deploy("1.0", port=served.port).line is None
    here = served.begin("1.0", port=served.port + 1)
    here.begin()
    assert here.finish([], [])["action"] == "deploy"


# What cannot be done.


def test_a_run_with_problems_has_no_target(machine):
    here = machine.begin("9.9")
    assert "version 9.9 is unknown" in here.problems[0]
    for call in (lambda: here.target, here.build, here.unpack):
        with pytest.raises(Failure, match=r"version 9\.9 is unknown"):
            call()
    assert os.listdir(machine.root.parent.parent) and not machine.root.exists()


def test_a_release_that_differs_and_whose_copy_is_gone_is_fetched(served):
    os.unlink(served.layout.artifact("1.0"))
    here = served.begin()
    served.edit("1.0")  # after it was looked at
    assert here.examined.artifact.path is None
    here.begin()
    here.look()
    assert here.unpack() == ["api.py was changed"]
    here.finish([], ["x"])


# What a release had read.


def test_of_what_systemd_started_by_itself_it_is_noted_what_is_there(served):
    served.systemd.run(["systemctl", "restart", ONE])
    unit = systemd.unit(ONE)
    assert not started.is_noted(served.layout, "PACK1_0", unit)
    served.deploy()
    assert started.is_noted(served.layout, "PACK1_0", unit)
    served.edit("1.0")
    assert served.begin().host.outdated == {
        "PACK1_0": f"{served.layout.release('PACK1_0')}/api.py changed after it had started"
    }


def test_a_repair_that_was_cut_before_the_restart_is_finished_by_the_next_run(served):
    first = served.systemd.pid(ONE)
    served.edit("1.0")
    here = served.begin()
    here.begin()
    here.unpack()
    here.unlock()
    done = served.deploy()
    assert done.failure is None
    assert served.systemd.pid(ONE) != first
    assert served.deploy().line is None


def test_a_release_that_runs_without_a_record_is_not_noted(served):
    os.unlink(served.layout.record("PACK1_0"))
    here = served.begin()
    served.systemd.run(["systemctl", "restart", ONE])
    here.begin()
    assert not started.is_noted(served.layout, "PACK1_0", systemd.unit(ONE))
    here.finish([], [])


# One run for a job.


def test_all_states_of_a_job_have_one_run(served):
    context = {}
    first = run.current(served.minion(), context)
    assert run.current(served.minion(), context) is first
    served.opts["jid"] = "20260101000000000001"
    assert run.current(served.minion(), context) is not first


def test_what_comes_after_the_last_state_is_another_run(served):
    context = {}
    first = run.current(served.minion({"version": "1.1"}), context)
    first.begin()
    run.close(context)
    assert context == {}
    assert lock.holder(served.layout.lock) is None
    run.close(context)
    assert run.current(served.minion(), context) is not first


def test_a_process_that_was_forked_has_its_own_run(served, monkeypatch):
    context = {}
    first = run.current(served.minion(), context)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert run.current(served.minion(), context) is not first


def test_the_ledger_is_readable_by_all_and_the_note_is_json(served):
    here = served.begin("1.1")
    here.begin()
    assert json.loads(pathlib.Path(served.layout.note).read_text())["version"] == "1.1"
    assert os.stat(served.layout.ledger).st_mode & 0o777 == 0o644
    here.finish([], [])
