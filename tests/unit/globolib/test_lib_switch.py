"""Trial, switch and look: what served goes on whatever fails, and the failure says what came of it."""

import errno
import os
import pathlib
import re

import pytest
from globolib import drain, files, observe, release, started, survey, switch, systemd
from globolib.address import Address
from globolib.errors import Failure
from globolib.health import Answer
from globolib.host import Unit
from globolib.layout import LIVE
from globolib.settings import Settings
from ports import free_port

ONE, TWO = "globoapp@PACK1_0.service", "globoapp@PACK1_1.service"
CANDIDATE = "globoapp-candidate@PACK1_1.service"
CRASHES = "raise RuntimeError('no module named x')\n"
HANGS = "import time\ntime.sleep(60)\n"
WRONG = "def answer():\n    return 500, 'oops'\n"
OTHER = 'def answer():\n    return 200, \'{"version": "9.9"}\'\n'
# Answers so many times, then its worker ends.
TIRES = "left = [%d]\ndef answer():\n    if not left.pop():\n        raise SystemExit(1)\n    left.append(0)\n"
AS_CANDIDATE = 'def answer():\n    return 200 if candidate else 500, \'{"version": "1.1"}\'\n'
NOT_IN_SERVICE = "if not candidate:\n    raise RuntimeError('no second time')\n" + AS_CANDIDATE
WELL_FOR = (
    'n = [%d]\ndef answer():\n    n[0] -= 1\n    return 200 if candidate or n[0] > 0 else 500, \'{"version": "1.1"}\'\n'
)


@pytest.fixture
def served(machine):
    """A server on which 1.0 was deployed; ``before`` are the files that it reads."""
    assert machine.deploy("1.0", without=["tried"]).failure is None
    machine.before = machine.live_files()
    machine.systemd.calls.clear()
    return machine


def assert_1_0_goes_on(machine, done):
    """What served serves, alone, from the files and at the boot that it had; the ledger has one failed line more."""
    assert done.failure
    assert machine.answers() == '{"version": "1.0"}'
    assert machine.running() == ["PACK1_0"]
    assert machine.deployed() == "1.0"
    assert done.line["result"] == "failed"
    assert systemd.enabled(machine.layout) == ("PACK1_0",)
    now = machine.live_files()
    assert {path: now.get(path) for path in machine.before} == machine.before
    assert [path for path in now if path.endswith(".socket")] == [
        path for path in machine.before if path.endswith(".socket")
    ]


# The trial.


@pytest.mark.parametrize(
    ("api", "why"),
    [
        (CRASHES, r"failed its trial: globoapp-candidate@PACK1_1\.service ended while it booted"),
        (HANGS, r"failed its trial: .*: 0 of 1 workers have loaded the app after 1 s"),
        (WRONG, r"failed its trial: GET /status/ for 1 s: status 500 instead of 200, body: 'oops'"),
        (OTHER, r"failed its trial: GET /status/ for 1 s: version is '9\.9' instead of '1\.1'"),
    ],
    ids=["crashes", "hangs", "answers wrongly", "is another version"],
)
def test_a_candidate_that_fails_its_trial_touches_nothing_live(served, api, why):
    served.publish("1.1", api)
    served.pillar["globoapp"].update(environment={"A": "new"}, group="nogroup", threads=9)
    done = served.deploy("1.1", globoapp={"deadline": 10 if api == CRASHES else 1})
    assert_1_0_goes_on(served, done)
    assert served.live_files() == served.before
    live = [call for call in served.systemd.calls if call.split()[-1] in (ONE, TWO) or ".socket" in call.split()[-1]]
    assert {call.split()[0] for call in live} <= {"show"}
    assert "configured" not in done.said
    assert release.record(served.layout, "PACK1_1").failed.why in done.failure
    assert re.search(why, done.failure)


