"""The state machine of a rollout, by scripts of events: each says what comes in, and what is sent then."""

import pytest
from globolib.rollout import engine
from globolib.rollout import state as words
from globolib.rollout.events import Answered, Deaf, Deploy, GoBack, Ordered, Recorded, Returned, Stage, Tick
from globolib.rollout.state import Options, Server, loaded
from rolloutworld import World, rolling, with_command


def test_from_its_beginning_to_its_end():
    world = World(4, batch=2)
    assert world.asked == ["web1", "web2", "web3", "web4"]
    assert world.answer().sent == [Stage(["web1", "web2", "web3", "web4"])]
    world.staged("web4")
    assert (world.sent, world.phase) == ([], words.PREPARING), "nothing switches before all can"
    assert world.staged().sent == [Deploy("web1")]
    assert world.line("web1", probe={"sent": 9, "failed": 0}, duration=2.5).sent == [Deploy("web2"), Deploy("web3")]
    assert world.line("web3").sent == [Deploy("web4")]
    world.line("web2").line("web4")
    assert (world.phase, world.rollout.why, world.sent) == (words.FINISHED, "every server has it", [])
    assert world.rollout.succeeded
    assert world.rollout.servers["web1"].line == {"id": "x", "duration": 2.5, "probe": {"sent": 9, "failed": 0}}
    assert {server.before for server in world.rollout.servers.values()} == {"1.0"}


def test_who_has_the_version_is_left_alone():
    world = World(3)
    world.has["web2"] = "1.1"
    assert world.answer().sent == [Stage(["web1", "web3"])]
    world.staged()
    world.line("web1")
    world.line("web3")
    assert (world.phase, world.states) == (words.FINISHED, "done had it done")
    assert World(2, has="1.1").answer().phase == words.FINISHED


def test_a_server_that_is_silent_at_the_start_stops_it_before_its_beginning():
    world = World(3, wait=30).answer("web1", "web3")
    world.take(Tick(), after=31)
    assert (world.phase, world.sent, world.states) == (words.NOT_BEGUN, [], "ready silent ready")
    assert world.rollout.why == "nothing was switched: web2 (it has not answered for 30 s)"


def test_or_it_is_skipped_by_name():
    world = World(3, wait=30, skip_silent=True).answer("web1", "web3")
    assert world.take(Tick(), after=31).sent == [Stage(["web1", "web3"])]
    world.staged()
    world.line("web1")
    world.line("web3")
    assert (world.phase, world.states) == (words.FINISHED, "done skipped done")
    assert world.rollout.why == "without web2 (it has not answered for 30 s)"
    assert not world.rollout.succeeded


def test_who_is_silent_is_asked_again():
    world = World(2).answer("web1")
    world.asked  # noqa: B018  what was asked so far
    world.take(Tick(), after=engine.ASK_AGAIN)
    assert world.asked == ["web2"]


def test_a_deploy_of_somebody_else_is_waited_for_and_then_named():
    world = World(2, wait=30).answer("web1").answer("web2", deploying="deploy of 1.2")
    assert world.phase == words.ASKING
    world.take(Tick(), after=31)
    assert world.rollout.why == "nothing was switched: web2 (another deploy is under way: deploy of 1.2)"
    world = World(2, wait=30).answer("web1").answer("web2", deploying="deploy of 1.2").answer("web2")
    assert world.phase == words.PREPARING


@pytest.mark.parametrize("how", ["refused", "silent", "gone", "endless"])
def test_nothing_switches_unless_all_can(how):
    world = World(3).answer().staged("web2")
    if how == "refused":
        world.returned("web2", False, "no room on the disk")
    elif how == "silent":
        world.take(Tick(), after=31)
    elif how == "gone":
        world.answer("web2").answer("web2")
    else:
        for _ in range(30):
            jid = world.rollout.servers["web2"].jid
            world.take(Answered("web2", "1.0", jobs=[jid]), after=25)
    assert (world.phase, world.states) == (words.NOT_BEGUN, "staged cannot staged")
    why = {"refused": "no room", "silent": "silent for", "gone": "nothing is known of its job", "endless": "not ready"}
    assert why[how] in world.rollout.why
    assert not any(isinstance(action, Deploy) for action in world.sent)


