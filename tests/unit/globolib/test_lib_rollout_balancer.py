"""Load balancers in a rollout: whom they let go of they take back, whatever becomes of it."""

import dataclasses
import random

import pytest
from globolib.errors import Failure
from globolib.rollout import book as books
from globolib.rollout import command, engine
from globolib.rollout import state as words
from globolib.rollout.events import (
    Answered,
    Balanced,
    Deaf,
    Deploy,
    Drain,
    GoBack,
    Ordered,
    Stage,
    TakeBack,
    Tick,
)
from globolib.rollout.state import loaded
from rolloutworld import Desk, World

WAIT = 20


class Behind(World):
    """A World whose servers are behind the load balancers lb1 and lb2, but for `bare` ones."""

    def __init__(self, servers=3, bare=(), **options):
        super().__init__(servers, **options)
        for name in self.rollout.servers:
            if name not in bare:
                setting = {"minions": ("lb1", "lb2"), "backend": "globoapp", "server": name, "wait": WAIT}
                self.rollout = self.rollout.with_servers([name], balancer=setting)
        self.answer().staged()

    def balanced(self, name, ok=True, why="", minions=("lb1", "lb2")):
        """These load balancers have done what they were last told about a server."""
        action = Drain if self.rollout.servers[name].state == words.DRAINING else TakeBack
        for minion in minions:
            self.take(Balanced(name, action, minion, ok, why))
        return self

    def turn(self, after=0.0):
        return self.take(Tick(), after=after)

    @property
    def out(self):
        return self.rollout.out


def test_a_server_is_let_go_of_then_deploys_and_is_taken_back():
    world = Behind(2)
    assert world.sent == [Stage(["web1", "web2"]), Drain("web1")]
    assert (world.states, world.out) == ("draining staged", ["web1"]), "stored before it is sent"
    world.balanced("web1", minions=["lb1"])
    assert (world.sent, world.states) == ([], "draining staged"), "all of them are waited for"
    world.balanced("web1", minions=["lb2"])
    assert (world.sent, world.states) == ([Deploy("web1")], "deploying staged")
    assert world.line("web1").turn().sent == [TakeBack("web1", WAIT)]
    assert world.states == "returning staged"
    assert world.balanced("web1").sent == [Drain("web2")], "the next one only when this one is back"
    assert world.out == ["web2"]
    world.balanced("web2").line("web2").turn().balanced("web2")
    assert (world.phase, world.states, world.out) == (words.FINISHED, "done done", [])


def test_one_without_a_load_balancer_beside_one_that_has():
    world = Behind(2, bare=["web1"])
    assert world.sent[-1] == Deploy("web1")
    assert world.line("web1").sent == [Drain("web2")]


def test_a_batch_counts_those_that_are_with_their_load_balancers():
    world = Behind(5, batch=2).balanced("web1").line("web1").turn().balanced("web1")
    assert world.states == "done draining draining staged staged"
    world.balanced("web2").turn()
    assert world.states == "done deploying draining staged staged"
    world.line("web2").turn()
    assert world.states == "done returning draining staged staged"


# What happens in its deploy, and what it is afterwards.
ENDS = {
    "failed": (lambda world: world.line("web1", "failed", failed=["sick"]), words.FAILED, words.STOPPED),
    "lost": (lambda world: world.turn(after=31), words.LOST, words.STOPPED),
    "unclear": (lambda world: world.answer("web1").answer("web1"), words.UNCLEAR, words.PAUSED),
    "had it": (lambda world: world.take(Answered("web1", "1.1")), words.DONE, None),
}


@pytest.mark.parametrize("how", ENDS)
def test_it_is_taken_back_whatever_becomes_of_it(how):
    happens, state, phase = ENDS[how]
    world = Behind(2).balanced("web1")
    world.sent  # noqa: B018  what was sent so far
    happens(world).turn()
    # Only who has just deployed has to be found well: a machine without power must not be waited for.
    assert world.sent == [TakeBack("web1", WAIT if state == words.DONE else 0)]
    assert (world.rollout.servers["web1"].state, world.rollout.servers["web2"].state) == ("returning", "staged")
    world.balanced("web1")
    assert world.rollout.servers["web1"].state == state
    assert "web1" not in world.out
    if phase:
        assert (world.phase, world.states.split()[1]) == (phase, "staged")
        assert not [one for one in world.sent if isinstance(one, Drain)]


def test_a_line_that_comes_while_it_is_taken_back_counts():
    world = Behind(1).balanced("web1").turn(after=31)
    assert world.rollout.servers["web1"].then == words.LOST
    world.line("web1").balanced("web1")
    assert (world.phase, world.states) == (words.FINISHED, "done")