@pytest.mark.parametrize(("status", "name"), [(226, "NAMESPACE"), (225, "NETWORK"), (1, None)])
def test_a_container_without_namespaces_is_named(served, status, name):
    def refuse():
        known = served.systemd.state(CANDIDATE)
        known.active, known.result, known.status = "failed", "exit-code", status
        raise Failure("systemctl start: exit 1: Job failed.")

    served.systemd.fails[f"start {CANDIDATE}"] = refuse
    done = served.deploy("1.1")
    assert_1_0_goes_on(served, done)
    told = f"systemd could not shut {CANDIDATE} off from the rest of the host (status={status}/{name})"
    assert (told in done.failure, "nesting=1" in done.failure) == (name is not None, name is not None)


def test_a_failed_trial_tells_the_releases_own_words_and_keeps_them(served):
    served.publish("1.1", CRASHES)
    done = served.deploy("1.1")
    failed = release.record(served.layout, "PACK1_1").failed
    assert done.failure.endswith(
        f"Its last lines (all of them in {failed.log}):\n    | RuntimeError: no module named x"
    )
    kept = pathlib.Path(failed.log)
    assert kept.read_text() == f"{failed.why}\nRuntimeError: no module named x\n"
    assert kept.stat().st_mode & 0o777 == 0o640


def test_a_candidate_is_watched_before_it_may_serve(served):
    served.publish("1.1", TIRES.replace("return", "return") % 1 + '    return 200, \'{"version": "1.1"}\'\n')
    done = served.deploy("1.1", globoapp={"prove": 0.5})
    assert_1_0_goes_on(served, done)
    assert "failed its trial: " in done.failure
    assert "its workers did not stay" in done.failure or "GET /status/: no answer" in done.failure


def test_a_candidate_whose_worker_ends_unasked_has_failed(served):
    """Answers are right all the time: gunicorn has begun another worker."""
    api = "import threading, os\nthreading.Timer(0.15, lambda: os._exit(1)).start()\n"
    served.publish("1.1", api + 'def answer():\n    return 200, \'{"version": "1.1"}\'\n')
    done = served.deploy("1.1", globoapp={"prove": 1})
    assert_1_0_goes_on(served, done)
    assert "failed its trial: " in done.failure


def test_a_release_that_has_lasted_here_is_not_watched_again(served):
    served.deploy("1.1")
    done = served.deploy("1.0", globoapp={"prove": 60})
    assert done.failure is None
    assert "went on for 0 s" in done.said["tried"]
    assert served.answers() == '{"version": "1.0"}'


def test_a_candidate_that_cannot_be_stopped_hides_nothing(served):
    served.publish("1.1", CRASHES)
    served.systemd.fails[f"stop {CANDIDATE}"] = Failure("systemctl stop: no end after 120 s")
    done = served.deploy("1.1")
    assert "ended while it booted" in done.failure
    assert "RuntimeError: no module named x" in done.failure


def test_a_candidate_is_stopped_before_its_log_is_read(served):
    served.publish("1.1", CRASHES)
    served.deploy("1.1")
    calls = served.systemd.calls
    assert calls.index(f"stop {CANDIDATE}") < next(n for n, call in enumerate(calls) if call.startswith("journalctl"))


def test_a_disk_error_in_a_trial_is_a_failed_trial(served, monkeypatch):
    real = survey.ready

    def ready(layout, name, pids, role=LIVE):
        if role:
            raise PermissionError(errno.EACCES, "Permission denied", "/run/x")
        return real(layout, name, pids)

    monkeypatch.setattr(survey, "ready", ready)
    done = served.deploy("1.1")
    assert "failed its trial: [Errno 13] Permission denied" in done.failure
    assert served.running() == ["PACK1_0"]


# The switch.


def test_a_switch_loses_no_request(served):
    done = served.deploy("1.1")
    assert done.failure is None
    assert (served.running(), served.answers()) == (["PACK1_1"], '{"version": "1.1"}')
    assert systemd.enabled(served.layout) == ("PACK1_1",)
    assert done.line["probe"]["failed"] == 0
    assert done.line["probe"]["sent"] > 2
    calls = served.systemd.calls
    assert calls.index(f"stop {CANDIDATE}") < calls.index(f"start {TWO}") < calls.index(f"stop {ONE}")


