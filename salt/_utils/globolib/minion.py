"""What the package needs of Salt on a minion: one small object that Salt's files hand in."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgpack

from globolib import apps
from globolib.errors import Failure

# What pillar has where the states or a function are carried out by salt-ssh: what was called on the control machine, as
# ``{"fun": name, "arg": words}`` (salt/_states/globoapp_ssh.py).
SSH = "globoapp_ssh"


@dataclass(frozen=True)
class Call:
    """
    What a person, the schedule or a reactor called, in its own words.

    arguments
        The named arguments of the function: ``test``, ``pillar``, and what should not have been there.
    """

    function: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def pillar(self) -> Mapping[str, Any]:
        """The pillar that came with this call alone; empty without one."""
        pillar = self.arguments.get("pillar")
        return pillar if isinstance(pillar, Mapping) else {}


@dataclass(frozen=True)
class Minion:
    """
    functions
        Salt's execution functions by their names (``__salt__``).
    opts
        The minion's configuration (``__opts__``).
    pillar
        The pillar of this call (``__pillar__``, which Salt never masks), with what the command line added.
    parse
        Reads a value of the command line as Salt does (YAML).
    app, whole
        Of :meth:`for_app`: the app that this is about, and the whole pillar where ``pillar`` is what this app sees.
    """

    functions: Mapping[str, Callable[..., Any]]
    opts: Mapping[str, Any]
    pillar: Mapping[str, Any] = field(repr=False)
    parse: Callable[[str], Any] = str
    app: str = apps.DEFAULT
    whole: Mapping[str, Any] | None = field(default=None, repr=False)

    def for_app(self, name: Any = None) -> "Minion":
        """
        The minion as it is for one app of its pillar; without a name for the default one.

        Raises Failure, naming those that there are: an unknown app, or none was named and there are several.
        """
        pillar = self._site
        name = apps.default(pillar) if name is None else name
        problem = apps.problem(pillar, name)
        if problem:
            raise Failure(problem)
        if apps.BESIDE not in pillar:
            return self
        return replace(self, pillar=apps.view(pillar, name, self._is_meant(name)), app=name, whole=pillar)

    @property
    def apps(self) -> tuple[str, ...]:
        """The names of all apps of pillar."""
        return apps.names(self._site)

    @property
    def about(self) -> dict[str, str]:
        """What a ledger line and an event say of the app that they are about: of ``globoapp`` nothing."""
        return apps.about(self.app)

    @property
    def chosen(self) -> tuple[tuple[str, ...], str | None]:
        """The apps that a run of the states works on, and what is wrong with what was asked for."""
        return apps.chosen(self._site, self._asked)

    @property
    def app_problems(self) -> list[str]:
        """What is wrong with ``globoapps``, and with this app's section of it."""
        return apps.problems(self._site, self.app)

    @property
    def _site(self) -> Mapping[str, Any]:
        return self.pillar if self.whole is None else self.whole

    @property
    def _asked(self) -> Mapping[str, Any]:
        """What at the top level of pillar came with this call; all of it where that is not known."""
        if self._called is not None:
            return self._called.pillar
        # Where there is but one app that key is somebody else's.
        return {key: value for key, value in self._site.items() if key != "app" or apps.BESIDE in self._site}

    def _is_meant(self, name: str) -> bool:
        return bool(apps.meant(self._site, self._asked) == name)

    @property
    def id(self) -> str:
        """The minion's id."""
        return str(self.opts["id"])

    @property
    def user(self) -> str:
        """Who called, as far as Salt tells."""
        return str(self._job.get("user") or self.opts.get("user") or "root")

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

    def _noted(self) -> Iterator[Mapping[str, Any]]:
        """What Salt notes of each job of this minion (its cachedir/proc), also of those that were cut."""
        # Not by saltutil.running: it leaves out the job that asks.
        directory = os.path.join(self.cache, "proc")
        for jid in os.listdir(directory) if os.path.isdir(directory) else []:
            try:
                with open(os.path.join(directory, jid), "rb") as handle:
                    job = msgpack.unpackb(handle.read(), strict_map_key=False)
            except (OSError, ValueError, TypeError):  # gone meanwhile, or half written
                continue
            if isinstance(job, dict):
                yield job

    @property
    def jobs(self) -> list[str]:
        """The ids of the jobs that run on this minion at this moment."""
        return [str(job.get("jid")) for job in self._noted() if os.path.exists(f"/proc/{job.get('pid')}")]

    @cached_property
    def _job(self) -> Mapping[str, Any]:
        """What Salt notes of the job that runs in this process; empty where there is none."""
        for job in self._noted():
            if job.get("pid") == os.getpid() and self.opts.get("jid") in (None, "", job.get("jid")):
                return dict(job)
        return {}

    @property
    def job(self) -> str | None:
        """The id of the Salt job that runs in this process; None where there is none (salt-call --local)."""
        jid = self.opts.get("jid") or self._job.get("jid")
        return str(jid) if jid else None

    @property
    def call(self) -> Call | None:
        """What was called, as far as it is about this app; None where Salt tells nothing of it (salt-ssh)."""
        called = self._called
        if called is None or self.whole is None or not called.pillar:
            return called
        pillar = apps.told(called.pillar, self.app, self._is_meant(self.app))
        return Call(called.function, {**called.arguments, "pillar": pillar})

    @cached_property
    def _called(self) -> Call | None:
        by_ssh = self._site.get(SSH)
        if isinstance(by_ssh, Mapping):
            function, words = by_ssh.get("fun"), by_ssh.get("arg")
        elif self._job.get("tgt", "salt-call") != "salt-call":
            function, words = self._job.get("fun"), self._job.get("arg")
        else:
            function, words = self.opts.get("fun"), self.opts.get("arg")
        if not isinstance(function, str) or not isinstance(words, (list, tuple)):
            return None
        arguments: dict[str, Any] = {}
        for word in words:
            if isinstance(word, Mapping) and word.get("__kwarg__"):
                arguments.update(word)
            elif isinstance(word, str) and re.match(r"[A-Za-z_]\w*=", word):
                name, _, value = word.partition("=")
                arguments[name] = self.parse(value)
        arguments.pop("__kwarg__", None)
        return Call(function, arguments)

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

    def refresh(self) -> bool:
        """Have the minion's daemon take up its pillar. Returns whether it was told."""
        return bool(self.functions["saltutil.refresh_pillar"]())

    def apply(self, pillar: Mapping[str, Any]) -> dict[str, Any] | list[str]:
        """
        Apply the states of a deploy with ``pillar`` on top. Returns Salt's answer: the states by their tags, or a
        list of lines where they could not be applied at all.
        """
        # By salt-ssh the server has no pillar but the one that was sent along.
        pillar = {**(self._site if SSH in self._site else {}), **pillar}
        # Never put off: with state_queue the answer would be that it is to come, without what this run holds.
        answer: dict[str, Any] | list[str] = self.functions["state.apply"]("globoapp", pillar=pillar, queue=False)
        return answer

    def busy(self) -> list[str]:
        """Of each other run of states on this minion a line that names it."""
        return list(self.functions["state.running"]())