def test_staging_is_told_to_so_many_at_once():
    world = World(60).answer()
    assert [len(stage.servers) for stage in world.sent] == [engine.STAGED_AT_ONCE]
    world.staged()
    assert sum(len(one.servers) for one in world.sent if isinstance(one, Stage)) == engine.STAGED_AT_ONCE
    world.staged().staged()
    assert world.phase == words.ROLLING


def test_a_server_that_is_busy_with_other_states_is_told_again():
    world = World(1).answer().returned("web1", None, "state.highstate is running as PID 7")
    assert world.states == "ready"
    assert world.take(Tick(), after=engine.HOLD).sent[-1] == Stage(["web1"])
    world.staged().returned("web1", None, "another deploy is under way")
    assert world.states == "staged"
    assert world.take(Tick(), after=engine.HOLD).sent[-1] == Deploy("web1")


def test_but_not_for_ever():
    world = World(1, deadline=60).answer().staged()
    for _ in range(12):
        world.returned("web1", None, "another deploy is under way")
        world.take(Tick(), after=engine.HOLD)
    world.returned("web1", None, "another deploy is under way").take(Tick(), after=engine.HOLD)
    assert (world.phase, world.states) == (words.STOPPED, "failed")


def test_the_first_ones_alone_and_then_a_pause():
    world = rolling(5, first=2, pause=60, batch="100%")
    assert world.sent[-2:] == [Deploy("web1"), Deploy("web2")]
    world.line("web1")
    assert world.take(Tick(), after=20).sent == []
    world.line("web2")
    assert world.take(Tick(), after=59).sent == []
    assert world.take(Tick(), after=2).sent == [Deploy("web3"), Deploy("web4"), Deploy("web5")]


def test_a_failure_stops_it_when_what_is_under_way_has_ended():
    world = rolling(5, batch=2).line("web1")
    world.line("web2", "failed", failed=["1.1 failed its trial"])
    assert (world.phase, world.states) == (words.STOPPING, "done failed deploying staged staged")
    world.line("web3")
    assert (world.phase, world.states) == (words.STOPPED, "done failed done staged staged")
    assert world.rollout.why == "1 failed, and 0 may: web2 (1.1 failed its trial)"
    world.returned("web2", False, "1.1 failed its trial: it says\nand its log")
    assert world.rollout.servers["web2"].why.endswith("and its log"), "what comes late says more"


def test_so_many_may_fail_in_the_whole_of_it():
    world = rolling(4, batch=1, failures=1).line("web1").line("web2", "failed", failed=["sick"])
    world.line("web3").line("web4")
    assert (world.phase, world.states) == (words.FINISHED, "done failed done done")
    assert world.rollout.why == "without web2 (sick)"
    world = rolling(4, batch=1, failures=1).line("web1").line("web2", "failed").line("web3", "failed")
    assert (world.phase, world.states) == (words.STOPPED, "done failed failed staged")


def test_it_goes_back_newest_first_where_that_was_asked_for():
    world = rolling(5, batch=1, on_failure="rollback").line("web1")
    world.take(after=1)
    world.line("web2")
    world.take(after=1)
    assert world.sent[-1] == Deploy("web3")
    world.line("web3", "failed", failed=["sick"])
    assert (world.phase, world.sent) == (words.GOING_BACK, [GoBack("web2", "1.0")])
    assert world.line("web2", version="1.0").sent == [GoBack("web1", "1.0")]
    world.line("web1", version="1.0")
    assert (world.phase, world.states) == (words.WENT_BACK, "reverted reverted failed staged staged")
    assert "sick" in world.rollout.why


def test_after_a_release_command_going_back_is_asked_for():
    world = rolling(3, on_failure="rollback").line("web1", release_command={"exit": 0})
    world.line("web2", "failed", failed=["sick"])
    assert (world.phase, world.states) == (words.STOPPED, "done failed staged")
    assert world.rollout.why.endswith("Not gone back by itself, since a release command has run on web1")


def test_a_release_command_is_run_once_for_a_rollout_by_a_server_that_goes_alone():
    world = with_command(4, first=0, batch="100%")
    assert world.sent[-1:] == [Deploy("web1", True)], "also where all go at once"
    assert world.line("web1", release_command={"exit": 0}).sent == [Deploy(f"web{n}", False) for n in (2, 3, 4)]


