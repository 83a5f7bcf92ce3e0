"""Two apps on one server: each is deployed, broken, healed and rolled back, and the other one does not notice."""

import dataclasses

import psutil
import pytest
from fakesystemd import Systemd
from globolib import accounts, answers, commands, heal, ledger, processes, rollback, run, settings
from machine import Machine
from ports import free_port


class Beside(Machine):
    """The app ``shop`` on a machine that has another one."""

    def __init__(self, first):
        vars(self).update(vars(first))
        self.root = first.root.parent / "shop"
        self.layout = settings.Layout("shop", str(self.root))
        self.systemd = Systemd(self.layout, first.systemd.logs)
        self.systemd.real_run = first.systemd.real_run
        self.port, self.both = free_port(), (first.systemd, self.systemd)
        section = {**first.pillar["globoapp"], "root": str(self.root), "port": self.port}
        first.pillar["globoapps"] = {"shop": {**section, "source": f"file://{self.dist}/{{name}}-{{version}}.zip"}}
        self.functions = {**first.functions, "state.apply": self._apply}
        parents = (first._parents, self._parents)
        together = lambda: {pid: parent for each in parents for pid, parent in each().items()}  # noqa: E731
        self.monkeypatch.setattr(processes, "_pids", lambda: sorted(together()))
        self.monkeypatch.setattr(psutil, "_ppid_map", together)
        self.monkeypatch.setattr(commands, "run", self._run)
        self.monkeypatch.setattr(accounts, "runs_as", lambda settings, pid: settings.name)

    def _run(self, command, *args, **kwargs):
        """One systemd for the units of each; what names no unit is for both."""
        theirs, mine = self.both
        if "shop" in " ".join(command) or command[0] != "systemctl":
            return mine.run(command, *args, **kwargs)
        if "daemon-reload" in command:
            mine.run(command, *args, **kwargs)
        return theirs.run(command, *args, **kwargs)

    def site(self, pillar=None, *args, **kwargs):
        """Calls of this machine name its app."""
        return super().site({"app": "shop", **(pillar or {})}, *args, **kwargs)

    def inner(self, pillar):
        """What a function applies says itself which app it is for."""
        inner = super().inner(pillar)
        assert inner.app == "shop"
        return inner


@pytest.fixture
def shop(machine):
    made = Beside(machine)
    made.publish("1.0")
    made.publish("1.1")
    assert machine.deploy("1.0", without=["tried"]).failure is None
    assert made.deploy("1.0", without=["tried"]).failure is None
    yield made
    made.close()


def lines(machine):
    """(app, version, action) of each line of the ledger."""
    return [(one.data.get("app"), one.version, one.action) for one in ledger.read(machine.layout.ledger)]


def serve(machine, shop, *versions):
    """Both answer, and nothing is wrong with either but the link that a state of Salt's own makes."""
    for one, version in zip((machine, shop), versions, strict=True):
        said = answers.status(one.minion(function="globoapp.status"))
        assert said["version"] == version
        assert [line for line in said["differences"] if not line.startswith("current points to None")] == []
    assert [one.answers() for one in (machine, shop)] == [f'{{"version": "{version}"}}' for version in versions]


def test_each_is_deployed_alone(machine, shop):
    serve(machine, shop, "1.0", "1.0")
    assert lines(shop) == [("shop", "1.0", "deploy")]
    assert shop.events[-1][1]["app"] == "shop"
    assert shop.deploy("1.1").failure is None
    serve(machine, shop, "1.0", "1.1")
    assert machine.deploy("1.1").failure is None
    serve(machine, shop, "1.1", "1.1")
    assert lines(machine) == [(None, "1.0", "deploy"), (None, "1.1", "deploy")]
    assert shop.deploy().line is machine.deploy().line is None, "a second run of either changes nothing"


def test_a_bad_release_of_one_leaves_the_other(machine, shop):
    shop.publish("1.2", api="raise RuntimeError('it does not boot')\n")
    assert "boot" in shop.deploy("1.2").failure
    serve(machine, shop, "1.0", "1.0")


def test_each_is_healed_alone(machine, shop):
    pid = machine.systemd.pid("globoapp@PACK1_0.service")
    shop.systemd.run(["systemctl", "stop", "shop@PACK1_0.service"])
    shop.events.clear()
    answer = heal.heal(shop.minion(function="globoapp_minion.heal"))
    assert (answer["result"], answer["app"]) == ("healed", "shop"), answer
    assert [data["app"] for _, data in shop.events] == ["shop", "shop"]
    serve(machine, shop, "1.0", "1.0")
    assert lines(shop)[1:] == [("shop", "1.0", "repair")]
    assert machine.systemd.pid("globoapp@PACK1_0.service") == pid
    assert len(lines(machine)) == 1


def test_each_is_rolled_back_alone(machine, shop):
    for one in (machine, shop):
        assert one.deploy("1.1").failure is None
    answer = rollback.rollback(shop.minion(function="globoapp.rollback"))
    assert (answer["result"], answer["to"]) == (True, "1.0"), answer
    serve(machine, shop, "1.1", "1.0")
    assert lines(shop)[-1] == ("shop", "1.0", "rollback")
    assert lines(machine)[-1] == (None, "1.1", "deploy")


def test_what_collides_is_told_before_anything_is_touched(machine, shop):
    shop.pillar["globoapps"]["billing"] = {**shop.pillar["globoapps"]["shop"], "version": "1.0"}
    shop.pillar["globoapps"]["shop"]["prot"] = 1
    billing = shop.site(function="state.highstate").for_app("billing")
    wrong = [line for line in run.Run(billing).problems if "globoapps:shop" in line]
    assert [line.split()[2] for line in wrong] == ["root", "port"]
    assert machine.begin("1.1").problems == [], "who has nothing to do with it goes on"


def test_roots_that_are_one_directory_by_a_link_collide(machine, shop):
    link = shop.root.parent / "link"
    link.symlink_to(machine.root)
    shop.pillar["globoapps"]["shop"]["root"] = str(link)
    (line,) = [line for line in machine.begin("1.1").problems if "globoapps:shop" in line]
    assert f"and globoapps:shop has {machine.root}" in line


def test_another_app_that_is_wrong_is_no_problem_of_this_one(machine, shop):
    shop.pillar["globoapps"]["shop"]["port"] = "x"
    assert machine.begin("1.1").problems == []
    assert [line for line in shop.begin("1.1").problems if line.startswith("port is 'x'")]


def test_runs_of_one_job_are_kept_apart(machine, shop):
    context = {}
    both = machine.site(function="state.highstate")
    runs = [run.current(both.for_app(name), context) for name in both.apps]
    assert [here.settings.name for here in runs] == ["globoapp", "shop"]
    run.close(context, "shop")
    assert run.current(both.for_app(), context) is runs[0]
    assert run.current(both.for_app("shop"), context) is not runs[1]


def test_functions_of_an_app_are_about_it(machine, shop):
    assert shop.deploy("1.1").failure is None
    about = [dataclasses.replace(machine.site(function="x")).for_app(name) for name in ("globoapp", "shop")]
    assert [len(answers.history(one)) for one in about] == [1, 2]
    assert [list(answers.releases(one)) for one in about] == [["PACK1_0"], ["PACK1_0", "PACK1_1"]]
    assert [answers.health(one, deadline=0)["version"] for one in about] == ["1.0", "1.1"]
    assert [answers.settings(one, [])["name"] for one in about] == ["globoapp", "shop"]
    assert rollback.pruned(about[0], keep=1)["releases"] == []