def test_where_all_is_as_it_should_be_nothing_is_done(served):
    done = served.deploy()
    assert done.failure is None and done.line is None
    assert {call.split()[0] for call in served.systemd.calls} == {"show"}


def test_the_first_deploy_opens_the_door_last(machine):
    done = machine.deploy("1.0")
    calls = machine.systemd.calls
    socket = machine.layout.socket(Address("127.0.0.1", machine.port))
    assert calls.index("stop globoapp-candidate@PACK1_0.service") < calls.index(f"restart {socket}")
    assert "probe" not in done.line
    assert systemd.handed(machine.layout) == (socket,)


FAILS = {
    "the start is refused": ({f"start {TWO}": "Job failed. See logs."}, AS_CANDIDATE, "did not start: .* See logs"),
    "it crashes": ({}, NOT_IN_SERVICE, r"did not start: .*ended while it booted \(exit-code\)"),
}


def drifted(machine):
    """A pillar that changes every file that the units read."""
    machine.pillar["globoapp"].update(environment={"A": "new"}, group="nogroup")
    path = pathlib.Path(machine.layout.gunicorn_conf)
    path.write_text(path.read_text() + "# by hand\n")
    machine.before = machine.live_files()


@pytest.mark.parametrize("case", FAILS)
def test_a_switch_that_fails_puts_every_file_back(served, case):
    fails, api, why = FAILS[case]
    served.publish("1.1", api)
    served.systemd.fails.update(fails)
    drifted(served)
    done = served.deploy("1.1")
    assert re.search(why, done.failure), done.failure
    assert "Files of configured were written." in done.said["configured"]  # they were other ones in between
    assert_1_0_goes_on(served, done)
    assert not served.systemd._needs_reload(ONE)
    assert release.record(served.layout, "PACK1_1").failed


def test_a_disk_that_is_full_after_the_start_is_a_failed_switch(served, monkeypatch):
    real = started.note

    def note(layout, name, *args):
        if name == "PACK1_1":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(layout, name, *args)

    monkeypatch.setattr(started, "note", note)
    done = served.deploy("1.1")
    assert "1.1 did not start: [Errno 28] No space left on device" in done.failure
    assert_1_0_goes_on(served, done)


def test_put_back_first_evidence_second(served):
    served.publish("1.1", NOT_IN_SERVICE)
    done = served.deploy("1.1")
    calls = served.systemd.calls
    stopped = calls.index(f"stop {TWO}")
    evidence = [number for number, call in enumerate(calls) if call.startswith("journalctl")]
    assert stopped < evidence[0]
    assert calls[stopped:].index("daemon-reload") + stopped < evidence[0]
    assert "RuntimeError: no second time" in done.failure


NOT_UTF8 = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("journal", NOT_UTF8),
        ("journal", Failure("x")),
        ("write", OSError("no")),
        ("annotate", KeyError("z")),
        ("seen", Failure("y")),
        ("seen", NOT_UTF8),
    ],
    ids=str,
)
def test_no_error_in_the_evidence_stops_the_way_back(served, monkeypatch, where, error):
    served.publish("1.1", NOT_IN_SERVICE)
    real_write, real_unit = files.write, systemd.unit

    def raises(*args, **kwargs):
        raise error

    def write(path, *args):
        return raises() if path.endswith(".log") else real_write(path, *args)

    def unit(name, *deadline):
        return raises() if deadline else real_unit(name)

    module, name, broken = {
        "journal": (systemd, "journal", raises),
        "write": (files, "write", write),
        "annotate": (release, "annotate", raises),
        "seen": (systemd, "unit", unit),
    }[where]
    monkeypatch.setattr(module, name, broken)
    done = served.deploy("1.1")
    assert_1_0_goes_on(served, done)
    assert "1.1 did not start: " in done.failure


def test_a_systemctl_that_hangs_is_not_waited_for_by_the_evidence(served, monkeypatch):
    served.publish("1.1", NOT_IN_SERVICE)
    asked, real = [], served.systemd.run

    def run(command, deadline=120, *args, **kwargs):
        if command[:2] == ["systemctl", "show"] and command[-1] == TWO:
            asked.append(deadline)
        return real(command, deadline, *args, **kwargs)

    monkeypatch.setattr(observe.systemd.commands, "run", run)
    served.deploy("1.1")
    assert asked[-1] == observe.SEEN_DEADLINE


