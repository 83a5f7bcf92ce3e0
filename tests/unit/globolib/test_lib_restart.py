"""The release that serves starts afresh while a stand-in takes its requests."""

import os

import pytest
from globolib import drain, run, switch, systemd, units
from globolib.address import Address
from globolib.layout import CANDIDATE, STANDIN
from globolib.settings import Settings
from ports import free_port

ONE, BESIDE = "globoapp@PACK1_0.service", "globoapp-standin@PACK1_0.service"
SETTING = {"globoapp": {"environment": {"LEVEL": "2"}}}


@pytest.fixture
def served(machine):
    """A server on which 1.0 was deployed."""
    assert machine.deploy("1.0", without=["tried"]).failure is None
    machine.systemd.calls.clear()
    return machine


def changing(machine):
    return [call for call in machine.systemd.calls if call.split()[0] in ("start", "stop", "restart")]


def cut(machine, call, **pillar):
    """A deploy that is cut at a call of systemd's."""
    machine.systemd.fails[call] = KeyboardInterrupt()
    here = run.Run(machine.minion(pillar))
    with pytest.raises(KeyboardInterrupt):
        machine.deploy(here=here)
    here.unlock()
    machine.systemd.fails.clear()


def test_another_environment_comes_without_a_moment_in_which_nothing_serves(served):
    up = []
    served.systemd.fails[f"restart {ONE}"] = lambda: up.append((served.running(), served.answers()))
    done = served.deploy(**SETTING)
    assert done.failure is None
    assert up == [(["[PACK1_0]", "PACK1_0"], '{"version": "1.0"}')]
    candidate = "globoapp-candidate@PACK1_0.service"
    steps = [f"restart {BESIDE}", f"restart {ONE}", f"stop {BESIDE}"]
    assert changing(served) == [f"start {candidate}", f"stop {candidate}", *steps]
    assert served.running() == ["PACK1_0"]


def test_a_change_of_port_alone_starts_the_release_afresh_once(served):
    old, new, seen = served.port, free_port(), []

    def look():
        seen.append((served.running(), served.answers(new), [*systemd.handed(served.layout)]))

    served.systemd.fails[f"restart {ONE}"] = look
    assert served.deploy(port=new).failure is None
    socket = served.layout.socket(Address("127.0.0.1", new))
    assert seen == [(["[PACK1_0]", "PACK1_0"], '{"version": "1.0"}', [socket])]
    candidate = "globoapp-candidate@PACK1_0.service"
    beside = [f"restart {socket}", f"restart {BESIDE}", f"stop globoapp-127.0.0.1:{old}.socket"]
    ends = [f"restart {ONE}", f"stop {BESIDE}"]
    known = [f"start {candidate}", f"stop {candidate}", *beside, *ends]
    assert changing(served) == known
    assert (served.running(), served.answers(new), served.answers(old)) == (["PACK1_0"], '{"version": "1.0"}', None)


def test_both_addresses_answer_until_the_old_one_is_closed(served):
    old, new, seen = served.port, free_port(), []

    def look():
        seen.append((served.answers(old), served.answers(new)))

    served.systemd.fails[f"stop globoapp-127.0.0.1:{old}.socket"] = look
    assert served.deploy(port=new).failure is None
    assert seen == [('{"version": "1.0"}', '{"version": "1.0"}')]


def test_a_change_of_port_that_was_cut_beside_its_stand_in_is_taken_back_and_done(served):
    """The stand-in has the new address, the release the old one: whoever comes next gets one address that is served."""
    old, new = served.port, free_port()
    cut(served, f"stop globoapp-127.0.0.1:{old}.socket", port=new)
    assert served.running() == ["[PACK1_0]", "PACK1_0"]
    assert (served.answers(old), served.answers(new)) == ('{"version": "1.0"}', '{"version": "1.0"}')
    assert served.deploy().failure is None
    assert (served.running(), served.answers(old), served.answers(new)) == (["PACK1_0"], '{"version": "1.0"}', None)
    assert served.deploy(port=new).failure is None
    assert (served.running(), served.answers(old), served.answers(new)) == (["PACK1_0"], None, '{"version": "1.0"}')


def test_who_waits_on_an_address_that_a_cut_run_had_closed_is_seen_off(served, monkeypatch):
    """systemd has it no more, the release still has."""
    old, new, drained = served.port, free_port(), []
    monkeypatch.setattr(drain, "drain", lambda listener, pid: drained.append((listener.port, pid)) or 0)
    first = served.systemd.pid(ONE)
    cut(served, f"restart {ONE}", port=new)
    assert (drained, served.answers(old), served.answers(new)) == ([(old, first)], *['{"version": "1.0"}'] * 2)
    assert served.deploy(port=new).failure is None
    assert drained == [(old, first)] * 2
    assert (served.running(), served.answers(old), served.answers(new)) == (["PACK1_0"], None, '{"version": "1.0"}')


