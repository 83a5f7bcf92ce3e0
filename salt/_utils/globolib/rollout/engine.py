"""
The state machine of a rollout: state + event + now -> state + actions. Pure: no I/O, no clock of its own.

What it decides is in three steps: :func:`_heard` takes an event in, :func:`_timed` what did not come in time, and
:func:`_next` what is to be done. Times are seconds since the epoch. Success is a line in the server's ledger.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from globolib.ledger import SUCCESS
from globolib.rollout import balancing
from globolib.rollout import state as words
from globolib.rollout.balancing import HOLD, Work
from globolib.rollout.events import (
    Action,
    Answered,
    Ask,
    Balanced,
    Deaf,
    Deploy,
    Drain,
    Event,
    GoBack,
    Ordered,
    Recorded,
    Returned,
    Sent,
    Stage,
    Tick,
)
from globolib.rollout.state import Rollout, Server

# So many are staged at once: each fetches the artifact from the master.
STAGED_AT_ONCE = 25
# Seconds between two questions to a server that is silent, or whose deploy is under way.
ASK_AGAIN = 5
# So often must a server have neither line nor job before that is believed: a return may be on its way.
GONE = 2


def advance(rollout: Rollout, events: Sequence[Event], now: float) -> tuple[Rollout, list[Action]]:
    """What becomes of a rollout, and what is to be done. One that has ended hears what comes late, and does nothing."""
    work = Work(rollout, now)
    for event in events:
        _heard(work, event)
    if work.rollout.phase not in words.ENDED:
        _timed(work)
        before = None
        while before != work.rollout.phase and work.rollout.phase not in words.ENDED:
            before = work.rollout.phase
            _next(work)
    return work.rollout, work.actions


def resumed(rollout: Rollout, now: float) -> Rollout:
    """The same rollout from its beginning: each server is asked anew, and who has the line is skipped."""
    again = rollout.with_servers(
        rollout.servers, state=words.ASKED, since=now, heard=0.0, asked=0.0, hold=0.0, began=0.0, gone=0, why=""
    )
    again = balancing.returning(again, dict.fromkeys(rollout.out, words.ASKED), now)
    return dataclasses.replace(again, phase=words.ASKING, since=now, ordered="", why="")


def reverted(rollout: Rollout, now: float) -> Rollout:
    """The same rollout on its way back; what a cut has left half way is told again."""
    again = rollout.with_servers(
        rollout.names(words.REVERTING, words.NOT_REVERTED, words.NOT_BACK), state=words.DONE, since=now, gone=0
    )
    half = {words.DRAINING: words.STAGED, words.DRAINED: words.STAGED, words.DEPLOYING: words.UNCLEAR}
    others = {name: again.servers[name] for name in again.out if again.servers[name].state != words.DONE}
    then = {name: one.then or half.get(one.state, one.state) for name, one in others.items()}
    again = balancing.returning(again, then, now)
    return dataclasses.replace(again, phase=words.GOING_BACK, since=now, ordered="", why="a person wanted it")


# What comes in.


def _heard(work: Work, event: Event) -> None:
    rollout, now = work.rollout, work.now
    if isinstance(event, Sent):
        work.rollout = rollout.with_servers(event.servers, jid=event.jid, heard=now, asked=now)
    elif isinstance(event, Deaf):
        work.rollout = rollout.with_servers(rollout.names(*words.BUSY), heard=now)
    elif isinstance(event, Ordered):
        if rollout.phase not in (*words.ENDED, words.GOING_BACK):
            work.rollout = dataclasses.replace(rollout, ordered=event.what)
    elif not isinstance(event, Tick) and event.server in rollout.servers:
        server = rollout.servers[event.server]
        if isinstance(event, Balanced):
            balancing.heard(work, event, server)
            return
        if server.state == words.RETURNING:  # what comes late changes what it is afterwards
            server = dataclasses.replace(server, state=server.then)
        if isinstance(event, Answered):
            _answered(work, event, server)
        elif isinstance(event, Recorded):
            if event.line.get("jid") == server.jid:
                _recorded(work, event.server, server, event.line)
        elif event.jid == server.jid:
            _returned(work, event, server)


def _answered(work: Work, event: Answered, server: Server) -> None:
    name, rollout = event.server, work.rollout
    work.rollout = rollout.with_servers([name], heard=work.now)
    own = [line for line in event.lines if server.jid and line.get("jid") == server.jid]
    # Of a server that is asked anew only what it has counts: a deploy that failed is tried again.
    has_it = server.state == words.ASKED and event.version == rollout.version and own[-1:] and not server.line
    if own and (has_it or server.state not in (words.STAGING, words.HAD, words.ASKED)):
        _recorded(work, name, server, own[-1])
    elif server.state == words.ASKED and event.deploying:
        work.rollout = work.rollout.with_servers([name], why=f"another deploy is under way: {event.deploying}")
    elif server.state == words.ASKED:
        # Of one that is asked a second time, the version before is what it was at first.
        known = bool(server.line) or server.before is not None
        before = server.before if known else event.version
        if event.version != rollout.version:
            work.put([name], words.READY, before=before, why="", line={})
        else:
            work.put([name], words.DONE if server.line else words.HAD, before=before, why="")
    elif server.state in words.BUSY:
        _followed(work, event, server)


def _followed(work: Work, event: Answered, server: Server) -> None:
    """A server with a job answers, and what is to come of that is not there (yet)."""
    if event.deploying or server.jid in event.jobs:
        return
    wanted = {words.DEPLOYING: work.rollout.version, words.REVERTING: server.before}.get(server.state)
    if wanted and event.version == wanted:  # there was nothing to be done: no line
        work.put([event.server], words.DONE if server.state == words.DEPLOYING else words.REVERTED, why="")
    elif server.gone + 1 < GONE:
        work.rollout = work.rollout.with_servers([event.server], gone=server.gone + 1)
    else:
        has = event.version or "nothing deployed"
        why = f"it answers and has {has}, and nothing is known of its job {server.jid}"
        then = {words.DEPLOYING: words.UNCLEAR, words.REVERTING: words.NOT_REVERTED}
        work.put([event.server], then.get(server.state, words.REFUSED), why=why)


def _recorded(work: Work, name: str, server: Server, line: Mapping[str, Any]) -> None:
    """The truth about a server's deploy, also where it comes late."""
    well, failed = line.get("result") == SUCCESS, line.get("failed") or [str(line.get("result"))]
    why = "" if well else str(failed[0])
    kept = {key: line[key] for key in ("id", "duration", "probe") if key in line}
    kept |= {"command": True} if line.get("release_command") else {}
    if server.state == words.REVERTING or (server.state == words.NOT_REVERTED and well):
        work.put([name], words.REVERTED if well else words.NOT_REVERTED, why=why, heard=work.now)
    elif server.state in (words.DEPLOYING, words.LOST, words.UNCLEAR, words.ASKED):
        if well and line.get("version") != work.rollout.version:
            return  # of a way back
        work.put([name], words.DONE if well else words.FAILED, why=why, line=kept, heard=work.now)


