"""What a rollout is: frozen values, with a plain form for the store."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from globolib import apps

# A server in a rollout.
ASKED = "asked"  # who is there, and with what
READY = "ready"  # answered; to be staged
STAGING = "staging"
STAGED = "staged"  # the release is there, tried, and nothing was switched
DRAINING = "draining"  # its load balancers let go of it
DRAINED = "drained"
DEPLOYING = "deploying"
RETURNING = "returning"  # they take it back
DONE = "done"  # its ledger has the line
HAD = "had it"  # before this rollout
SILENT = "silent"  # at the start
SKIPPED = "skipped"  # the same, where it begins without it
REFUSED = "cannot"  # would not be staged
FAILED = "failed"
LOST = "lost"  # went silent in its own deploy
UNCLEAR = "unclear"  # answers, and has neither the line nor a deploy under way
REVERTING = "reverting"
REVERTED = "reverted"
NOT_REVERTED = "not reverted"
NOT_BACK = "not back"  # has the version, and a load balancer gives it no requests

BUSY = frozenset({STAGING, DEPLOYING, REVERTING})
HAS_IT = frozenset({DONE, HAD})
FAILURES = frozenset({FAILED, LOST, NOT_BACK})
# It is its load balancers' turn.
BALANCED = frozenset({DRAINING, DRAINED, RETURNING})
# Whoever comes from these to any other state is taken back first.
OUTSIDE = frozenset({DEPLOYING, REVERTING, *BALANCED})

# A rollout.
ASKING, PREPARING, ROLLING = "asking", "staging", "rolling"
STOPPING, GOING_BACK = "stopping", "going back"
FINISHED, PAUSED, STOPPED, NOT_BEGUN, WENT_BACK = "finished", "paused", "stopped", "not begun", "went back"

ENDED = frozenset({FINISHED, PAUSED, STOPPED, NOT_BEGUN, WENT_BACK})
# From which it can go on.
RESUMABLE = frozenset({PAUSED, STOPPED, NOT_BEGUN})


@dataclass(frozen=True)
class Options:
    """
    first
        How many servers go before all others.
    batch
        How many at once after them: a number, or a share of all (``"25%"``).
    pause
        Seconds between the first and the others.
    failures
        So many servers may fail in the whole rollout.
    on_failure
        ``stop`` or ``rollback``.
    deadline
        Seconds for the deploy of one server.
    wait
        Seconds without an answer after which a server is silent at the start, or lost in its deploy.
    skip_silent
        Whether it begins without the servers that are silent at the start.
    """

    first: int = 1
    batch: int | str = "25%"
    pause: float = 0
    failures: int = 0
    on_failure: str = "stop"
    deadline: float = 600
    wait: float = 30
    skip_silent: bool = False

    def at_once(self, servers: int) -> int:
        """How many of so many servers make a batch."""
        if isinstance(self.batch, int):
            return self.batch
        return max(1, int(servers * float(self.batch.rstrip("%")) / 100))


@dataclass(frozen=True)
class Server:
    """
    state
        One of this module's words.
    since
        When it came to be so: seconds since the epoch.
    before
        The version that it had when the rollout began; None for none.
    jid
        The Salt job that it is busy with.
    heard
        When it last gave a sign of life, seconds since the epoch.
    asked
        When it was last asked for one.
    hold
        Not before this time: seconds since the epoch.
    began
        When its deploy was first sent.
    gone
        How often it has answered since, and neither the line nor the job nor a deploy was there.
    why
        One sentence, and below it what its log said last.
    has_command
        Whether the version wants a release command to be run here.
    line
        What its ledger has of this deploy: ``id``, ``duration``, ``probe``, ``command`` (whether a release command was
        run).
    balancer
        The setting ``balancer`` of its pillar when the rollout began; empty without one.
    out
        Whether a load balancer may give it no requests because of this rollout.
    pending, stuck
        The load balancers that have not answered yet; what those said that did not do what they were told.
    then
        What it is when they have taken it back.
    note
        What they said when they let go of it, where that is of interest.
    """

    state: str = ASKED
    since: float = 0
    before: str | None = None
    jid: str | None = None
    heard: float = 0
    asked: float = 0
    hold: float = 0
    began: float = 0
    gone: int = 0
    why: str = ""
    has_command: bool = False
    line: Mapping[str, Any] = field(default_factory=dict)
    balancer: Mapping[str, Any] = field(default_factory=dict)
    out: bool = False
    pending: Sequence[str] = ()
    stuck: Sequence[str] = ()
    then: str = ""
    note: str = ""

    @property
    def balancers(self) -> Sequence[str]:
        """The ids of its load balancers."""
        return tuple(self.balancer.get("minions", ()))

    @property
    def patience(self) -> float:
        """Seconds that a load balancer is given."""
        return float(self.balancer.get("wait", 0))

    @property
    def reason(self) -> str:
        """The sentence of ``why``: its first line, and what that announces."""
        first, *rest = self.why.splitlines() or [""]
        return f"{first} {rest[0].strip(' -')}" if first.endswith(":") and rest else first


@dataclass(frozen=True)
class Rollout:
    """
    servers
        By their ids, in the order in which they go.
    jid
        The job of the runner that began it.
    ordered
        What a person has asked for meanwhile: ``pause``, ``stop`` or nothing.
    why
        One sentence about the phase.
    """

    id: str
    version: str
    target: str
    who: str
    time: str
    servers: Mapping[str, Server]
    options: Options = Options()
    app: str = apps.DEFAULT
    tgt_type: str = "glob"
    jid: str = ""
    phase: str = ASKING
    since: float = 0
    ordered: str = ""
    why: str = ""

    @property
    def pillar(self) -> dict[str, str]:
        """The pillar of a deploy of it."""
        return {"version": self.version, **apps.about(self.app)}

    @property
    def led(self) -> list[str]:
        """The servers that are to deploy, or have done so in this rollout."""
        return [name for name, server in self.servers.items() if server.state not in (HAD, SKIPPED)]

    @property
    def missing(self) -> list[str]:
        """The servers that have not got the version."""
        return [name for name, server in self.servers.items() if server.state not in HAS_IT]

    def names(self, *states: str) -> list[str]:
        """The servers in one of these states, in order."""
        return [name for name, server in self.servers.items() if server.state in states]

    def with_servers(self, names: Iterable[str], **changes: Any) -> "Rollout":
        """The same with other fields of these servers."""
        changed = {name: dataclasses.replace(self.servers[name], **changes) for name in names}
        return dataclasses.replace(self, servers={**self.servers, **changed})

    @property
    def succeeded(self) -> bool:
        """Whether every server of the target has the version."""
        return not self.missing

    @property
    def out(self) -> list[str]:
        """The servers that a load balancer may give no requests because of this rollout."""
        return [name for name, server in self.servers.items() if server.out]

    @property
    def ran_command(self) -> list[str]:
        """The servers on which a release command has run in this rollout, also where it failed."""
        return [name for name, server in self.servers.items() if server.line.get("command")]

    @property
    def record(self) -> dict[str, Any]:
        """The plain form. A list of servers: a mapping may lose its order in a store."""
        # Not by asdict: it copies all that is in there, each time that a rollout of 1,000 servers is stored.
        plain = {**vars(self), "options": dict(vars(self.options))}
        plain["servers"] = [{"name": name, **vars(server)} for name, server in self.servers.items()]
        return plain


def _known(kind: type, fields: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in fields.items() if name in names}


def loaded(record: Mapping[str, Any]) -> Rollout:
    """The rollout that a record holds. Raises ValueError for one that holds none."""
    try:
        servers = {fields["name"]: Server(**_known(Server, fields)) for fields in record["servers"]}
        options = Options(**_known(Options, record["options"]))
        return Rollout(**{**_known(Rollout, record), "servers": servers, "options": options})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no record of a rollout: {error}") from error