def test_one_step_of_the_way_back_does_not_keep_the_next_from_being_done(served, monkeypatch):
    served.publish("1.1", NOT_IN_SERVICE)
    served.systemd.fails[f"stop {TWO}"] = Failure("systemctl stop: no end after 120 s")
    done = served.deploy("1.1")
    assert "1.1 did not start: " in done.failure
    assert "\nOn the way back: systemctl stop: no end after 120 s" in done.failure
    assert served.answers() == '{"version": "1.0"}'
    assert {path: served.live_files()[path] for path in served.before} == served.before
    assert systemd.enabled(served.layout) == ("PACK1_0",)


@pytest.mark.parametrize("times", [1, 2])
def test_a_first_deploy_that_fails_leaves_no_open_door(machine, times):
    machine.publish("1.1", NOT_IN_SERVICE)
    for _ in range(times):
        done = machine.deploy("1.1")
        assert "1.1 did not start: " in done.failure
        assert machine.answers() is None
        assert (machine.running(), systemd.enabled(machine.layout)) == ([], ())
        assert systemd.socket_files(machine.layout) == []
        assert systemd.handed(machine.layout) == ()


def test_an_address_that_cannot_be_listened_on_changes_nothing(served):
    drifted(served)
    port = free_port()
    socket = served.layout.socket(Address("127.0.0.1", port))
    served.systemd.fails[f"restart {socket}"] = "Address already in use"
    done = served.deploy("1.1", port=port)
    assert f"127.0.0.1:{port} cannot be listened on: " in done.failure
    assert "Address already in use" in done.failure and "\nWhat served goes on." in done.failure
    assert_1_0_goes_on(served, done)
    assert release.record(served.layout, "PACK1_1").failed is None  # it has no part in that


def test_the_log_of_the_socket_is_read_after_the_way_back(served):
    port = free_port()
    socket = served.layout.socket(Address("127.0.0.1", port))
    served.systemd.fails[f"restart {socket}"] = "Address already in use"
    served.deploy("1.1", port=port)
    calls = served.systemd.calls
    (evidence,) = [number for number, call in enumerate(calls) if call.startswith("journalctl --no-pager")]
    assert calls.index(f"stop {socket}") < evidence


def test_a_repair_restarts_what_was_changed_by_hand(served):
    served.edit("1.0")
    first = served.systemd.pid(ONE)
    done = served.deploy()
    assert done.failure is None
    assert done.line["action"] == "repair"
    assert served.systemd.pid(ONE) != first
    assert f"restart {ONE}" in served.systemd.calls
    assert f"stop {ONE}" not in served.systemd.calls


def test_a_restart_that_fails_is_told_and_does_not_stop_what_may_come_up_again(served):
    served.edit("1.0")
    served.systemd.fails[f"restart {ONE}"] = "Job failed."
    done = served.deploy()
    assert "1.0 did not start: " in done.failure
    assert f"stop {ONE}" not in served.systemd.calls


def test_what_is_masked_is_unmasked(served):
    os.symlink("/dev/null", os.path.join(served.layout.units, ONE))
    done = served.deploy()
    assert done.failure is None
    assert [call for call in served.systemd.calls if call.startswith("unmask")] == [f"unmask {ONE}"] * 2
    assert not os.path.lexists(os.path.join(served.layout.units, ONE))


def test_a_socket_that_was_edited_is_written_again_and_stays_open(served):
    socket = served.layout.socket(Address("127.0.0.1", served.port))
    path = pathlib.Path(served.layout.unit_file(socket))
    right = path.read_text()
    path.write_text(right + "Backlog=1\n")
    open_before = served.systemd.sockets[socket]
    assert served.deploy().failure is None
    assert path.read_text() == right
    assert served.systemd.sockets[socket] is open_before


