"""What the state machine of a rollout is told, and what it has done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True)
class Deaf:
    """The master takes no jobs: that a server is not heard of says nothing about it."""


@dataclass(frozen=True)
class Sent:
    """A job was sent to these servers."""

    servers: Sequence[str]
    jid: str


@dataclass(frozen=True)
class Answered:
    """A server said what it has: ``globoapp_minion.deployed``."""

    server: str
    version: str | None = None
    deploying: str | None = None
    jobs: Sequence[str] = ()
    lines: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Returned:
    """
    The job of a server ended; ``ok`` is None where it was busy with something else. ``has_command`` is told by staging:
    the version wants a release command to be run.
    """

    server: str
    jid: str | None
    ok: bool | None
    why: str = ""
    has_command: bool = False


@dataclass(frozen=True)
class Recorded:
    """A ledger line of a server came."""

    server: str
    line: Mapping[str, Any]


@dataclass(frozen=True)
class Balanced:
    """
    A load balancer of a server has done what an action wanted of it; ``ok`` is None where the job could not be sent to
    any, and ``why`` may hold a note where it is True.
    """

    server: str
    action: type
    minion: str
    ok: bool | None
    why: str = ""


@dataclass(frozen=True)
class Ordered:
    """A person wants it to ``pause`` or to ``stop``."""

    what: str


Event = Tick | Deaf | Sent | Answered | Returned | Recorded | Balanced | Ordered


@dataclass(frozen=True)
class Ask:
    """Have these servers say what they have."""

    servers: Sequence[str]


@dataclass(frozen=True)
class Stage:
    """Have these servers get the release ready, and try it."""

    servers: Sequence[str]


@dataclass(frozen=True)
class Deploy:
    """Have this server deploy; ``command`` is whether the release command is its to run."""

    server: str
    command: bool = True


@dataclass(frozen=True)
class GoBack:
    """Have this server go back to a version."""

    server: str
    version: str


@dataclass(frozen=True)
class Drain:
    """Have its load balancers give this server no more requests."""

    server: str


@dataclass(frozen=True)
class TakeBack:
    """Have its load balancers give this server requests again, and find it well in ``wait`` seconds; 0 is whenever."""

    server: str
    wait: float


Action = Ask | Stage | Deploy | GoBack | Drain | TakeBack
