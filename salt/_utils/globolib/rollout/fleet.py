"""What a rollout needs of Salt on the master: to send jobs, and to hear of what comes back."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from globolib import apps, ledger, text
from globolib import states as runs
from globolib.monitor import incoming
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
    Recorded,
    Returned,
    Sent,
    Stage,
    TakeBack,
)
from globolib.rollout.state import Rollout

# How a run of states says that it did not begin since another one is under way.
BUSY = ("another deploy is under way", "is running as PID", "while this deploy of")
# The state of salt/globoapp/staged.sls that tells of a release command.
HAS_COMMAND = " has a release command"
# Of the words of a server that failed so many lines are stored.
KEPT = 40


class Client(Protocol):
    """What of ``salt.client.LocalClient`` is used."""

    def cmd_async(self, tgt: Sequence[str], fun: str, arg: Sequence[Any], **kwargs: Any) -> Any:
        """Publish a job; returns its id."""

    def cmd(self, tgt: Sequence[str], fun: str, arg: Sequence[Any], **kwargs: Any) -> Any:
        """Run a job; returns what came back, by server."""


class Bus(Protocol):
    """What of ``salt.utils.event.MasterEvent`` is used."""

    def get_event(self, wait: float, **kwargs: Any) -> Any:
        """The next event, or None."""


def _reason(states: Any) -> tuple[bool | None, str]:
    """Whether a run of states went well, None where it did not begin; and what failed."""
    if not isinstance(states, Mapping):
        said = states if isinstance(states, (list, tuple)) else [states]
        why = "; ".join(map(text.line, map(str, said)))
        return (None if any(phrase in why for phrase in BUSY) else False), why
    told = runs.reasons(states)
    if not told:
        return True, ""
    return (None if any(phrase in told[0] for phrase in BUSY) else False), _short(told[0])


def _short(comment: str) -> str:
    """The first line of a comment, which is the reason, and the last ones, which are the log's: harmless."""
    first, *rest = text.lines(comment, 10_000, 300) or [""]
    return "\n".join([first, *rest[-KEPT:]])


def _job(rollout: Rollout, action: Ask | Stage | Deploy | GoBack) -> tuple[str, list[Any], dict[str, Any]]:
    """What servers are called for an action: the function, its arguments, those that have names."""
    if isinstance(action, Ask):
        return "globoapp_minion.deployed", [], {**apps.about(rollout.app)}
    if isinstance(action, GoBack):
        return "globoapp.rollback", [], {"version": action.version, **apps.about(rollout.app)}
    if isinstance(action, Stage):
        return "state.apply", ["globoapp.staged"], {"pillar": rollout.pillar}
    pillar: dict[str, Any] = {**rollout.pillar}
    if not action.command:  # it has been run: once for a rollout
        without = {"release_command": False}
        pillar |= {"globoapp": without} if rollout.app == apps.DEFAULT else {"globoapps": {rollout.app: without}}
    return "state.apply", ["globoapp"], {"pillar": pillar}