def test_what_serves_is_left_alone_where_its_stand_in_does_not_come_up(served):
    first, before = served.systemd.pid(ONE), served.live_files()
    served.systemd.fails[f"restart {BESIDE}"] = "Job failed."
    done = served.deploy(**SETTING)
    assert "1.0 did not start: " in done.failure
    assert f"{ONE} goes on as it was" in done.failure
    assert (served.systemd.pid(ONE), served.running()) == (first, ["PACK1_0"])
    now = served.live_files()
    assert {path: now[path] for path in before} == before


def test_a_stand_in_goes_on_where_the_release_does_not_come_back(served):
    def fail():
        served.systemd._stop(ONE)
        raise switch.Failure("systemctl restart: exit 1: Job failed.")

    served.systemd.fails[f"restart {ONE}"] = fail
    assert "1.0 did not start: " in served.deploy(**SETTING).failure
    assert (served.running(), served.answers()) == (["[PACK1_0]"], '{"version": "1.0"}')
    del served.systemd.fails[f"restart {ONE}"]
    done = served.deploy(**SETTING)
    assert done.failure is None
    assert served.running() == ["PACK1_0"]
    order = changing(served)
    assert order.index(f"start {ONE}") < order.index(f"stop {BESIDE}")


def test_a_stand_in_that_a_run_which_was_cut_has_left_is_ended(served):
    served.deploy(**SETTING)
    served.systemd.run(["systemctl", "start", BESIDE])
    assert served.running() == ["[PACK1_0]", "PACK1_0"]
    here = run.Run(served.minion(SETTING))
    assert here.steps == {"stop": f"{BESIDE} runs"}
    assert served.deploy(**SETTING).failure is None
    assert served.running() == ["PACK1_0"]


def test_a_stand_in_that_failed_is_cleared_away(served):
    served.deploy(**SETTING)
    served.systemd.state(BESIDE).active = "failed"
    assert BESIDE in run.Run(served.minion(SETTING)).host.leftovers
    assert served.deploy(**SETTING).failure is None
    assert served.systemd.state(BESIDE).active == "inactive"


def test_another_account_gets_no_stand_in(served):
    """Its start would give the state of what serves away."""
    served.has_account("other")
    assert served.deploy(**SETTING).failure is None
    assert f"restart {BESIDE}" not in served.systemd.calls
    assert f"restart {ONE}" in served.systemd.calls


def test_version_and_account_do_not_change_at_once(served):
    served.has_account("other")
    done = served.deploy("1.1")
    assert "user is 'globoapp' and version is '1.1': PACK1_0 runs with other, and could not write" in done.failure
    assert "deploy 1.1 with user other first, then set user: globoapp" in done.failure
    assert (served.running(), changing(served)) == (["PACK1_0"], [])
    served.has_account("globoapp")
    assert served.deploy("1.1").failure is None


def test_a_process_that_systemd_has_only_begun_has_no_account_yet(served):
    served.has_account("root")
    assert served.deploy("1.1").failure is None


def test_where_nothing_runs_both_may_change(served):
    served.systemd.run(["systemctl", "stop", ONE])
    served.has_account("other")
    assert served.deploy("1.1").failure is None


def test_a_candidate_gets_no_directory_of_what_serves():
    """Neither of its unit nor of a drop-in of the site: systemd would give it to the candidate's account."""
    candidate = units.release_unit(Settings(version="1.0"), CANDIDATE)
    for kind in ("State", "Cache", "Logs", "Configuration"):
        assert f"{kind}Directory=" not in candidate
        assert f"\n{kind}Directory=\n" in units.role_text(CANDIDATE)
        assert f"{kind}Directory=" not in units.role_text(STANDIN)


def test_the_drop_ins_of_a_site_hold_for_a_trial_and_a_stand_in(served):
    layout = served.layout
    limits = os.path.join(layout.drop_ins(), "limits.conf")
    with open(limits, "w") as handle:
        handle.write("[Service]\nLimitNOFILE=100\n")
    for role in (CANDIDATE, STANDIN):
        assert systemd.borrow_drop_ins(layout, "PACK1_0", role) is True
        assert sorted(os.listdir(layout.drop_ins(role))) == ["limits.conf", "zz-globoapp.conf"]
        assert os.readlink(os.path.join(layout.drop_ins(role), "limits.conf")) == limits
        assert systemd.borrow_drop_ins(layout, "PACK1_0", role) is False
    os.unlink(limits)
    assert systemd.borrow_drop_ins(layout, "PACK1_0", CANDIDATE) is True
    assert os.listdir(layout.drop_ins(CANDIDATE)) == ["zz-globoapp.conf"]