def test_one_that_failed_is_run_again():
    world = with_command(3, first=0, batch="100%", failures=1)
    assert world.sent[-1] == Deploy("web1", True)
    assert world.line("web1", "failed", failed=["x"], release_command={"exit": 1}).sent == [Deploy("web2", True)]
    assert world.line("web2", release_command={"exit": 0}).sent == [Deploy("web3", False)]


def test_a_rollout_that_is_resumed_knows_that_it_was_run():
    world = with_command(3).line("web1", release_command={"exit": 0})
    world.take(Tick(), after=31)
    assert world.states == "done lost staged"
    world.rollout = engine.resumed(loaded(world.rollout.record), world.now)
    world.take(Tick()).answer()
    world.sent  # noqa: B018  what was sent so far
    for name in world.rollout.names(words.STAGING):
        world.take(Returned(name, world.rollout.servers[name].jid, True, has_command=True))
    assert [one for one in world.sent if isinstance(one, Deploy)] == [Deploy("web2", False)]


def test_a_person_may_have_it_go_back():
    world = rolling(2, batch=2).line("web1").line("web2")
    world.rollout = engine.reverted(world.rollout, world.now)
    world.take(Tick())
    assert (world.phase, world.states) == (words.GOING_BACK, "reverting reverting")
    world.returned("web2", False, "no room")
    world.line("web1", version="1.0")
    assert (world.phase, world.states) == (words.WENT_BACK, "reverted not reverted")
    world.rollout = engine.reverted(world.rollout, world.now)
    world.take(Tick()).line("web2", version="1.0")
    assert world.states == "reverted reverted"


def test_a_way_back_that_meets_another_run_is_told_again_but_not_for_ever():
    world = rolling(1, deadline=60).line("web1")
    world.rollout = engine.reverted(world.rollout, world.now)
    world.take(Tick())
    for _ in range(12):
        world.returned("web1", None, "another deploy is under way")
        assert world.states == "done"
        assert world.take(Tick(), after=engine.HOLD).sent[-1] == GoBack("web1", "1.0")
    world.returned("web1", None, "another deploy is under way")
    assert (world.phase, world.states) == (words.WENT_BACK, "not reverted")


def test_a_first_deploy_has_nothing_to_go_back_to():
    world = World(1, has=None).answer().staged().line("web1")
    world.rollout = engine.reverted(world.rollout, world.now)
    world.take(Tick())
    assert (world.phase, world.states) == (words.WENT_BACK, "not reverted")


def test_a_server_that_goes_silent_in_its_deploy_is_lost():
    world = rolling(2, wait=30).take(Tick(), after=31)
    assert (world.phase, world.states) == (words.STOPPED, "lost staged")
    assert world.rollout.why == "1 failed, and 0 may: web1 (silent for 30 s in its deploy)"


def test_a_line_that_comes_late_counts():
    world = rolling(3, wait=30, failures=1, batch=1).take(Tick(), after=31)
    assert world.states == "lost deploying staged"
    world.line("web1")
    assert world.states == "done deploying staged"
    world.line("web2").line("web3")
    assert world.rollout.succeeded


def test_one_that_answers_is_not_lost_before_its_deadline():
    world = rolling(1, wait=30, deadline=100)
    for _ in range(5):
        world.take(Answered("web1", "1.0", deploying="deploy of 1.1"), after=20)
    assert world.states == "deploying"
    world.take(Answered("web1", "1.0", deploying="deploy of 1.1"), after=20)
    assert (world.states, world.rollout.servers["web1"].why) == ("lost", "its deploy did not end in 100 s")


def test_a_job_that_vanished_is_unclear_and_pauses():
    world = rolling(2).answer("web1")
    assert world.states == "deploying staged", "its return may be on its way"
    world.answer("web1")
    assert (world.phase, world.states) == (words.PAUSED, "unclear staged")
    assert "what became of it is not clear: web1 (it answers and has 1.0" in world.rollout.why