def test_another_release_that_runs_is_ended(served):
    served.deploy("1.1")
    served.systemd.run(["systemctl", "start", ONE])
    assert served.running() == ["PACK1_0", "PACK1_1"]
    assert served.deploy().failure is None
    assert served.running() == ["PACK1_1"]


# Another address.


def test_a_port_is_changed_and_the_old_one_closed(served):
    old, new = served.port, free_port()
    done = served.deploy("1.1", port=new)
    assert done.failure is None
    assert (served.answers(new), served.answers(old)) == ('{"version": "1.1"}', None)
    assert systemd.socket_files(served.layout) == [served.layout.socket(Address("127.0.0.1", new))]
    assert systemd.handed(served.layout) == (served.layout.socket(Address("127.0.0.1", new)),)
    assert "probe" not in done.line  # what served is not asked on an address that goes


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_release_that_does_not_start_again_on_its_new_port_is_undone(served, version):
    """The start of a port change by which the release lets go of the old address."""
    new = free_port()
    unit = served.layout.instance("PACK" + version.replace(".", "_"))
    restarts = []

    def fail():
        restarts.append(unit)
        if len(restarts) == 1:
            served.systemd._stop(unit)
            raise Failure("systemctl restart: exit 1: Job failed.")

    served.systemd.fails[f"restart {unit}"] = fail
    done = served.deploy(version, port=new)
    assert f"{version} did not start again without globoapp-127.0.0.1:{served.port}.socket: " in done.failure
    assert done.failure.endswith("\nSwitched back: 1.0 serves again.")
    assert served.answers(new) is None
    assert_1_0_goes_on(served, done)
    assert systemd.handed(served.layout) == (served.layout.socket(Address("127.0.0.1", served.port)),)


@pytest.mark.parametrize(
    ("drained", "words"),
    [(lambda *args: 3, "3 clients that wait on the old address are lost"), (OSError("no such call"), "no such call")],
)
def test_clients_that_are_lost_with_an_address_are_told_of(served, monkeypatch, caplog, drained, words):
    def drains(listener, pid):
        if isinstance(drained, OSError):
            raise drained
        return drained(listener, pid)

    monkeypatch.setattr(drain, "drain", drains)
    assert served.deploy("1.1", port=free_port()).failure is None
    assert words in caplog.text


# What served before does not end.


def hangs(machine, unit):
    """Let a unit be on its way down for ever."""

    def stop():
        machine.systemd.state(unit).active = "deactivating"
        raise Failure(f"systemctl stop {unit}: no end after 120 s")

    machine.systemd.fails[f"stop {unit}"] = stop


def test_where_what_served_does_not_end_it_is_put_back(served):
    hangs(served, ONE)
    done = served.deploy("1.1")
    assert "1.1 serves, but not alone: systemctl stop globoapp@PACK1_0.service: no end after 120 s" in done.failure
    assert done.failure.endswith("\nSwitched back: 1.0 serves again.")
    assert f"restart {ONE}" in served.systemd.calls  # one that is being stopped is not relied on
    assert_1_0_goes_on(served, done)
    assert release.record(served.layout, "PACK1_1").failed is None


def test_where_it_can_neither_end_nor_start_again_the_new_one_goes_on(served):
    hangs(served, ONE)
    served.systemd.fails[f"restart {ONE}"] = Failure("systemctl restart: no end after 120 s")
    done = served.deploy("1.1")
    assert "\nAnd 1.0 could not be put back: " in done.failure
    assert "What runs now: PACK1_0, PACK1_1." in done.failure
    assert f"stop {TWO}" not in served.systemd.calls
    assert "PACK1_1" in served.running()
    assert done.line["result"] == "failed"


def test_in_a_repair_what_does_not_end_is_told(served):
    served.deploy("1.1")
    served.systemd.run(["systemctl", "start", ONE])
    hangs(served, ONE)
    done = served.deploy()
    assert done.failure.startswith("1.1 serves, but not alone: ")
    assert "put back" not in done.failure
    assert "PACK1_1" in served.running()


# The look afterwards.


