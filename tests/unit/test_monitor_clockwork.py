"""What calls monitoring again and again: the beacon on a server, the engine on the master. Neither may ever end."""

import ast
import importlib.util
import pathlib

import pytest

SALT = pathlib.Path(__file__).parents[2] / "salt"


def load(path, **given):
    """A file of Salt's as its loader executes it, with what the loader puts into it."""
    spec = importlib.util.spec_from_file_location(f"tree_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(given)
    return module


def torn():
    raise ValueError("torn")


@pytest.fixture
def beacon():
    """The beacon; what it calls fails until a test puts something else in."""
    return load(SALT / "_beacons/globoapp.py", __salt__={"globoapp_minion.look": torn})


def test_the_beacon_never_raises_and_says_once_why_it_cannot_look(beacon, caplog):
    first, second = beacon.beacon([]), beacon.beacon([])
    assert [(event["tag"], event["probe"], event["state"]) for event in first] == [("monitor/bad", "monitor", "bad")]
    assert "ValueError: torn" in first[0]["message"]
    assert second == []
    assert len(caplog.records) == 1
    beacon.__salt__["globoapp_minion.look"] = lambda: [{"tag": "api/bad"}]
    assert [event["tag"] for event in beacon.beacon([])] == ["api/bad", "monitor/clear"]
    assert [event["tag"] for event in beacon.beacon([])] == ["api/bad"]


def test_a_fresh_minion_gets_the_beacon_before_the_rest_and_that_is_no_alert(beacon, caplog):
    look = beacon.__salt__.pop("globoapp_minion.look")
    assert [beacon.beacon([]) for _ in range(beacon.PATIENCE - 1)] == [[]] * (beacon.PATIENCE - 1)
    assert not caplog.records
    assert "globoapp_minion.look" in beacon.beacon([])[0]["message"]
    beacon.__salt__["globoapp_minion.look"] = look
    assert "torn" in beacon.beacon([])[0]["message"]
    del beacon.__salt__["globoapp_minion.look"]
    assert beacon.beacon([]) == []


def test_what_the_beacon_has_said_outlives_its_being_loaded_again(beacon):
    assert beacon.beacon([]) != []
    exec(compile((SALT / "_beacons/globoapp.py").read_text(), "again", "exec"), vars(beacon))
    assert beacon.beacon([]) == []


def test_the_beacon_needs_no_package():
    """Its loader has no path of utils: a beacon that imports the package is not there until the minion restarts."""
    tree = ast.parse((SALT / "_beacons/globoapp.py").read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [name.name for node in imported for name in node.names] == ["logging"]


@pytest.mark.parametrize("config", [{}, [{"interval": 0}], [{"interval": "1"}], [{"interval": True}], ["x"]])
def test_the_beacon_refuses_a_wrong_configuration(beacon, config):
    valid, why = beacon.validate(config)
    assert valid is False and why.startswith("beacons:globoapp")


@pytest.mark.parametrize("config", [[], [{}], [{"interval": 1}], [{"interval": 30}, {"enabled": True}]])
def test_the_beacon_takes_a_right_one(beacon, config):
    assert beacon.validate(config)[0] is True


class Clock:
    """Stands in for the module `time`; when so many seconds have passed, the engine's loop ends."""

    def __init__(self, seconds):
        self.now, self.end = 0.0, float(seconds)

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self.now >= self.end:
            raise KeyboardInterrupt


class Runners(dict):
    """Runner functions that note when they are called; those in `broken` raise."""

    def __init__(self, clock, broken=()):
        self.clock, self.broken, self.calls = clock, broken, []

    def __missing__(self, name):
        def call(*arguments):
            self.calls.append((self.clock.now, name, arguments))
            if name in self.broken:
                raise ValueError("broken")

        return call

    def times(self, name):
        return [now for now, called, _ in self.calls if called == name]


def run(seconds, broken=(), **settings):
    """Lets the engine work for a while."""
    clock = Clock(seconds)
    runners = Runners(clock, broken)
    engine = load(SALT / "_engines/globoapp.py", __runners__=runners, time=clock)
    with pytest.raises(KeyboardInterrupt):
        engine.start(**settings)
    return runners


def test_the_engine_calls_each_job_at_its_pace():
    runners = run(61)
    counts = {name: len(runners.times(name)) for _, name, _ in runners.calls}
    assert counts == {
        "globoapp_watch.deliver": 61, "globoapp_watch.tend": 61, "globoapp_watch.listen": 3, "globoapp_watch.expire": 1,
    }  # fmt: skip


def test_the_engine_writes_metrics_only_where_it_is_told():
    runners = run(61, metrics="/x/globoapp.prom")
    assert runners.times("globoapp.metrics") == [0, 30, 60]
    assert {arguments for _, name, arguments in runners.calls if name == "globoapp.metrics"} == {("/x/globoapp.prom",)}


def test_a_job_that_fails_waits_and_ends_no_other(caplog):
    runners = run(61, broken=("globoapp_watch.deliver",))
    assert runners.times("globoapp_watch.deliver") == [0, 30, 60]
    assert len(runners.times("globoapp_watch.tend")) == 61
    assert "globoapp_watch.deliver failed" in caplog.text


def test_the_engine_calls_what_there_is():
    """Each job is a function of a runner's file."""
    runners = run(1, metrics="/x/globoapp.prom")
    for _, name, _ in runners.calls:
        file, function = name.split(".")
        tree = ast.parse((SALT / "_runners" / f"{file}.py").read_text())
        assert function in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)], name
