"""The runners of rollouts in Salt's own loader: what is typed, what is refused, what is stored."""

import pytest
from globolib.rollout.book import Meant
from salt.exceptions import CommandExecutionError
from watchmaster import Master


@pytest.fixture
def master(tmp_path, monkeypatch):
    """A Master; `begun` is what each rollout was begun with."""
    made, made.begun = Master(tmp_path), []
    runner = made.module("globoapp.rollout")
    # Salt's runner client packs them, and on 3006 they stay from a run before.
    monkeypatch.setattr(runner, "__user__", "", raising=False)
    monkeypatch.setattr(runner, "__jid__", "", raising=False)
    monkeypatch.setattr(runner, "_matching", lambda target, tgt_type: ["web1"] if target == "web*" else [])
    begin = lambda master, *what: made.begun.append(what) or {"retcode": 0}  # noqa: E731
    monkeypatch.setattr(runner.rolling, "begin", begin)
    return made


@pytest.mark.parametrize(
    ("typed", "parsed", "version"),
    [("version=1.10", 1.1, "1.10"), ("version=1.1", 1.1, "1.1"), ("1.20", 1.2, "1.20"), ("version=2.0", "2.0", "2.0")],
)
def test_a_version_is_what_was_typed(master, monkeypatch, typed, parsed, version):
    opts = {**master.opts, "__cli": "salt-run", "arg": ["target=web*", typed], "user": "root"}
    monkeypatch.setattr(master.module("globoapp.rollout"), "__opts__", opts)
    master.run("globoapp.rollout", parsed, "web*", first=2)
    assert master.begun == [(version, ["web1"], Meant("web*", "root"), {"first": 2})]


def test_a_number_that_nobody_typed_is_one(master, monkeypatch):
    opts = {**master.opts, "user": "api", "globoapp_rollout": {"api": "web*"}}
    monkeypatch.setattr(master.module("globoapp.rollout"), "__opts__", opts)
    master.run("globoapp.rollout", 1.1, "web*", __pub_user="x")
    assert master.begun[0][0] == 1.1, "and is refused with its explanation"
    assert master.begun[0][-1] == {}


@pytest.mark.parametrize(
    ("function", "words", "said"),
    [
        ("rollout", {"version": "1.1"}, "target is missing"),
        ("rollout", {"version": "1.1", "target": 7}, "target is missing"),
        ("resume", {"rollout": "nope"}, "there is no rollout nope"),
        ("revert", {"rollout": "../x"}, r"there is no rollout \.\./x"),
        ("pause", {"rollout": "nope"}, "there is no rollout nope"),
        ("stop", {"rollout": 7}, "there is no rollout 7"),
        ("watch", {"rollout": "nope"}, "there is no rollout nope"),
    ],
)
def test_what_is_refused(master, function, words, said):
    with pytest.raises(CommandExecutionError, match=said):
        master.run(f"globoapp.{function}", **words)
    assert master.begun == []
    assert master.run("globoapp.rollouts") == []


def test_who_comes_by_the_master_needs_an_entry(master):
    with pytest.raises(CommandExecutionError, match="may roll out to no server"):
        master.run("globoapp.rollout", "1.1", "web*")
    assert master.begun == []
