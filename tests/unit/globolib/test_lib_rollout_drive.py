"""A rollout from the command to its end: stored, ordered, cut, resumed; its servers answer by Salt's events."""

import dataclasses
import itertools
import json
import threading
import time

import pytest
from globolib.errors import Failure
from globolib.rollout import book as books
from globolib.rollout import command, events
from globolib.rollout import state as words
from globolib.rollout.fleet import Fleet
from rolloutworld import Desk
from standins import FAILED, WELL


@pytest.fixture
def desk(tmp_path):
    return lambda form="", **plan: Desk(tmp_path, plan, form)


def test_a_line_for_each_server_and_a_summary(desk):
    here = desk(web1="", web2="quiet", web3="")
    here.servers.has["web3"] = "1.1"
    answer = here.begin(batch=5)
    name = answer["rollout"]
    assert (answer["phase"], answer["servers"], answer["retcode"]) == (words.FINISHED, {"done": 2, "had it": 1}, 0)
    assert here.said == [
        f"[{name}] asking: asking 3 servers",
        "web3 1.1 had it",
        f"[{name}] staging: staging 1.1 on 2: nothing is switched yet",
        f"[{name}] rolling: web1 first, then 5 at once",
        "web1 1.0 -> 1.1 ok 2.0 s, 7 requests, 0 failed",
        "web2 1.0 -> 1.1 ok 2.0 s, 7 requests, 0 failed",
        f"[{name}] finished: every server has it",
    ]
    assert {f"globoapp/rollout/{name}", f"globoapp/rollout/{name}/web1"} <= set(here.fired)
    assert here.book.get(name).succeeded
    assert here.book.finished("globoapp").id == name and here.book.finished("shop") is None
    assert here.book.listed(5)[0]["servers"] == "3 of 3 have it"


def test_a_server_that_fails_is_told_with_its_log_and_what_to_type(desk):
    here = desk(web1="", web2="sick", web3="")
    answer = here.begin(batch=1)
    name = answer["rollout"]
    assert (answer["phase"], answer["retcode"]) == (words.STOPPED, 1)
    assert answer["without it"] == {"web2": "failed: 1.1 failed its trial: boom", "web3": "staged"}
    assert answer["to type"] == [
        f"salt-run globoapp.resume {name}    # go on; who has 1.1 is skipped",
        f"salt-run globoapp.revert {name}    # back to what they had: web1",
    ]
    assert ("web3",) not in [sent[0] for sent in here.servers.sent if sent[2:3] == ("globoapp",)]
    back = command.revert(here.master, name)
    assert (back["phase"], here.servers.has["web1"], back["retcode"]) == (words.WENT_BACK, "1.0", 0)
    assert "web1 1.1 -> 1.0 reverted" in here.said
    with pytest.raises(Failure, match="goes on with that"):
        command.resume(here.master, name)


def test_an_older_rollout_is_not_taken_up_over_a_newer_one(desk):
    here = desk(web1="", web2="")
    first = here.begin()["rollout"]
    here.book.put(dataclasses.replace(here.book.get(first), id="20200101-000000-aaaa"))
    here.book._store.drop(books.BANK, first)
    second = here.begin("1.2")["rollout"]
    for function in (command.resume, command.revert):
        with pytest.raises(Failure, match=f"rollout {second} has brought 1.2 to web1, web2 since then"):
            function(here.master, "20200101-000000-aaaa")
    assert here.servers.has == {"web1": "1.2", "web2": "1.2"}
    back = command.revert(here.master, second)
    assert (back["retcode"], here.servers.has["web1"]) == (0, "1.1")
    assert command.revert(here.master, "20200101-000000-aaaa")["retcode"] == 0
    assert here.servers.has == {"web1": "1.0", "web2": "1.0"}