def _returned(work: Work, event: Returned, server: Server) -> None:
    name, now, deadline = event.server, work.now, work.rollout.options.deadline
    if server.state == words.STAGING:
        if event.ok is None:
            work.put([name], words.READY, hold=now + HOLD, heard=now, why=event.why)
        else:
            kept = {"heard": now, "began": 0.0, "why": event.why, "has_command": event.has_command}
            work.put([name], words.STAGED if event.ok else words.REFUSED, **kept)
    elif server.state == words.DEPLOYING and event.ok is None:
        work.put([name], words.STAGED, hold=now + HOLD, heard=now, why=event.why)  # ``began`` stays: not for ever
    elif server.state == words.DEPLOYING and event.ok is False:
        work.put([name], words.FAILED, heard=now, why=event.why)
    elif server.state == words.REVERTING and event.ok is None and now - work.rollout.since < deadline:
        work.put([name], words.DONE, hold=now + HOLD, heard=now, why=event.why)
    elif server.state == words.REVERTING and not event.ok:
        work.put([name], words.NOT_REVERTED, heard=now, why=event.why)
    elif server.state in (words.FAILED, words.NOT_REVERTED) and event.ok is False:
        work.rollout = work.rollout.with_servers([name], why=event.why)  # it says more than the line
    elif server.state in (words.DEPLOYING, words.REVERTING):
        work.rollout = work.rollout.with_servers([name], heard=now, asked=0.0)  # the line was not seen: ask


