"""
The load balancers' part in a rollout: they let go of a server before its deploy, and take it back whatever becomes of
it. Pure, as :mod:`engine` is.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from globolib.rollout import state as words
from globolib.rollout.events import Action, Balanced, Drain, TakeBack
from globolib.rollout.state import Rollout, Server

# Seconds after which a server that was busy with other states is told again.
HOLD = 5


@dataclass
class Work:
    """What one step of the machine is about to answer with."""

    rollout: Rollout
    now: float
    actions: list[Action] = field(default_factory=list)

    def put(self, names: Sequence[str], state: str, **changes: Any) -> None:
        """Give servers another state; one that its load balancers have let go of is taken back by them first."""
        for name in names:
            server = self.rollout.servers[name]
            if not server.out or state in words.OUTSIDE or self.rollout.phase in words.ENDED:
                self.set(name, state=state, since=self.now, **changes)
            elif server.state == words.RETURNING:
                self.set(name, then=state, **changes)
            else:
                self.set(name, **changes)
                self.rollout = returning(self.rollout, {name: state}, self.now)

    def set(self, name: str, **changes: Any) -> None:
        """Change fields of a server."""
        self.rollout = self.rollout.with_servers([name], **changes)

    def phase(self, phase: str, why: str = "") -> None:
        """Give the rollout another phase."""
        self.rollout = dataclasses.replace(self.rollout, phase=phase, since=self.now, why=why)


def returning(rollout: Rollout, then: Mapping[str, str], now: float) -> Rollout:
    """The same with servers that are to be taken back by their load balancers, and what they are after that."""
    for name, state in then.items():
        told = {"pending": (), "stuck": (), "asked": 0.0, "since": now}
        rollout = rollout.with_servers([name], state=words.RETURNING, then=state, **told)
    return rollout


def heard(work: Work, event: Balanced, server: Server) -> None:
    """
    Take in what one load balancer did. All of a server are waited for: what one is told must not overtake what it was
    told before.
    """
    name, wanted = event.server, words.DRAINING if event.action is Drain else words.RETURNING
    if server.state != wanted:
        return
    if event.ok is None and wanted == words.DRAINING:  # nothing was sent
        work.set(name, out=False)
        work.put([name], words.STAGED, hold=work.now + HOLD, why=event.why)
    elif event.ok is None:
        work.set(name, pending=())
    elif event.minion in server.pending:
        said = f"{event.minion}: {event.why}"
        if not event.ok:
            work.set(name, stuck=(*server.stuck, said))
        elif event.why and wanted == words.DRAINING:
            work.set(name, note=f"{server.note}; {said}" if server.note else said)
        work.set(name, pending=tuple(one for one in server.pending if one != event.minion))
        if not work.rollout.servers[name].pending:
            _all_balanced(work, name)


def _all_balanced(work: Work, name: str) -> None:
    """Every load balancer of a server has answered, or its time is over."""
    server = work.rollout.servers[name]
    stuck = "; ".join(server.stuck)
    if server.state == words.DRAINING:
        work.put([name], words.FAILED if stuck else words.DRAINED, why=stuck)
    elif not stuck:
        work.set(name, out=False, then="", asked=0.0)
        work.put([name], server.then)
    else:
        then = {words.DONE: words.NOT_BACK, words.STAGED: words.FAILED, words.ASKED: words.REFUSED}
        told = f"not taken back by {stuck}"
        why = "\n".join([f"{server.reason}; {told}" if server.why else told, *server.why.splitlines()[1:]])
        work.set(name, state=then.get(server.then, server.then), then="", since=work.now, why=why)


def timed(work: Work) -> None:
    """Load balancers that have not answered in time are not waited for."""
    for name, server in work.rollout.servers.items():
        patience = server.patience + work.rollout.options.wait
        if server.pending and work.now - server.asked > patience:
            silent = [f"{one}: it has not answered for {patience:g} s" for one in server.pending]
            work.set(name, pending=(), stuck=(*server.stuck, *silent))
            _all_balanced(work, name)


def take_back(work: Work) -> None:
    """Tell the load balancers of servers that are to be taken back, and have not been told."""
    for name in work.rollout.names(words.RETURNING):
        server = work.rollout.servers[name]
        if not server.pending and work.now - server.asked >= HOLD:
            work.set(name, pending=server.balancers, asked=work.now)
            # Only who has just deployed has to be found well: of the others their health check decides.
            work.actions.append(TakeBack(name, server.patience if server.then == words.DONE else 0))