def test_json_is_a_line_an_event(desk):
    here = desk("json", web1="", web2="unfit")
    here.begin()
    told = [json.loads(line) for line in here.said]
    assert [one["phase"] for one in told if "phase" in one] == ["asking", "staging", "not begun"]
    assert [(one["server"], one["state"]) for one in told if "server" in one] == [("web2", "cannot")]


def test_nobody_needs_to_read(desk):
    here = desk(web1="")
    silent = command.Master(here.book, lambda: here.servers, here.servers, lambda data, tag: None, None)
    assert command.begin(silent, "1.1", ["web1"], books.Meant("web1", "api"), {})["retcode"] == 0
    assert here.said == []


@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit(0)])
def test_ctrl_c_pauses_it_and_it_can_be_resumed(desk, ends):
    here = desk(web1="", web2="", web3="")
    here.servers.ends = ends
    here.servers.interrupt = lambda fun, arg: here.servers.has["web1"] == "1.1" and arg == ["globoapp"]
    answer = here.begin(batch=1)
    assert (answer["phase"], answer["retcode"]) == (words.PAUSED, 1)
    assert answer["why"] == "interrupted; web2 will go on by itself"
    here.servers.interrupt = None
    again = command.resume(here.master, answer["rollout"])
    assert (again["phase"], again["servers"]) == (words.FINISHED, {"done": 3})
    deployed = [sent[0] for sent in here.servers.sent if sent[2:3] == ("globoapp",)]
    assert deployed == [("web1",), ("web2",), ("web2",), ("web3",)]


def test_one_at_a_time_and_the_second_is_told(desk):
    here = desk(web1="")
    first = here.book.begun("1.1", ["web1"], books.Meant("web1", "ada"), books.options({}))
    held = here.book.hold(first)
    with pytest.raises(Failure, match=f"globoapp is being rolled out: {first.id} by ada, since "):
        here.begin()
    assert here.servers.sent == []
    with pytest.raises(Failure, match="there is no rollout nope; the last ones: none"):
        command.order(here.master, "nope", "stop")
    here.book.put(first)
    assert command.order(here.master, first.id, "pause") == {
        "rollout": first.id,
        "ordered": "pause",
        "still under way": [],
    }
    assert here.book.ordered(first.id) == "pause"
    held.release()
    with pytest.raises(Failure, match=f"rollout {first.id} is not under way: asking"):
        command.order(here.master, first.id, "stop")
    assert here.book.listed(5)[0]["phase"] == "cut while asking: resume it"
    assert command.resume(here.master, first.id)["phase"] == words.FINISHED, "an old order does not count"


def test_an_order_is_heard(desk):
    here = desk(web1="", web2="")
    here.servers.interrupt = lambda fun, arg: bool(
        arg == ["globoapp"] and here.book.order(here.book.all(1)[0].id, "stop")
    )
    answer = here.begin(batch=1)
    assert (answer["phase"], answer["without it"]) == (words.STOPPED, {"web2": "staged"})


def test_looking_on(desk):
    here = desk(web1="", web2="")
    name = here.begin()["rollout"]
    before = len(here.said)
    answer = command.watch(here.master, name)
    assert here.said[before:] == [
        "web1 1.0 -> 1.1 ok 2.0 s, 7 requests, 0 failed",
        "web2 1.0 -> 1.1 ok 2.0 s, 7 requests, 0 failed",
        f"[{name}] finished: every server has it",
    ]
    assert answer["retcode"] == 0


def test_looking_on_until_it_ends(desk):
    here = desk(web1="")
    rollout = here.book.begun("1.1", ["web1"], books.Meant("web1", "ada"), books.options({}))
    held = here.book.hold(rollout)
    here.book.put(rollout)

    def end():
        here.book.put(command.engine.resumed(rollout.with_servers(["web1"], state=words.DONE), 1.0))
        held.release()

    timer = threading.Timer(0.3, end)
    timer.start()
    command.watch(here.master, rollout.id)
    timer.join()
    assert f"[{rollout.id}] asking: asking 1 servers" in here.said