def test_a_failure_stops_the_others_before_it_is_back():
    world = Behind(4, batch=2).balanced("web1").line("web1").turn().balanced("web1")
    world.balanced("web2").line("web2", "failed", failed=["sick"]).turn()
    assert (world.phase, world.states) == (words.STOPPING, "done returning draining staged")
    world.sent  # noqa: B018  what was sent so far
    world.balanced("web3").turn()
    assert world.states == "done returning returning staged", "and whoever is out already is not deployed"
    assert [one for one in world.sent if isinstance(one, (Deploy, Drain))] == []
    world.balanced("web2").turn().balanced("web3").turn()
    assert (world.phase, world.states, world.out) == (words.STOPPED, "done failed staged staged", [])


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("HAProxy has no server web1", "lb2: HAProxy has no server web1"),
        (None, "lb2: it has not answered for 50 s"),
    ],
)
def test_a_load_balancer_that_does_not_let_go_stops_it_before_the_deploy(says, why):
    world = Behind(2).balanced("web1", minions=["lb1"])
    world.sent  # noqa: B018  what was sent so far
    if says:
        world.balanced("web1", False, says, ["lb2"]).turn()
    else:
        world.turn(after=WAIT + 31).turn()
    assert world.sent == [TakeBack("web1", 0)], "lb1 has let go of it"
    world.balanced("web1")
    assert (world.phase, world.states, world.out) == (words.STOPPED, "failed staged", [])
    assert world.rollout.why == f"1 failed, and 0 may: web1 ({why})"


@pytest.mark.parametrize("silent", [False, True])
def test_one_that_does_not_take_it_back_is_told_and_stops_it(silent):
    world = Behind(2).balanced("web1").line("web1").turn().balanced("web1", minions=["lb1"])
    if silent:
        world.turn(after=WAIT + 31)
    else:
        world.balanced("web1", False, "HAProxy gives globoapp/web1 no requests: DOWN", ["lb2"])
    assert (world.phase, world.states, world.out) == (words.STOPPED, "not back staged", ["web1"])
    said = "it has not answered for 50 s" if silent else "HAProxy gives globoapp/web1 no requests: DOWN"
    assert world.rollout.why == f"1 failed, and 0 may: web1 (not taken back by lb2: {said})"
    assert not world.rollout.succeeded
    # Resumed: taken back first, then it is done, and the other one deploys.
    world.sent  # noqa: B018  what was sent so far
    world.rollout = engine.resumed(loaded(world.rollout.record), world.now)
    assert world.turn().sent == [TakeBack("web1", 0)]
    world.balanced("web1").answer().staged()
    assert (world.states, world.sent[-1]) == ("done draining", Drain("web2"))


def test_one_that_failed_and_is_not_taken_back_says_both():
    world = Behind(2).balanced("web1").line("web1", "failed", failed=["sick\nits log"]).turn()
    world.balanced("web1", False, "no", ["lb1", "lb2"])
    why = world.rollout.servers["web1"].why
    assert why == "sick; not taken back by lb1: no; lb2: no\nits log"
    assert (world.states, world.out) == ("failed staged", ["web1"])


def test_on_resume_nothing_begins_while_one_is_still_out():
    world = Behind(2).balanced("web1")
    world.rollout = engine.resumed(loaded(world.rollout.record), world.now)
    world.turn().answer("web2")
    assert world.phase == words.ASKING
    world.balanced("web1", False, "no", ["lb1"]).balanced("web1", minions=["lb2"])
    assert (world.phase, world.states) == (words.NOT_BEGUN, "cannot ready")
    assert world.rollout.why == "nothing was switched: web1 (not taken back by lb1: no)"


@pytest.mark.parametrize("cut", ["draining", "drained", "deploying", "returning", "not back"])
def test_who_is_out_when_it_is_cut_is_taken_back_by_resume(cut):
    world = Behind(2)
    if cut != "draining":
        world.balanced("web1")
    if cut in ("returning", "not back"):
        world.line("web1").turn()
    if cut == "not back":
        world.balanced("web1", False, "no")
    if cut == "drained":
        world.rollout = world.rollout.with_servers(["web1"], state=words.DRAINED)
    world.sent  # noqa: B018  what was sent so far
    world.rollout = engine.resumed(loaded(world.rollout.record), world.now)
    world.turn()
    assert (world.sent, world.rollout.servers["web1"].state) == ([TakeBack("web1", 0)], "returning")
    assert world.balanced("web1").asked == ["web1"], "at once, and not before"
    world.answer().staged()
    while world.phase == words.ROLLING:
        for name in world.rollout.names(words.DRAINING, words.RETURNING):
            world.balanced(name)
        for name in world.rollout.names(words.DEPLOYING):
            world.line(name)
        world.turn()
    assert (world.phase, world.states, world.out) == (words.FINISHED, "done done", [])