# What did not come.


def _timed(work: Work) -> None:
    balancing.timed(work)
    wait, deadline = work.rollout.options.wait, work.rollout.options.deadline
    for name, server in work.rollout.servers.items():
        quiet = work.now - server.heard > wait
        if server.state == words.ASKED and work.now - server.since > wait:
            if server.heard:
                work.put([name], words.REFUSED, why=server.why)
            else:
                silent = words.SKIPPED if work.rollout.options.skip_silent else words.SILENT
                work.put([name], silent, why=f"it has not answered for {wait:g} s")
        elif server.state == words.STAGING and (quiet or work.now - server.since > deadline):
            why = f"silent for {wait:g} s" if quiet else f"not ready within {deadline:g} s"
            work.put([name], words.REFUSED, why=f"{why} while the release was staged")
        elif server.state == words.READY and server.began and work.now - server.began > deadline:
            work.put([name], words.REFUSED, why=server.why)
        elif server.state == words.STAGED and server.began and work.now - server.began > deadline:
            work.put([name], words.FAILED, why=server.why)
        elif server.state in (words.DEPLOYING, words.REVERTING):
            late = work.now - server.began > deadline
            if quiet or late:
                lost = words.LOST if server.state == words.DEPLOYING else words.NOT_REVERTED
                why = f"silent for {wait:g} s in its deploy" if quiet else f"its deploy did not end in {deadline:g} s"
                work.put([name], lost, why=why)


# What is to be done.


def _next(work: Work) -> None:
    _ask(work)
    balancing.take_back(work)
    if work.rollout.ordered and work.rollout.phase in (words.ASKING, words.PREPARING, words.ROLLING):
        work.phase(words.STOPPING, "")
    _PHASES[work.rollout.phase](work)


def _ask(work: Work) -> None:
    """Ask who has not been heard, and who is busy: all in one job."""
    rollout, now = work.rollout, work.now
    asked = {
        name: now - server.asked >= ASK_AGAIN
        for name, server in rollout.servers.items()
        if server.state in {words.ASKED, *words.BUSY}
    }
    due = [name for name, is_due in asked.items() if is_due]
    if due:
        work.rollout = rollout.with_servers(due, asked=now)
        work.actions.append(Ask(due))


def _listed(work: Work, names: Sequence[str]) -> str:
    shown = [f"{name} ({work.rollout.servers[name].reason})" for name in names[:5]]
    more = [f"and {len(names) - 5} more"] if len(names) > 5 else []
    return ", ".join([*shown, *more])


def _asking(work: Work) -> None:
    if work.rollout.names(words.ASKED, words.RETURNING):
        return
    silent = work.rollout.names(words.SILENT, words.REFUSED)
    if silent:
        work.phase(words.NOT_BEGUN, f"nothing was switched: {_listed(work, silent)}")
    else:
        work.phase(words.PREPARING)


def _preparing(work: Work) -> None:
    rollout = work.rollout
    room = STAGED_AT_ONCE - len(rollout.names(words.STAGING))
    due = [name for name in rollout.names(words.READY) if rollout.servers[name].hold <= work.now][:room]
    for name in due:
        work.put([name], words.STAGING, heard=work.now, began=rollout.servers[name].began or work.now)
    if due:
        work.actions.append(Stage(due))
    if work.rollout.names(words.READY, words.STAGING):
        return
    refused = work.rollout.names(words.REFUSED)
    if refused:
        work.phase(words.NOT_BEGUN, f"nothing was switched: {_listed(work, refused)}")
    else:
        work.phase(words.ROLLING)