def test_what_it_would_do(desk):
    here = desk(web1="", web2="sick", web3="away")
    told = command.foretold(here.master, "1.1", ["web1", "web2", "web3"], books.Meant("web*", ""), {"batch": 2})
    assert told["servers"] == {
        "web1": ["it would be switched"],
        "web2": "cannot: 1.1 failed its trial: boom\nits log",
        "web3": "no answer: it would not begin",
    }
    assert (told["first"], told["then, 2 at once"]) == (["web1"], ["web2", "web3"])
    assert here.servers.sent == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"frist": 1}, "frist is unknown; there are: first, batch"),
        ({"first": 1.5}, "first is 1.5: a whole number from 0 to 10000"),
        ({"failures": True}, "failures is True: a whole number"),
        ({"batch": "25"}, "batch is '25': a whole number from 1, or a share such as 25%"),
        ({"batch": 0}, "batch is 0:"),
        ({"batch": "0%"}, "batch is '0%':"),
        ({"pause": -1}, "pause is -1: seconds from 0 to 86400"),
        ({"wait": "30"}, "wait is '30': seconds from 5 to 600"),
        ({"on_failure": "undo"}, "on_failure is 'undo': stop or rollback"),
        ({"skip_silent": "yes"}, "skip_silent is 'yes': True or False"),
        ({"first": -1, "on_failure": 1}, "first is -1: a whole number from 0 to 10000; on_failure is 1: stop or"),
    ],
)
def test_options_that_are_none(desk, given, said):
    here = desk(web1="")
    with pytest.raises(Failure) as told:
        here.begin(**given)
    assert str(told.value).startswith(said)
    assert here.servers.sent == []


@pytest.mark.parametrize(
    ("version", "servers", "said"), [(1.1, ["a"], "write it in quotes"), ("1.1", [], "no minion whose key")]
)
def test_what_cannot_be_rolled_out(desk, version, servers, said):
    here = desk(web1="")
    with pytest.raises(Failure, match=said):
        command.begin(here.master, version, servers, books.Meant("x", "root"), {})


@pytest.mark.parametrize("app", ["../x", "Shop", "", 7])
def test_an_app_that_has_no_name_of_one_makes_no_file(desk, tmp_path, app):
    here = desk(web1="")
    with pytest.raises(Failure, match="the name of an app"):
        command.begin(here.master, "1.1", ["web1"], books.Meant("x", "root", app), {})
    assert list(tmp_path.iterdir()) == []


def test_where_the_master_takes_no_jobs_it_is_tried_again(desk, monkeypatch):
    here = desk(web1="")
    down = iter([True, False, True, False])

    def connect():
        if next(down, False):
            raise RuntimeError("Salt request timed out. The master is not responding.")
        return here.servers

    clock = itertools.count(time.time(), 3.0)
    monkeypatch.setattr("globolib.rollout.drive.time.time", lambda: next(clock))
    master = command.Master(here.book, connect, here.servers, lambda data, tag: None, here.out)
    assert command.begin(master, "1.1", ["web1"], books.Meant("web1", "root"), {})["retcode"] == 0


@pytest.mark.parametrize(
    ("answer", "ok", "why"),
    [
        (WELL, True, ""),
        (FAILED, False, "1.1 failed its trial: boom\nits log"),
        ({"b": FAILED["b"]}, False, "One or more requisite failed: a"),
        (['The function "state.highstate" is running as PID 7'], None, "The function"),
        ({"a": {"result": False, "comment": "another deploy is under way on this host: x"}}, None, "another deploy"),
        ({"a": {"result": False, "comment": "why\n" + "x\n" * 500 + "last"}}, False, "why\nx\n"),
        (["Rendering SLS failed\x1b[31m"], False, "Rendering SLS failed"),
        ("Pillar failed to render", False, "Pillar failed to render"),
        (None, False, "None"),
    ],
)
def test_what_a_run_of_states_says(answer, ok, why):
    told = Fleet._returned(command.engine.Deploy, "web1", "7", answer)
    assert (told.ok, told.why[: len(why)]) == (ok, why)
    assert len(told.why.splitlines()) <= 41


