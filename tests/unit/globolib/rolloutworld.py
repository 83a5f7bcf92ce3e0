"""Rollouts for tests: one whose servers a test plays, and a master that stores and drives some."""

import io
import itertools

from fakecache import Cache
from globolib.monitor.store import Store
from globolib.rollout import book as books
from globolib.rollout import command, engine
from globolib.rollout import state as words
from globolib.rollout.book import Book
from globolib.rollout.events import Answered, Ask, Deploy, GoBack, Recorded, Returned, Sent, Stage, Tick
from globolib.rollout.state import Options, Rollout, Server, loaded
from standins import Servers

START = 1000.0


class World:
    """A rollout, its clock, and servers that do what the test says; `sent` is what was sent since it was last read."""

    def __init__(self, servers=4, has="1.0", **options):
        self.now, self.jids, self.actions = START, itertools.count(1), []
        names = [f"web{number}" for number in range(1, servers + 1)]
        self.has = dict.fromkeys(names, has)
        ready = {name: Server(since=START) for name in names}
        self.rollout = Rollout("r", "1.1", "web*", "root", "", ready, Options(**options), since=START)
        self.take(Tick())

    def take(self, *events, after=0.0):
        """Hand events in; what is sent in answer gets its job at once."""
        self.now += after
        self.rollout, actions = engine.advance(self.rollout, events, self.now)
        assert loaded(self.rollout.record) == self.rollout
        self.actions += actions
        for action in actions:
            if isinstance(action, Stage):
                self.take(Sent(tuple(action.servers), f"j{next(self.jids)}"))
            elif isinstance(action, (Deploy, GoBack)):
                self.take(Sent((action.server,), f"j{next(self.jids)}"))
        return self

    @property
    def sent(self):
        """What was sent since this was read last, without the questions."""
        sent, self.actions = [one for one in self.actions if not isinstance(one, Ask)], []
        return sent

    @property
    def asked(self):
        """Who was asked since `sent` or this was read last."""
        asked, self.actions = [one.servers for one in self.actions if isinstance(one, Ask)], []
        return [name for names in asked for name in names]

    def answer(self, *names, **says):
        """These servers (all) answer a question."""
        for name in names or self.rollout.servers:
            self.take(Answered(name, **{"version": self.has[name], **says}))
        return self

    def returned(self, name, ok=True, why=""):
        return self.take(Returned(name, self.rollout.servers[name].jid, ok, why))

    def staged(self, *but):
        """All that are being staged are ready."""
        for name in self.rollout.names(words.STAGING):
            if name not in but:
                self.returned(name)
        return self

    def line(self, name, result="success", version="1.1", **more):
        """The ledger line of a server's deploy comes."""
        jid = self.rollout.servers[name].jid
        self.has[name] = version if result == "success" else self.has[name]
        return self.take(Recorded(name, {"id": "x", "jid": jid, "version": version, "result": result, **more}))

    @property
    def states(self):
        return " ".join(server.state for server in self.rollout.servers.values())

    @property
    def phase(self):
        return self.rollout.phase


def rolling(servers=4, **options):
    """All have answered and are staged; the first ones deploy."""
    world = World(servers, **options).answer().staged()
    assert world.phase == words.ROLLING
    return world


def with_command(servers=4, **options):
    """All are staged; the version has a release command."""
    world = World(servers, **options).answer()
    for name in world.rollout.names(words.STAGING):
        world.take(Returned(name, world.rollout.servers[name].jid, True, has_command=True))
    return world


class Desk:
    """A master with its store; `out` is what was printed, `fired` the tags of its events."""

    def __init__(self, directory, plan, form=""):
        self.book = Book(Store(Cache(), str(directory)), str(directory))
        self.servers, self.out, self.fired = Servers(plan), io.StringIO(), []
        fire = lambda data, tag: self.fired.append(tag)  # noqa: E731
        self.master = command.Master(self.book, lambda: self.servers, self.servers, fire, self.out, form)

    def begin(self, version="1.1", **options):
        return command.begin(self.master, version, list(self.servers.plan), books.Meant("web*", "root"), options)

    @property
    def said(self):
        return self.out.getvalue().splitlines()