@pytest.mark.parametrize("word", ["pause", "stop"])
def test_an_order_lets_no_deploy_begin_and_leaves_nobody_out(word):
    world = Behind(2).take(Ordered(word))
    world.sent  # noqa: B018  what was sent so far
    world.balanced("web1").turn()
    assert world.sent == [TakeBack("web1", 0)]
    world.balanced("web1")
    assert (world.phase in words.RESUMABLE, world.states, world.out) == (True, "staged staged", [])


def test_where_the_master_takes_no_jobs_nothing_is_lost():
    world = Behind(1).take(Balanced("web1", Drain, "", None, "the master takes no jobs"))
    assert (world.states, world.out) == ("staged", [])
    world.sent  # noqa: B018  what was sent so far
    assert world.turn(after=5).sent == [Drain("web1")]
    world.balanced("web1").line("web1").turn()
    world.sent  # noqa: B018  what was sent so far
    world.take(Deaf(), Balanced("web1", TakeBack, "", None, "the master takes no jobs"))
    assert world.turn(after=5).sent == [TakeBack("web1", WAIT)]
    assert world.balanced("web1").phase == words.FINISHED


def test_one_that_is_busy_with_other_states_is_back_meanwhile():
    world = Behind(1).balanced("web1").returned("web1", None, "state.highstate is running as PID 7").turn()
    assert world.states == "returning"
    world.balanced("web1")
    assert world.states == "staged"
    assert world.turn(after=5).sent[-1] == Drain("web1")


def test_what_nobody_waits_for_changes_nothing():
    world = Behind(1).balanced("web1")
    before = world.rollout
    world.take(Balanced("web1", Drain, "lb1", True), Balanced("web1", TakeBack, "lb1", True))
    world.take(Balanced("web9", Drain, "lb1", True))
    assert world.rollout == before
    world.line("web1").turn().take(Balanced("web1", TakeBack, "web1", True), Balanced("web1", TakeBack, "lb3", True))
    assert world.states == "returning"


def test_going_back_lets_nobody_go_and_takes_back_who_is_out():
    world = Behind(3, batch=1).balanced("web1").line("web1").turn().balanced("web1").turn(after=1).balanced("web2")
    assert world.states == "done deploying staged"
    settled = command._settled(loaded(world.rollout.record))
    world.sent  # noqa: B018  what was sent so far
    world.rollout = engine.reverted(settled, world.now)
    world.turn().line("web2", version="1.0").turn().line("web1", version="1.0")
    assert world.sent == [GoBack("web2", "1.0"), TakeBack("web2", 0), GoBack("web1", "1.0")]
    assert world.phase == words.GOING_BACK
    world.balanced("web2")
    assert (world.phase, world.states, world.out) == (words.WENT_BACK, "reverted reverted staged", [])


def test_going_back_from_a_server_that_was_not_taken_back():
    world = Behind(2).balanced("web1").line("web1").turn().balanced("web1", False, "no")
    assert world.states == "not back staged"
    world.rollout = engine.reverted(loaded(world.rollout.record), world.now)
    world.turn().line("web1", version="1.0").turn().balanced("web1", False, "no")
    assert (world.phase, world.states, world.out) == (words.WENT_BACK, "reverted staged", ["web1"])
    assert "not taken back by lb1: no" in world.rollout.servers["web1"].why


def test_going_back_by_itself():
    world = Behind(3, batch=1, on_failure="rollback").balanced("web1").line("web1").turn().balanced("web1")
    world.balanced("web2").line("web2", "failed", failed=["sick"]).turn().balanced("web2").turn()
    assert world.sent[-1] == GoBack("web1", "1.0")
    world.line("web1", version="1.0")
    assert (world.phase, world.states, world.out) == (words.WENT_BACK, "reverted failed staged", [])


def walked(dice):
    """A World that has gone a way of its own."""
    batch, failures, way = dice.choice([1, 3]), dice.choice([0, 3]), dice.choice(["stop", "rollback"])
    world = Behind(3, batch=batch, failures=failures, on_failure=way)
    happens = {
        "well": world.line,
        "well too": world.line,
        "failed": lambda name: world.line(name, "failed", failed=["x"]),
        "busy": lambda name: world.returned(name, None, "busy"),
        "refused": lambda name: world.returned(name, False, "x"),
        "an answer": world.answer,
        "silent": lambda name: world.turn(after=31),
        "stopped": lambda name: world.take(Ordered("stop")),
    }
    for _ in range(80):
        name = dice.choice(list(world.rollout.servers))
        server = world.rollout.servers[name]
        if world.phase in words.ENDED:
            break
        if server.pending and dice.random() < 0.8:
            world.balanced(name, dice.random() < 0.9, "no", [dice.choice(server.pending)])
        elif server.state == words.DEPLOYING:
            happens[dice.choice(list(happens))](name)
        elif server.state == words.REVERTING:
            world.line(name, version="1.0")
        world.turn(after=dice.choice([0, 1, 6]))
    return world