def _rolling(work: Work) -> None:
    rollout, options = work.rollout, work.rollout.options
    ends = [server.then or server.state for server in rollout.servers.values()]
    if sum(end in words.FAILURES for end in ends) > options.failures or words.UNCLEAR in ends:
        work.phase(words.STOPPING)
        return
    led = rollout.led
    first = {name: rollout.servers[name] for name in led[: options.first]}
    waiting, busy = rollout.names(words.STAGED), rollout.names(words.DEPLOYING, *words.BALANCED)
    if not waiting and not busy:
        missing = _listed(work, rollout.missing)
        work.phase(words.FINISHED, f"without {missing}" if missing else "every server has it")
        return
    for name in rollout.names(words.DRAINED):
        _deploy(work, name)
    if not _command_is_run(rollout):
        due = [] if busy else waiting[:1]
    elif any(server.state in (words.STAGED, words.DEPLOYING, *words.BALANCED) for server in first.values()):
        due = [name for name in waiting if name in first]
    elif work.now < max((server.since for server in first.values()), default=0) + options.pause:
        due = []
    else:
        due = waiting[: max(0, options.at_once(len(led)) - len(busy))]
    for name in due:
        server = rollout.servers[name]
        if server.hold <= work.now and server.balancers:
            told = {"pending": server.balancers, "stuck": (), "asked": work.now, "note": ""}
            work.put([name], words.DRAINING, out=True, **told)
            work.actions.append(Drain(name))
        elif server.hold <= work.now:
            _deploy(work, name)


def _command_is_run(rollout: Rollout) -> bool:
    """Whether a release command, where there is one, has done its work: until then one server goes alone, to run it."""
    done = any(server.state == words.DONE and server.line.get("command") for server in rollout.servers.values())
    return done or not any(server.has_command for server in rollout.servers.values())


def _deploy(work: Work, name: str) -> None:
    began = work.rollout.servers[name].began or work.now
    mine = not (work.rollout.servers[name].has_command and _command_is_run(work.rollout))
    work.put([name], words.DEPLOYING, heard=work.now, asked=work.now, gone=0, began=began)
    work.actions.append(Deploy(name, mine))


def _stopping(work: Work) -> None:
    """What is under way comes to its end first."""
    work.put(work.rollout.names(words.DRAINED), words.STAGED)
    rollout, options = work.rollout, work.rollout.options
    if rollout.names(*words.BUSY, *words.BALANCED):
        return
    failures, unclear = rollout.names(*words.FAILURES), rollout.names(words.UNCLEAR)
    if len(failures) > options.failures:
        why = f"{len(failures)} failed, and {options.failures} may: {_listed(work, failures)}"
        if options.on_failure != "rollback":
            work.phase(words.STOPPED, why)
        elif rollout.ran_command:
            command = f"a release command has run on {', '.join(rollout.ran_command)}"
            work.phase(words.STOPPED, f"{why}. Not gone back by itself, since {command}")
        else:
            work.phase(words.GOING_BACK, why)
    elif unclear:
        work.phase(words.PAUSED, f"what became of it is not clear: {_listed(work, unclear)}")
    elif rollout.succeeded:  # what was under way was all that was left
        work.phase(words.FINISHED, "every server has it")
    elif rollout.ordered == "pause":
        work.phase(words.PAUSED, "a person wanted it")
    else:
        work.phase(words.STOPPED, "a person wanted it")


def _going_back(work: Work) -> None:
    """In batches, the newest first; there is no first server to wait for."""
    rollout = work.rollout
    waiting = rollout.names(words.DONE, words.NOT_BACK)
    waiting.sort(key=lambda name: rollout.servers[name].since, reverse=True)
    busy = rollout.names(words.REVERTING)
    for name in waiting[: max(0, rollout.options.at_once(len(rollout.servers)) - len(busy))]:
        version = rollout.servers[name].before
        if rollout.servers[name].hold > work.now:
            continue
        if version is None:
            work.put([name], words.NOT_REVERTED, why="it had no version before")
        else:
            work.put([name], words.REVERTING, heard=work.now, asked=work.now, gone=0, began=work.now)
            work.actions.append(GoBack(name, version))
    if not work.rollout.names(words.DONE, words.NOT_BACK, words.REVERTING, words.RETURNING):
        work.phase(words.WENT_BACK, rollout.why)


_PHASES = {
    words.ASKING: _asking,
    words.PREPARING: _preparing,
    words.ROLLING: _rolling,
    words.STOPPING: _stopping,
    words.GOING_BACK: _going_back,
}