@pytest.mark.parametrize("answer", ["'globoapp_minion.deployed' is not available.", None, {"version": 7, "lines": [1]}])
def test_a_server_that_has_none_of_this_code_has_nothing(answer):
    told = Fleet._returned(command.engine.Ask(["web1"]), "web1", "7", answer)
    assert (told.version, told.deploying, list(told.jobs), list(told.lines)) == (None, None, [], [])


RULES = {"deploy": "web*", "bad": 7}


@pytest.mark.parametrize(
    ("who", "servers", "said"),
    [
        ("root", ["web1"], "root may roll out to no server"),
        ("deploy", ["web1", "web2"], None),
        ("deploy", ["web1", "db1"], "deploy may roll out to web* only, and this is about db1"),
        ("bad", ["web1"], "bad may roll out to no server"),
        ("mallory\x1b[31m", ["web1"], "mallory may roll out to no server"),
    ],
)
def test_who_may_roll_out_to_whom(who, servers, said):
    matching = lambda target: ["web1", "web2"]  # noqa: E731
    if said is None:
        command.permit(who, RULES, servers, matching)
        return
    for rules in (RULES, None, []) if "no server" in said else (RULES,):
        with pytest.raises(Failure) as told:
            command.permit(who, rules, servers, matching)
        assert str(told.value).startswith(said)


def test_a_rollout_is_found_by_the_job_that_began_it(desk):
    here = desk(web1="")
    meant = books.Meant("web1", "deploy", jid="20261128164512229645")
    rollout = here.book.begun("1.1", ["web1"], meant, books.options({}))
    here.book.put(rollout)
    assert here.book.get("20261128164512229645").id == here.book.get(20261128164512229645).id == rollout.id
    with pytest.raises(Failure, match="there is no rollout 20261128164512229646"):
        here.book.get("20261128164512229646")


def test_on_a_terminal_a_table_is_drawn_again_and_again(desk, monkeypatch):
    here = desk(web1="", web2="away")
    here.out.isatty = lambda: True
    clock = itertools.count(time.time(), 1.0)
    monkeypatch.setattr("globolib.rollout.drive.time.time", lambda: next(clock))
    here.begin(wait=5)
    drawn = here.out.getvalue()
    assert "\x1b[2F\x1b[J" in drawn, "what was drawn is taken away"
    assert "  web2                     -        asked" in drawn
    assert drawn.endswith("not begun: nothing was switched: web2 (it has not answered for 5 s)\n")


@pytest.mark.parametrize(
    ("app", "pillar"),
    [
        ("globoapp", {"version": "1.1", "globoapp": {"release_command": False}}),
        ("shop", {"version": "1.1", "app": "shop", "globoapps": {"shop": {"release_command": False}}}),
    ],
)
def test_a_release_command_that_was_run_is_left_out(desk, app, pillar):
    here = desk(web1="")
    rollout = here.book.begun("1.1", ["web1"], books.Meant("web1", "root", app), books.options({}))
    sent = []
    here.servers.cmd_async = lambda tgt, fun, arg, tgt_type, kwarg: sent.append(kwarg["pillar"]) or "7"
    fleet = Fleet(lambda: here.servers, here.servers)
    fleet.carry_out(rollout, events.Deploy("web1", False))
    fleet.carry_out(rollout, events.Deploy("web1"))
    assert sent[0] == pillar and "release_command" not in str(sent[1])


def test_staging_tells_of_a_release_command():
    stage = events.Stage(["web1"])
    told = {"test_|-x_|-x_|-nop": {"result": True, "__id__": "globoapp 1.1 has a release command"}}
    assert Fleet._returned(stage, "web1", "7", told).has_command
    assert not Fleet._returned(stage, "web1", "7", WELL).has_command