def test_a_release_that_answers_wrongly_in_service_is_taken_back(served):
    served.publish("1.1", AS_CANDIDATE)
    done = served.deploy("1.1", globoapp={"deadline": 1})
    assert done.failure.startswith("1.1 is not healthy: GET /status/ for 1 s: status 500 instead of 200")
    assert done.failure.endswith("\nSwitched back: 1.0 serves again.")
    assert_1_0_goes_on(served, done)
    calls = served.systemd.calls
    evidence = [number for number, call in enumerate(calls) if call.startswith("journalctl")]
    assert calls.index(f"start {ONE}") < calls.index(f"stop {TWO}") < evidence[0]


def test_a_release_that_goes_bad_while_it_is_watched_is_taken_back(served):
    served.publish("1.1", WELL_FOR % 20)
    done = served.deploy("1.1", globoapp={"soak": 5})
    assert "is not healthy: GET /status/: status 500" in done.failure
    assert_1_0_goes_on(served, done)


def test_it_is_told_how_long_all_went_well(served):
    done = served.deploy("1.1", globoapp={"soak": 0.1})
    assert done.said["healthy"].endswith("from PACK1_1; it stayed so for 0.1 s.")


def test_a_right_answer_of_something_else_is_none(served, monkeypatch):
    monkeypatch.setattr(switch, "proof", lambda settings, host: ["process 7 (nc) also takes requests on port 8000"])
    done = served.deploy("1.1", globoapp={"deadline": 1})
    assert "1.1 is not healthy: process 7 (nc) also takes requests" in done.failure
    assert_1_0_goes_on(served, done)


def test_where_what_served_does_not_start_again_it_is_told_what_runs(served):
    served.publish("1.1", AS_CANDIDATE)
    served.systemd.fails[f"start {ONE}"] = "Job failed."
    done = served.deploy("1.1", globoapp={"deadline": 1})
    assert "\nAnd 1.0 could not be put back: 1.0 did not start: " in done.failure
    assert done.failure.endswith("\nWhat runs now: PACK1_1.")
    assert served.running() == ["PACK1_1"]  # it answers wrongly, yet nothing would answer at all


def test_where_nobody_can_say_what_runs_the_failure_is_told_all_the_same(served, monkeypatch):
    def put_back_fails(*args):
        raise Failure("systemctl does not run")

    served.publish("1.1", AS_CANDIDATE)
    real = switch.put_back

    def put_back(*args):
        monkeypatch.setattr(survey, "again", put_back_fails)
        return real(*args)

    monkeypatch.setattr(switch, "put_back", put_back)
    done = served.deploy("1.1", globoapp={"deadline": 1})
    assert "What runs now is not known: systemctl does not run" in done.failure


def test_a_release_whose_record_is_gone_is_not_put_back(served):
    served.publish("1.1", AS_CANDIDATE)
    os.unlink(served.layout.record("PACK1_0"))
    done = served.deploy("1.1", globoapp={"deadline": 1})
    assert "\nAnd 1.0 could not be put back: 'PACK1_0'\nWhat runs now: PACK1_1." in done.failure


def test_a_first_deploy_that_is_not_healthy_is_stopped(machine):
    machine.publish("1.1", AS_CANDIDATE)
    done = machine.deploy("1.1", globoapp={"deadline": 1})
    assert done.failure.endswith("\nNothing was deployed here before: it was stopped.")
    assert (machine.answers(), machine.running(), machine.deployed()) == (None, [], None)
    assert (systemd.enabled(machine.layout), systemd.socket_files(machine.layout)) == ((), [])


def test_each_step_of_stopping_a_first_deploy_is_tried(machine):
    machine.publish("1.1", AS_CANDIDATE)
    socket = machine.layout.socket(Address("127.0.0.1", machine.port))
    machine.systemd.fails[f"stop {socket}"] = Failure("no end after 120 s")
    done = machine.deploy("1.1", globoapp={"deadline": 1})
    assert done.failure.endswith("it was stopped.\nOn the way back: no end after 120 s")
    assert "1.1 is not healthy" in done.failure
    assert (machine.running(), systemd.enabled(machine.layout)) == ([], ())


