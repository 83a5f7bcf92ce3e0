"""What a person on the master can do with rollouts: begin one, look on, order, resume, revert."""

import dataclasses
import io
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import IO, Any

from globolib import apps, text
from globolib import balancer as balancers
from globolib import states as runs
from globolib.errors import Failure
from globolib.rollout import book as books
from globolib.rollout import engine, show
from globolib.rollout import state as words
from globolib.rollout.book import Book, Meant
from globolib.rollout.drive import drive
from globolib.rollout.fleet import Bus, Client, Fleet
from globolib.rollout.state import Rollout

Matching = Callable[[str], Collection[str]]

# How often watch looks.
LOOK = 0.5


@dataclasses.dataclass(frozen=True)
class Master:
    """
    What is needed of Salt on the master.

    book
        The stored rollouts.
    connect
        Makes a client.
    bus
        The event bus, subscribed to.
    fire
        Sends an event: ``fire(data, tag)``.
    out
        Where to say what happens; None where nobody reads (salt-api).
    form
        How: ``json``, or for people.
    balancer
        The setting ``balancer`` of an app in the pillar of a server: ``balancer(server, app)``.
    minions
        All whose key is accepted.
    """

    book: Book
    connect: Callable[[], Client]
    bus: Bus
    fire: Callable[[Mapping[str, Any], str], object]
    out: IO[str] | None = sys.stdout
    form: str = ""
    balancer: Callable[[str, str], Any] = lambda server, app: None
    minions: Callable[[], Collection[str]] = lambda: ()

    def teller(self) -> show.Lines:
        """What says what happens."""
        if self.out is None:
            return show.Lines(io.StringIO())
        if self.form == "json":
            return show.Json(self.out)
        return show.Table(self.out) if self.out.isatty() else show.Lines(self.out)


def permit(who: str, rules: Any, servers: Collection[str], matching: Matching) -> None:
    """
    Raises Failure unless the master's setting ``globoapp_rollout`` gives a user a target that covers these servers.

    matching
        The servers that a target matches.
    """
    target = rules.get(who) if isinstance(rules, Mapping) else None
    if not isinstance(target, str):
        raise Failure(f"{text.line(who, 80)} may roll out to no server: see the master's setting globoapp_rollout")
    beyond = sorted(set(servers) - set(matching(target)))
    if beyond:
        raise Failure(f"{text.line(who, 80)} may roll out to {target} only, and this is about {', '.join(beyond[:5])}")


def _answer(rollout: Rollout, back: bool = False) -> dict[str, Any]:
    """
    The summary with a return code: 0 where every server has the version or, where a person wanted them ``back``, where
    every one went back.
    """
    well = not rollout.names(words.NOT_REVERTED, words.NOT_BACK) if back else rollout.succeeded
    return {**show.summary(rollout), "retcode": 0 if well else 1}


def _driven(master: Master, rollout: Rollout, back: bool = False) -> dict[str, Any]:
    """Drive a rollout, whose lock is held, to its end."""
    teller = master.teller()

    def tell(before: Rollout, after: Rollout) -> None:
        teller.tell(before, after)
        for name, server in show.changes(before, after):
            told = {"version": after.version, **show.event(name, server)}
            master.fire(told, f"globoapp/rollout/{after.id}/{name}")
        if before.phase != after.phase:
            master.fire(
                {"version": after.version, "phase": after.phase, "why": after.why}, f"globoapp/rollout/{after.id}"
            )

    master.book.put(rollout)
    teller.tell(rollout, rollout)
    fleet = Fleet(master.connect, master.bus)
    ended = drive(rollout, fleet, master.book.put, tell, lambda: master.book.ordered(rollout.id))
    return _answer(ended, back)


