"""Who is behind a finished rollout, and who is told to catch up."""

import pytest
from globolib.rollout import book as books
from globolib.rollout import catchup
from globolib.rollout import state as words
from globolib.rollout.book import Book

BEGAN, BEFORE, AFTER = "2026-11-28T16:00:00.000Z", "2026-11-28T15:00:00.000Z", "2026-11-28T17:00:00.000Z"


class Master:
    """A master with a rollout of 1.1; `told` is what servers were told."""

    def __init__(self, store, directory, phase=words.FINISHED, servers=None):
        self.store, self.book, self.told = store, Book(store, str(directory)), []
        meant = books.Meant("web*", "root")
        made = self.book.begun("1.1", ["web1", "web2"], meant, books.options({}))
        states = {"web1": words.DONE, "web2": words.SKIPPED, **(servers or {})}
        self.rollout = books.loaded({**made.record, "time": BEGAN, "phase": phase}).with_servers(
            ["web1"], state=states["web1"]
        )
        self.rollout = self.rollout.with_servers(["web2"], state=states["web2"])
        self.book.put(self.rollout)

    def line(self, name, time, version="1.0", result="success"):
        line = {"id": time, "time": time, "version": version, "result": result}
        self.store.put(f"deploys/{name}", time.replace(":", "-"), line)

    def report(self, name, version="1.0", wanted=True):
        matching = lambda rollout: ["web1", "web2", "web3"]  # noqa: E731
        tell = lambda *what: self.told.append(what)  # noqa: E731
        versions = {"globoapp": version}
        return catchup.catch_up(self.book, self.store, name, versions, matching, lambda app: wanted, tell)


@pytest.fixture
def master(store, tmp_path):
    return lambda *args, **kwargs: Master(store, tmp_path, *args, **kwargs)


def test_a_server_that_was_away_is_brought_to_it_once(master):
    here = master()
    here.line("web2", BEFORE)
    assert here.report("web2") == {"globoapp": "1.1"}
    assert here.told == [("web2", "state.apply", ["globoapp", {"__kwarg__": True, "pillar": {"version": "1.1"}}])]
    assert here.report("web2") == {}, "it is under way, or failed: not every minute"


@pytest.mark.parametrize(
    ("case", "name", "version", "wanted"),
    [
        ("it has it", "web2", "1.1", True),
        ("pillar does not ask", "web2", "1.0", False),
        ("nobody meant it", "db1", "1.0", True),
        ("it was moved since", "web2", "1.0", True),
        ("it failed there", "web1", "1.0", True),
        ("the rollout was stopped", "web2", "1.0", True),
        ("another is under way", "web2", "1.0", True),
    ],
)
def test_who_is_not_told(master, case, name, version, wanted):
    failed = {"web1": words.FAILED} if case == "it failed there" else None
    here = master(words.STOPPED if case == "the rollout was stopped" else words.FINISHED, failed)
    if case == "it was moved since":
        here.line(name, AFTER)
    held = here.book.hold(here.rollout) if case == "another is under way" else None
    assert (here.report(name, version, wanted), here.told) == ({}, [])
    if held:
        held.release()


def test_a_new_server_gets_what_the_fleet_has(master):
    assert master().report("web3", None) == {"globoapp": "1.1"}


def test_it_is_tried_again_but_not_for_ever(master, monkeypatch):
    here, now = master(), 1000.0
    monkeypatch.setattr(catchup.time, "time", lambda: now)
    for _ in range(10):
        here.report("web2")
        now += catchup.PAUSE + 1
    assert len(here.told) == catchup.MOST


def test_the_inventory_says_who_is_behind(master):
    here = master()
    here.line("web1", AFTER, "1.1")
    shown = {"web1": {"version": "1.1"}, "web2": {"version": "1.0"}, "web2/shop": {"host": "web2", "app": "shop"}}
    behind = catchup.versions_behind(here.book, shown, lambda rollout: [], here.store)
    assert behind == {"web2": {"version": "1.1", "rollout": here.rollout.id}}


def test_an_app_that_never_had_a_rollout_is_behind_nothing(master, store, tmp_path):
    here = master(words.NOT_BEGUN)
    assert catchup.versions_behind(here.book, {"web2": {"version": "1.0"}}, lambda rollout: [], here.store) == {}


@pytest.mark.parametrize("result", ["failed", "interrupted"])
def test_a_deploy_that_failed_has_moved_nothing(result):
    rollout = type("Rollout", (), {"version": "1.1", "time": BEGAN})
    assert catchup.is_behind(rollout, "1.0", [{"result": result, "time": AFTER}])
    assert not catchup.is_behind(rollout, "1.0", [{"result": "success", "time": AFTER}])
    assert not catchup.is_behind(rollout, "1.1", [])