WEDGED = """
import os
fresh = not os.path.exists("/proc/self/cwd/../wedge")
def answer():
    stuck = os.path.exists("../wedge") and not born_in_it
    return 500 if stuck else 200, '{"version": "1.0"}'
born_in_it = not fresh
"""


def test_what_is_stuck_gets_one_fresh_start(machine, monkeypatch):
    monkeypatch.setattr(observe, "is_stuck", lambda *args: True)
    machine.publish("1.0", WEDGED)
    machine.deploy("1.0")
    (machine.root / "wedge").touch()
    first = machine.systemd.pid(ONE)
    done = machine.deploy(globoapp={"deadline": 1})
    assert done.failure is None
    assert done.said["healthy"].startswith("it did not answer (GET /status/ for 1 s: status 500")
    assert "was started afresh; GET http://" in done.said["healthy"]
    assert machine.systemd.pid(ONE) != first


def test_what_is_stuck_again_has_failed(machine, monkeypatch):
    monkeypatch.setattr(observe, "is_stuck", lambda *args: True)
    machine.publish(
        "1.0",
        "import os\ndef answer():\n    return 500 if os.path.exists('../wedge') else 200, '{\"version\": \"1.0\"}'\n",
    )
    machine.deploy("1.0")
    (machine.root / "wedge").touch()
    done = machine.deploy(globoapp={"deadline": 1})
    assert done.failure.startswith("1.0 is not healthy: ")
    assert machine.systemd.calls.count(f"restart {ONE}") == 1
    assert machine.running() == ["PACK1_0"]
    assert machine.deployed() == "1.0"


def test_what_is_stuck_and_does_not_start_afresh_says_both(machine, monkeypatch):
    monkeypatch.setattr(observe, "is_stuck", lambda *args: True)
    machine.publish("1.0", WEDGED)
    machine.deploy("1.0")
    (machine.root / "wedge").touch()
    machine.systemd.fails[f"restart {ONE}"] = "Job failed."
    done = machine.deploy(globoapp={"deadline": 1})
    assert "1.0 is not healthy: GET /status/ for 1 s: status 500" in done.failure
    assert (
        "and it did not start afresh: systemctl restart globoapp@PACK1_0.service: exit 1: Job failed." in done.failure
    )


def test_what_answers_wrongly_is_not_started_afresh(machine):
    machine.publish("1.0", WEDGED)
    machine.deploy("1.0")
    (machine.root / "wedge").touch()
    first = machine.systemd.pid(ONE)
    done = machine.deploy(globoapp={"deadline": 1})
    assert "status 500" in done.failure
    assert "Its workers get on, so it was not started afresh" in done.failure
    assert machine.systemd.pid(ONE) == first


SECOND = 10**9
HEALTHY = Answer(200, "{}", 0.1)


@pytest.mark.parametrize(
    ("workers", "answer", "noted", "stuck"),
    [
        ((), None, 0, True),  # no worker lives
        ((7,), HEALTHY, 0, False),  # it answers, however late
        ((7,), None, 0, True),  # it has done nothing since it was first asked
        ((7,), None, 50, False),  # it works on something, and has never rested for a minute
    ],
)
def test_stuck_is_proven(monkeypatch, workers, answer, noted, stuck):
    clock = [0.0]
    monkeypatch.setattr(observe.time, "monotonic_ns", lambda: int(clock[0] * SECOND))
    monkeypatch.setattr(observe.systemd, "unit", lambda name: Unit(name, "active", pid=1))
    monkeypatch.setattr(observe.processes, "children", lambda pid: workers)
    monkeypatch.setattr(observe.survey, "ready", lambda layout, name, pids: pids)
    monkeypatch.setattr(observe.health, "once", lambda *args: ("no answer", answer))
    monkeypatch.setattr(observe.survey, "progress", lambda *args: noted * SECOND)
    real = observe.waiting.until

    def until(check, seconds):
        return real(check, seconds, clock=lambda: clock[0], sleep=lambda pause: clock.__setitem__(0, clock[0] + pause))

    monkeypatch.setattr(observe.waiting, "until", until)
    assert observe.is_stuck(Settings(version="1.0"), "here", None) is stuck