def begin(
    master: Master, version: Any, servers: Collection[str], meant: Meant, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Roll a version out; returns the summary. Raises Failure before anything is sent."""
    rollout = _with_balancers(master, master.book.begun(version, servers, meant, books.options(given)))
    with master.book.hold(rollout):
        return _driven(master, rollout)


def _with_balancers(master: Master, rollout: Rollout) -> Rollout:
    """The same, with what pillar says of the load balancers of each server. Raises Failure with all that is wrong."""
    problems, known = [], set(master.minions())
    for name in rollout.servers:
        section = master.balancer(name, rollout.app)
        wrong = [] if section is None else balancers.problems(section)
        setting = None if wrong else balancers.of(section, name)
        strange = sorted(set(setting.minions) - known) if setting else []
        if strange:
            wrong = [f"globoapp:balancer:minions has {', '.join(strange)}: no minion whose key is accepted"]
        problems += [f"pillar of {name}: {apps.place(rollout.app)}{one.removeprefix(apps.DEFAULT)}" for one in wrong]
        if setting:
            rollout = rollout.with_servers([name], balancer=dataclasses.asdict(setting))
    if problems:
        raise Failure("; ".join(problems[:10]))
    return rollout


def resume(master: Master, name: Any) -> dict[str, Any]:
    """Go on with a rollout that was paused, stopped or cut."""
    with master.book.hold(master.book.get(name)):
        rollout = master.book.get(name)  # as it is now that nobody else drives it
        if rollout.phase in (words.GOING_BACK, words.WENT_BACK):
            raise Failure(f"rollout {name} {rollout.phase}: salt-run globoapp.revert {name} goes on with that")
        _is_last(master.book, rollout)
        return _driven(master, engine.resumed(rollout, time.time()))


def revert(master: Master, name: Any) -> dict[str, Any]:
    """Bring the servers of a rollout back to what they had."""
    with master.book.hold(master.book.get(name)):
        rollout = master.book.get(name)
        _is_last(master.book, rollout)
        if rollout.phase not in words.ENDED and rollout.phase != words.GOING_BACK:
            rollout = _settled(rollout)
        return _driven(master, engine.reverted(rollout, time.time()), back=True)


def _is_last(book: Book, rollout: Rollout) -> None:
    """Raises Failure where a later rollout has brought another version to servers of this one."""
    for later in book.all(books.KEEP):
        moved = set(later.names(words.DONE, words.DEPLOYING)) & set(rollout.servers)
        if later.app == rollout.app and later.id > rollout.id and later.version != rollout.version and moved:
            raise Failure(
                f"rollout {later.id} has brought {later.version} to {', '.join(sorted(moved)[:5])} since then: go on "
                f"with that one (salt-run globoapp.revert {later.id}), or begin another"
            )


def _settled(rollout: Rollout) -> Rollout:
    """Of a rollout that was cut: nobody knows what came of those that were busy, so they are to go back as well."""
    busy = [name for name in rollout.names(words.DEPLOYING) if rollout.servers[name].before]
    return rollout.with_servers(busy, state=words.DONE)


def order(master: Master, name: Any, what: str) -> dict[str, Any]:
    """Have a rollout ``pause`` or ``stop``: what is under way comes to its end, and no more begin."""
    book, rollout = master.book, master.book.get(name)
    if not book.is_driven(rollout):
        raise Failure(f"rollout {name} is not under way: {rollout.phase}. {'; '.join(show.next_steps(rollout))}")
    book.order(rollout.id, what)
    busy = rollout.names(*words.BUSY, *words.BALANCED)
    return {"rollout": rollout.id, "ordered": what, "still under way": busy}


def watch(master: Master, name: Any) -> dict[str, Any]:
    """Say what happens in a rollout that another process drives, until it ends; returns the summary."""
    teller, seen = master.teller(), None
    for rollout in _looks(master.book, name):
        if seen is None:
            asked = rollout.with_servers(rollout.servers, state=words.ASKED)
            teller.tell(dataclasses.replace(asked, phase=""), rollout)
        elif rollout != seen:
            teller.tell(seen, rollout)
        seen = rollout
    return _answer(rollout)


def _looks(book: Book, name: Any) -> Iterator[Rollout]:
    """The rollout as it is now, again and again; last as it is when nobody drives it."""
    rollout = book.get(name)
    while True:
        driven = book.is_driven(rollout)
        yield book.get(rollout.id)
        if not driven:
            return
        time.sleep(LOOK)


def foretold(
    master: Master, version: Any, servers: Collection[str], meant: Meant, given: Mapping[str, Any]
) -> dict[str, Any]:
    """``test=True``: who would go when, and what each would do."""
    options = books.options(given)
    rollout = _with_balancers(master, master.book.begun(version, servers, meant, options))
    returns = master.connect().cmd(
        list(servers),
        "state.apply",
        ["globoapp"],
        timeout=options.wait,
        tgt_type="list",
        kwarg={"pillar": rollout.pillar, "test": True},
    )
    each = {name: _would(returns.get(name)) for name in rollout.servers}
    moving = [name for name, told in each.items() if told != "nothing"]
    first, rest = moving[: options.first], moving[options.first :]
    behind = {name: ", ".join(one.balancers) for name, one in rollout.servers.items() if one.balancers}
    return {
        "version": version,
        "servers": each,
        **({"taken out of": behind} if behind else {}),
        "first": first,
        f"then, {options.at_once(len(moving))} at once": rest,
        "retcode": 0,
    }


def _would(states: Any) -> Any:
    """What a dry run of the states says a server would do."""
    if states in (None, False):
        return "no answer: it would not begin"
    if not isinstance(states, Mapping):
        return f"cannot: {states}"
    planned = [str(each.get("comment")).partition("\n")[0] for each in runs.ordered(states) if each.get("changes")]
    reasons = runs.reasons(states)
    return f"cannot: {reasons[0]}" if reasons else planned or "nothing"