def test_whatever_happens_nobody_is_left_out_unnoticed():
    """Random walks: who is out at the end of one was not taken back when that was asked for, and it is told."""
    phases = set()
    for seed in range(150):
        world = walked(random.Random(seed))
        phases.add(world.phase)
        for name in world.out if world.phase in words.ENDED else ():
            assert "not taken back by lb" in world.rollout.servers[name].why, (seed, world.states)
    assert phases >= {words.FINISHED, words.STOPPED, words.WENT_BACK}


# By Salt's client and events.


class Proxies(Desk):
    """A Desk whose servers are behind lb1, which answers what `says` has for a function."""

    def __init__(self, directory, plan, setting=None, says=None):
        super().__init__(directory, plan)
        setting = {"minions": ["lb1"], "wait": 1} if setting is None else setting
        self.told, self.says = [], says or {}
        self.master = dataclasses.replace(
            self.master, balancer=lambda server, app: setting, minions=lambda: ["lb1", *plan]
        )
        send = self.servers.cmd_async

        def cmd_async(tgt, fun, arg, **kwargs):
            if not fun.startswith("globoapp_balancer."):
                return send(tgt, fun, arg, **kwargs)
            self.told.append((tuple(tgt), fun, *arg))
            jid = str(next(self.servers.jids))
            self.servers._return("web2", jid, {"comment": "I am no load balancer"})
            answer = self.says.get(fun, {"comment": "well", "drained": True, "sessions": 0})
            self.servers._return("lb1", jid, answer)
            return jid

        self.servers.cmd_async = cmd_async


def test_the_jobs_of_load_balancers(tmp_path):
    here = Proxies(tmp_path, {"web1": "", "web2": ""})
    assert here.begin()["phase"] == words.FINISHED
    both = [(("lb1",), f"globoapp_balancer.{function}", "globoapp") for function in ("drain", "ready")]
    assert here.told == [(*job, name, 1) for name in ("web1", "web2") for job in both]
    assert here.said[-2].startswith("web2 1.0 -> 1.1 ok")


def test_a_dry_run_names_them(tmp_path):
    here = Proxies(tmp_path, {"web1": "", "web2": ""})
    told = command.foretold(here.master, "1.1", ["web1", "web2"], books.Meant("web*", "root"), {})
    assert (told["taken out of"], here.told) == ({"web1": "lb1", "web2": "lb1"}, [])


def test_one_that_keeps_its_requests_says_so_in_its_line(tmp_path):
    last = {"drained": False, "sessions": 3, "comment": "it is the last"}
    here = Proxies(tmp_path, {"web1": ""}, says={"globoapp_balancer.drain": last})
    here.begin()
    assert here.said[-2] == "web1 1.0 -> 1.1 ok 2.0 s, 7 requests, 0 failed; lb1: it is the last"


def test_what_a_load_balancer_says_is_told_and_what_to_type(tmp_path):
    here = Proxies(tmp_path, {"web1": ""}, says={"globoapp_balancer.ready": "ERROR: HAProxy has no server web1"})
    answer = here.begin()
    assert (answer["phase"], answer["servers"]) == (words.STOPPED, {"not back": 1})
    assert answer["why"] == "1 failed, and 0 may: web1 (not taken back by lb1: HAProxy has no server web1)"
    assert "salt -L lb1 globoapp_balancer.ready globoapp web1    # web1 may get no requests" in answer["to type"]
    assert "web1 1.0 -> 1.1 not back: not taken back by lb1: HAProxy has no server web1" in here.said


def test_on_ctrl_c_they_are_told_to_take_it_back(tmp_path):
    here = Proxies(tmp_path, {"web1": ""})
    here.servers.interrupt = lambda fun, arg: arg == ["globoapp"]
    assert here.begin()["phase"] == words.PAUSED
    assert here.told[-1] == (("lb1",), "globoapp_balancer.ready", "globoapp", "web1", 0)
    here.servers.interrupt = None
    assert command.resume(here.master, here.book.all(1)[0].id)["phase"] == words.FINISHED
    assert here.book.all(1)[0].out == []


@pytest.mark.parametrize(
    ("setting", "words_"),
    [
        ({"minions": []}, r"pillar of web1: globoapp:balancer:minions is \[\]: a list"),
        ({"minions": ["lb9"]}, "pillar of web1: globoapp:balancer:minions has lb9: no minion whose key is accepted"),
    ],
)
def test_what_is_wrong_with_the_setting_is_told_before_anything_is_sent(tmp_path, setting, words_):
    here = Proxies(tmp_path, {"web1": "", "web2": ""}, setting)
    with pytest.raises(Failure, match=words_):
        here.begin()
    assert (here.servers.sent, here.told) == ([], [])
