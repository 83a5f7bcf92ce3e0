"""What the package needs of Salt on a minion: one small object that Salt's files hand in."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from globolib.errors import Failure


@dataclass(frozen=True)
class Minion:
    """
    functions
        Salt's execution functions by their names (``__salt__``).
    opts
        The minion's configuration (``__opts__``).
    pillar
        The pillar of this call (``__pillar__``, which Salt never masks), with what the command line added.
    """

    functions: Mapping[str, Callable[..., Any]]
    opts: Mapping[str, Any]
    pillar: Mapping[str, Any] = field(repr=False)

    @property
    def id(self) -> str:
        """The minion's id."""
        return str(self.opts["id"])

    @property
    def test(self) -> bool:
        """Whether nothing may be changed (``test=True``)."""
        return bool(self.opts.get("test"))

    @property
    def cache(self) -> str:
        """Where the minion keeps its cache: a directory."""
        return str(self.opts["cachedir"])

    @property
    def pillar_section(self) -> Mapping[str, Any]:
        """What pillar holds below ``globoapp:``; empty where that is no mapping (the settings report it)."""
        section = self.pillar.get("globoapp")
        return section if isinstance(section, Mapping) else {}

    @property
    def job(self) -> str | None:
        """The id of the Salt job that runs in this process; None where there is none (salt-call --local)."""
        if self.opts.get("jid"):
            return str(self.opts["jid"])
        for job in self.functions["saltutil.running"]() if "saltutil.running" in self.functions else []:
            if job.get("pid") == os.getpid():
                return str(job["jid"])
        return None

    def fetch(self, url: str) -> str:
        """
        The path of a local copy of a file of the master (``salt://...``). Raises Failure: it is not there.
        """
        path = self.functions["cp.cache_file"](url)
        if not path:
            raise Failure(f"{url} is not there")
        return str(path)

    def names(self) -> list[str]:
        """The paths of all files that the master serves, without ``salt://``."""
        return list(self.functions["cp.list_master"]())

    def send(self, tag: str, data: Mapping[str, Any]) -> None:
        """Send an event to the master."""
        self.functions["event.send"](tag, dict(data))

    def apply(self, pillar: Mapping[str, Any]) -> dict[str, Any] | list[str]:
        """
        Apply the states of a deploy with ``pillar`` on top. Returns Salt's answer: the states by their tags, or a
        list of lines where they could not be applied at all.
        """
        answer: dict[str, Any] | list[str] = self.functions["state.apply"]("globoapp", pillar=dict(pillar))
        return answer
