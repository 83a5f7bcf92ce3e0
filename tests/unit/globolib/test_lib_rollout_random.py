"""Whatever servers do, in whatever order it is heard: what a rollout never does, and that it comes to an end."""

import dataclasses

from globolib.rollout import engine
from globolib.rollout import state as words
from globolib.rollout.events import Answered, Ask, Deploy, GoBack, Recorded, Returned, Sent, Stage, Tick
from globolib.rollout.state import Options, Rollout, Server, loaded
from hypothesis import given, settings
from hypothesis import strategies as st

# What a server does: in its staging, or in its deploy.
FATES = (
    "well",
    "had",
    "silent",
    "unfit",
    "mute in staging",
    "fails",
    "dies",
    "vanishes",
    "late line",
    "busy once",
    "slow",
)
fates = st.lists(st.sampled_from(FATES), min_size=1, max_size=7)
options = st.builds(
    Options,
    first=st.integers(0, 3),
    batch=st.one_of(st.integers(1, 4), st.sampled_from(["25%", "50%", "100%"])),
    pause=st.sampled_from([0, 20]),
    failures=st.integers(0, 3),
    on_failure=st.sampled_from(["stop", "rollback"]),
    deadline=st.just(120),
    wait=st.just(20),
    skip_silent=st.booleans(),
)


class World:
    """Servers with a fate each; what they say waits in `mail` until the test's `draw` takes it, in any order."""

    def __init__(self, made, wanted, command, draw):
        self.fates = {f"web{number}": fate for number, fate in enumerate(made, 1)}
        self.has = {name: "1.1" if fate == "had" else "1.0" for name, fate in self.fates.items()}
        self.command, self.draw, self.now, self.jid, self.mail = command, draw, 1000.0, 0, []
        self.deploys, self.dead, self.running, self.prompt = [], set(), {}, False
        ready = {name: Server(since=self.now) for name in self.fates}
        self.rollout = Rollout("r", "1.1", "web*", "root", "", ready, wanted, since=self.now)

    def run(self, most=400):
        """Until it ends, or for so many turns; the rules are looked at in each."""
        events = [Tick()]
        for _ in range(most):
            self.rollout, actions = engine.advance(self.rollout, events, self.now)
            self.rollout = loaded(self.rollout.record)
            self._look(actions)
            events = [self._sent(action) for action in actions]
            if self.rollout.phase in words.ENDED:
                assert actions == []
                return self.rollout
            if not any(events):
                events = self._heard()
            events = [*filter(None, events), Tick()]
        raise AssertionError(f"it has not ended: {self.rollout}")

    def _heard(self):
        """Some of what was said, in any order, and time passes; all of it at once in a prompt world."""
        if self.prompt:
            heard, self.mail = self.mail, []
            self.now += 1
            return heard
        count = self.draw(st.integers(0, len(self.mail)))
        self.now += self.draw(st.sampled_from([0.1, 1, 7]))
        return [self.mail.pop(self.draw(st.integers(0, len(self.mail) - 1))) for _ in range(count)]

    def _sent(self, action):
        self.jid += 1
        jid = str(self.jid)
        if isinstance(action, Ask):
            self.mail += [self._answer(name) for name in action.servers if self._hears(name)]
            return None
        names = list(action.servers) if isinstance(action, Stage) else [action.server]
        for name in names:
            self.mail += self._done(action, name, jid)
        return Sent(tuple(names), jid)

    def _hears(self, name):
        return name not in self.dead and self.fates[name] != "silent"

    def _answer(self, name):
        job = self.running.get(name)
        return Answered(name, self.has[name], jobs=[job] if job else [])

    def _done(self, action, name, jid):
        fate = self.fates[name]
        if isinstance(action, Stage):
            if fate == "mute in staging":
                self.dead.add(name)
                return []
            return [Returned(name, jid, fate != "unfit", "why", self.command)]
        if isinstance(action, GoBack):
            self.has[name] = action.version
            return [Recorded(name, {"jid": jid, "version": action.version, "result": "success"})]
        self.deploys.append(action)
        if fate == "busy once":
            self.fates[name] = "well"
            return [Returned(name, jid, None, "another deploy is under way")]
        if fate == "dies":
            self.dead.add(name)
            return []
        if fate == "vanishes":
            return []
        ran = {"release_command": {"exit": 0}} if self.command and action.command else {}
        line = {"jid": jid, "version": "1.1", "result": "failed" if fate == "fails" else "success", **ran}
        if fate != "fails":
            self.has[name] = "1.1"
        if fate == "slow":
            self.running[name] = jid
        told = [Recorded(name, line), Returned(name, jid, fate != "fails", "why")]
        return told[:1] if fate == "late line" else told

    def _look(self, actions):
        """The rules."""
        wanted, servers = self.rollout.options, self.rollout.servers
        moved = [name for name, server in servers.items() if server.state not in (words.HAD, words.SKIPPED)]
        deploying = self.rollout.names(words.DEPLOYING)
        most = max(wanted.first, wanted.at_once(len(moved)))
        assert len(deploying) <= most, "more at once than was asked for"
        if deploying or self.deploys:
            early = {words.ASKED, words.READY, words.STAGING, words.SILENT, words.REFUSED}
            assert not early & {server.state for server in servers.values()}, "one deploys before all can"
        for action in actions:
            if isinstance(action, Deploy):
                assert self.has[action.server] != "1.1", "who has it is left alone"
            if isinstance(action, GoBack):
                assert wanted.on_failure == "rollback" and not self.rollout.ran_command, "it goes back unasked"


@settings(max_examples=60, deadline=None)
@given(made=fates, wanted=options, command=st.booleans(), data=st.data())
def test_it_ends_and_keeps_the_rules(made, wanted, command, data):
    world = World(made, wanted, command, data.draw)
    ended = world.run()
    states = {name: server.state for name, server in ended.servers.items()}
    if ended.phase == words.FINISHED:
        assert all(state in words.HAS_IT or state in (words.SKIPPED, *words.FAILURES) for state in states.values()), (
            states
        )
    if ended.phase == words.NOT_BEGUN:
        assert world.deploys == []
    if ended.succeeded:
        assert set(world.has.values()) == {"1.1"}
    ran = [
        one for one in world.deploys if command and one.command and world.fates[one.server] not in ("dies", "vanishes")
    ]
    if command and "busy once" not in made and "fails" not in made:
        assert len(ran) <= 1, "the release command runs once"
    # What a person sees at the end is true, but for servers that nobody has heard.
    for name, state in states.items():
        if state in words.HAS_IT:
            assert world.has[name] == "1.1"
        if state in (words.STAGED, words.REVERTED):
            assert world.has[name] == "1.0"


@settings(max_examples=30, deadline=None)
@given(made=fates, wanted=options, data=st.data())
def test_what_was_stopped_is_finished_by_resuming_it_once_the_servers_are_well(made, wanted, data):
    world = World(made, dataclasses.replace(wanted, on_failure="stop"), False, data.draw)
    world.run()
    before = dict(world.has)
    world.fates = dict.fromkeys(world.fates, "well")
    world.dead, world.mail, world.running, world.deploys, world.prompt = set(), [], {}, [], True
    world.rollout = engine.resumed(world.rollout, world.now)
    ended = world.run()
    assert (ended.phase, ended.succeeded) == (words.FINISHED, True)
    assert sorted(one.server for one in world.deploys) == sorted(name for name, had in before.items() if had == "1.0")