class Fleet:
    """
    connect
        Makes a client: after a restart of the master the one that was there is of no use.
    bus
        The master's event bus, subscribed to.
    """

    def __init__(self, connect: Callable[[], Client], bus: Bus) -> None:
        self._connect, self._bus = connect, bus
        self._jobs: dict[str, Action] = {}

    def carry_out(self, rollout: Rollout, action: Action) -> list[Event]:
        """Send the job of an action. Returns what is to be taken in at once."""
        if isinstance(action, (Drain, TakeBack)):
            return self._balance(rollout, action)
        servers = [action.server] if isinstance(action, (Deploy, GoBack)) else list(action.servers)
        jid, problem = self._send(action, servers, *_job(rollout, action))
        if not problem:
            return [] if isinstance(action, Ask) else [Sent(tuple(servers), jid)]
        if isinstance(action, Ask):
            return [Deaf()]
        return [Returned(name, rollout.servers[name].jid, None, problem) for name in servers]

    def _balance(self, rollout: Rollout, action: Drain | TakeBack) -> list[Event]:
        server = rollout.servers[action.server]
        fun, wait = ("drain", server.patience) if isinstance(action, Drain) else ("ready", action.wait)
        args = [server.balancer["backend"], server.balancer["server"], wait]
        _, problem = self._send(action, server.balancers, f"globoapp_balancer.{fun}", args, {})
        return [Balanced(action.server, type(action), "", None, problem)] if problem else []

    def _send(
        self, action: Action, targets: Sequence[str], fun: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[str, str]:
        """Publish a job; returns its id, and why there is none."""
        try:
            jid = self._connect().cmd_async(list(targets), fun, args, tgt_type="list", kwarg=kwargs)
        except Exception as error:  # Salt raises what it likes where the master is away
            return "", f"the master takes no jobs: {text.line(str(error))}"
        if not jid:
            return "", "the master published no job"
        self._jobs[str(jid)] = action
        return str(jid), ""

    def events(self, wait: float) -> list[Event]:
        """What has come in, within so many seconds: all that is there, or the first that comes."""
        until, found = time.monotonic() + wait, list[Event]()
        while True:
            left = until - time.monotonic()
            came = self._bus.get_event(wait=max(0.01, 0.01 if found else left), full=True, auto_reconnect=True)
            if came is None and (found or left <= 0):
                return found
            event = self._event(came) if isinstance(came, Mapping) else None
            if event:
                found.append(event)

    def _event(self, came: Mapping[str, Any]) -> Event | None:
        tag, data = str(came.get("tag", "")).split("/"), came.get("data")
        if not isinstance(data, Mapping):
            return None
        # A server speaks for itself alone: the id is the one that the master has checked.
        if tag[:2] == ["globoapp", "deploy"] and data.get("id") == tag[-1]:
            line = incoming.deploy(incoming.decoded(data.get("data")), ledger.now())
            return Recorded(tag[-1], line) if isinstance(line, Mapping) else None
        if tag[:2] == ["salt", "job"] and tag[3:4] == ["ret"] and tag[2] in self._jobs and data.get("id") == tag[-1]:
            return self._returned(self._jobs[tag[2]], tag[-1], tag[2], data.get("return"))
        return None

    @staticmethod
    def _returned(action: Action, server: str, jid: str, answer: Any) -> Event:
        if isinstance(action, Ask):
            return answered(server, answer)
        if isinstance(action, (Drain, TakeBack)):  # of a load balancer
            well = isinstance(answer, Mapping)
            comment = str(answer.get("comment") if isinstance(answer, Mapping) else answer).removeprefix("ERROR: ")
            plain = isinstance(answer, Mapping) and not answer.get("sessions") and answer.get("drained") is not False
            return Balanced(action.server, type(action), server, well, "" if plain else text.line(comment))
        if isinstance(action, GoBack) and isinstance(answer, Mapping):
            said = [answer.get("comment"), *(answer.get("failed") or [])]
            return Returned(server, jid, answer.get("result") is True, _short("\n".join(map(str, said))))
        ok, why = _reason(answer)
        ids = [str(state.get("__id__")) for state in runs.ordered(answer)] if ok else []
        return Returned(server, jid, ok, why, any(name.endswith(HAS_COMMAND) for name in ids))


def answered(server: str, answer: Any) -> Answered:
    """What a server has, from its answer: one that has none of this tree's code yet has nothing."""
    if not isinstance(answer, Mapping):
        return Answered(server)
    taken = [incoming.deploy(line, ledger.now()) for line in answer.get("lines") or []]
    version, deploying = answer.get("version"), answer.get("deploying")
    return Answered(
        server,
        version if isinstance(version, str) else None,
        text.line(str(deploying)) if deploying else None,
        [str(job) for job in answer.get("jobs") or []],
        [line for line in taken if isinstance(line, Mapping)],
    )