def test_a_return_without_a_line_is_followed_by_a_question():
    world = rolling(1)
    world.asked  # noqa: B018  what was asked so far
    world.returned("web1")
    assert (world.asked, world.states) == (["web1"], "deploying")
    line = {"id": "x", "jid": world.rollout.servers["web1"].jid, "version": "1.1", "result": "success"}
    world.take(Answered("web1", "1.1", lines=[line]))
    assert (world.phase, world.rollout.servers["web1"].line["id"]) == (words.FINISHED, "x")


def test_what_others_deploy_is_not_its_own():
    world = rolling(1)
    world.take(Recorded("web1", {"id": "y", "jid": "other", "version": "1.1", "result": "success"}))
    world.take(Recorded("web9", {"id": "y", "jid": "other", "version": "1.1", "result": "success"}))
    world.take(Returned("web1", "other", False, "no"))
    assert world.states == "deploying"


def test_while_the_master_takes_no_jobs_nobody_is_lost():
    world = rolling(1, wait=30)
    for _ in range(10):
        world.take(Deaf(), Tick(), after=20)
    assert world.states == "deploying"
    assert world.line("web1").phase == words.FINISHED


@pytest.mark.parametrize(("word", "phase"), [("pause", words.PAUSED), ("stop", words.STOPPED)])
def test_a_person_stops_it(word, phase):
    world = rolling(3).take(Ordered(word))
    assert (world.phase, world.states) == (words.STOPPING, "deploying staged staged")
    world.line("web1")
    assert (world.phase, world.states, world.rollout.why) == (phase, "done staged staged", "a person wanted it")
    assert world.sent[-1] == Deploy("web1")
    last = rolling(1).take(Ordered(word)).line("web1")
    assert last.phase == words.FINISHED, "what was under way was all that was left"


@pytest.mark.parametrize("cut", ["deploying", "after its line", "failed", "lost", "unclear"])
def test_it_is_resumed_and_who_has_the_line_is_skipped(cut):
    world = rolling(3, batch=1).line("web1")
    jid = world.rollout.servers["web2"].jid
    line = {"id": "x", "jid": jid, "version": "1.1", "result": "success", "duration": 1.0}
    if cut == "failed":
        world.line("web2", "failed", failed=["sick"])
    elif cut == "lost":
        world.take(Tick(), after=31)
    elif cut == "unclear":
        world.answer("web2").answer("web2")
    world.sent  # noqa: B018  what was sent so far
    world.rollout = engine.resumed(loaded(world.rollout.record), world.now)
    world.take(Tick())
    world.answer("web1", "web3")
    if cut == "after its line":
        world.take(Answered("web2", "1.1", lines=[line]))
        assert world.rollout.servers["web2"].line["duration"] == 1.0
        assert [one for one in world.sent if isinstance(one, Stage)] == [Stage(["web3"])]
    else:
        failed = {**line, "result": "failed"}
        world.take(Answered("web2", "1.0", lines=[failed] if cut == "failed" else []))
        assert [one for one in world.sent if isinstance(one, Stage)] == [Stage(["web2", "web3"])]
    world.staged()
    for name in ("web2", "web3"):
        if name in world.rollout.names(words.DEPLOYING):
            world.line(name)
    assert (world.phase, world.states) == (words.FINISHED, "done done done")
    assert {server.before for server in world.rollout.servers.values()} == {"1.0"}, "what revert goes back to"


def test_what_comes_after_the_end_changes_nothing_but_what_is_known():
    world = rolling(2, wait=30).take(Tick(), after=31)
    world.line("web1")
    assert (world.phase, world.states) == (words.STOPPED, "done staged")
    assert not [one for one in world.sent if one == Deploy("web2")]


@pytest.mark.parametrize(("batch", "servers", "size"), [(3, 10, 3), ("25%", 50, 12), ("25%", 2, 1), ("100%", 7, 7)])
def test_how_many_at_once(batch, servers, size):
    assert Options(batch=batch).at_once(servers) == size


@pytest.mark.parametrize(
    ("why", "reason"),
    [("", ""), ("a\nb", "a"), ("To be put right:\n  - x is bad\n  - y", "To be put right: x is bad"), ("a:", "a:")],
)
def test_a_reason_is_a_sentence(why, reason):
    assert Server(why=why).reason == reason
