"""Background processes with real ones: switched with the release, undone with it, repaired, and gone with it."""

import os
import pathlib

import pytest
from globolib import answers, background, daemons, heal, release, systemd
from globolib.errors import Failure
from machine import wait

ONE, TWO = "globoapp-worker@PACK1_0.service", "globoapp-worker@PACK1_1.service"
WEB = "globoapp@PACK1_0.service"
WORKS = {"worker": "sleep 1000"}
ENDS = {"worker": ["sh", "-c", "echo no broker; exit 4"]}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One that ends does so at once here."""
    monkeypatch.setattr(daemons, "STAY", 0.3)


@pytest.fixture
def served(machine):
    """A server on which 1.0 was deployed with a worker; ``before`` are the files that it reads."""
    machine.publish("1.0", processes=WORKS)
    assert machine.deploy("1.0", without=["tried"]).failure is None
    machine.before = machine.live_files()
    machine.systemd.calls.clear()
    return machine


def working(machine):
    """The units of background processes that have a process."""
    names = [name for name in machine.systemd.states if background.of_unit(machine.layout, name)]
    return sorted(name for name in names if machine.systemd.pid(name))


def files(machine):
    """What there is of background processes among the unit files."""
    return sorted(name for name in os.listdir(machine.layout.units) if "-worker@" in name)


def assert_only(machine, unit, version):
    """This release serves with this worker, and nothing differs."""
    assert working(machine) == [unit]
    assert files(machine) == [unit, f"{unit}.d"]
    assert machine.answers() == f'{{"version": "{version}"}}'
    assert answers.status(machine.minion())["differences"] == ["current points to None instead of " + release_of(unit)]


def release_of(unit):
    return unit.partition("@")[2].removesuffix(".service")


def test_it_runs_with_its_release(served):
    assert_only(served, ONE, "1.0")
    told = {"worker": f"active, process {served.systemd.pid(ONE)}"}
    assert answers.status(served.minion())["processes"] == told
    health = answers.health(served.minion(), deadline=0)
    assert (health["healthy"], health["processes"]) == (True, told)
    pid = served.systemd.pid(ONE)
    again = served.deploy("1.0")
    assert (again.failure, again.line, served.systemd.pid(ONE)) == (None, None, pid)


def test_a_release_without_any_has_none(machine):
    machine.publish("1.0")
    assert machine.deploy("1.0", without=["tried"]).failure is None
    assert working(machine) == files(machine) == []
    assert "processes" not in answers.status(machine.minion())
    assert not [call for call in machine.systemd.calls if "worker" in call]


def test_the_next_release_brings_its_own_when_it_serves(served):
    served.publish("1.1", processes=WORKS)
    seen = []
    served.systemd.fails[f"start {TWO}"] = lambda: seen.append((served.running(), working(served)))
    done = served.deploy("1.1")
    assert done.failure is None
    assert seen == [(["PACK1_1"], [])], "the web first; of the old worker nothing is left when the new one starts"
    assert_only(served, TWO, "1.1")
    assert f"{ONE} runs" in str(done.said) or done.line["changed"]


def test_one_that_has_lasted_here_is_not_watched_again(served):
    served.publish("1.1")
    assert served.deploy("1.1").failure is None
    done = served.deploy("1.0", globoapp={"prove": 300})
    assert done.failure is None
    assert_only(served, ONE, "1.0")


def assert_1_0_is_back(machine, done):
    assert done.line["result"] == "failed"
    assert "\nSwitched back: 1.0 serves again." in done.failure
    assert_only(machine, ONE, "1.0")
    assert machine.live_files().items() >= machine.before.items()


def test_one_that_ends_fails_the_deploy_and_the_old_one_is_back(served):
    served.publish("1.1", processes=ENDS)
    done = served.deploy("1.1")
    assert_1_0_is_back(served, done)
    assert f"the background processes of 1.1 could not be switched: {TWO} did not stay up: " in done.failure
    assert "exit-code" in done.failure or "exit code" in done.failure
    assert "    | no broker" in done.failure
    assert TWO in release.record(served.layout, "PACK1_1").failed.why


def test_one_that_ends_in_the_soak_fails_the_deploy(served):
    served.publish("1.1", processes={"worker": ["sleep", "0.6"]})
    done = served.deploy("1.1", globoapp={"soak": 1.5})
    assert_1_0_is_back(served, done)
    assert f"1.1 is not healthy: {TWO} did not stay up" in done.failure


def test_one_that_cannot_be_started_fails_the_deploy(served):
    served.publish("1.1", processes=WORKS)
    served.systemd.fails[f"start {TWO}"] = "Job failed."
    assert_1_0_is_back(served, served.deploy("1.1"))


def test_a_release_that_does_not_serve_starts_none(served):
    served.publish("1.1", "if not candidate:\n    raise RuntimeError('no')\ndef answer():\n"
                   '    return 200, \'{"version": "1.1"}\'\n', processes=WORKS)  # fmt: skip
    done = served.deploy("1.1")
    assert done.line["result"] == "failed"
    assert_only(served, ONE, "1.0")
    assert f"start {TWO}" not in served.systemd.calls


def test_the_first_deploy_that_fails_leaves_none(machine):
    machine.publish("1.0", processes=ENDS)
    done = machine.deploy("1.0")
    assert "Nothing was deployed here before: it was stopped." in done.failure
    assert (machine.running(), working(machine), files(machine)) == ([], [], [])


def test_a_release_without_any_takes_them_away_and_back(served):
    served.publish("1.1")
    assert served.deploy("1.1").failure is None
    assert working(served) == files(served) == []
    assert served.deploy("1.0").failure is None
    assert_only(served, ONE, "1.0")


def test_pillar_switches_one_off_and_has_another_command(served):
    assert served.deploy("1.0", globoapp={"processes": {"worker": None}}).failure is None
    assert working(served) == files(served) == []
    served.pillar["globoapp"]["processes"] = {"worker": "sleep 2000"}
    assert served.deploy("1.0").failure is None
    assert_only(served, ONE, "1.0")
    assert '"sleep" "2000"' in pathlib.Path(served.layout.process_file(ONE)).read_text()


@pytest.mark.parametrize(
    "broken",
    [
        lambda machine: machine.systemd.run(["systemctl", "stop", ONE]),
        lambda machine: os.unlink(machine.layout.process_file(ONE)),
        lambda machine: (os.unlink(path := machine.layout.process_file(ONE)), os.symlink("/dev/null", path)),
        lambda machine: pathlib.Path(machine.layout.process_file(ONE)).write_text("# Managed by Salt (globoapp).\n"),
    ],
    ids=["stopped", "file gone", "masked", "edited"],
)
def test_it_is_healed(served, broken):
    broken(served)
    assert ONE in str(answers.status(served.minion())["differences"])
    web = served.systemd.pid(WEB)
    assert heal.heal(served.minion())["result"] == "healed"
    assert_only(served, ONE, "1.0")
    assert served.systemd.pid(WEB) == web, "what serves goes on"


def test_one_that_is_dead_is_named_and_has_its_log(machine):
    served = machine
    served.publish("1.0", processes={"worker": ["sh", "-c", "echo marker; exec sleep 1000"]})
    assert served.deploy("1.0", without=["tried"]).failure is None
    served.systemd.run(["systemctl", "stop", ONE])
    health = answers.health(served.minion(), deadline=0)
    assert health["log"] == ["marker"]
    assert (health["healthy"], health["problems"]) == (False, [f"{ONE} does not run"])
    assert answers.status(served.minion())["differences"].count(f"{ONE} does not run") == 1


def test_a_repair_that_does_not_help_leaves_what_serves(served):
    served.pillar["globoapp"]["processes"] = ENDS
    web = served.systemd.pid(WEB)
    done = served.deploy("1.0")
    assert f"{ONE} did not stay up" in done.failure
    assert served.systemd.pid(WEB) == web and served.answers()


@pytest.mark.parametrize("running", [True, False], ids=["it runs", "it was stopped"])
def test_one_that_read_what_was_edited_starts_afresh(served, running):
    pid = served.systemd.pid(ONE)
    served.edit("1.0")
    if not running:
        served.systemd._down(WEB)  # as one that has crashed: its worker goes on
    assert served.deploy("1.0").failure is None
    assert_only(served, ONE, "1.0")
    assert served.systemd.pid(ONE) != pid


@pytest.mark.parametrize("verb", ["start", "stop", "daemon-reload"])
def test_a_switch_that_is_cut_is_repaired_by_the_next_run(served, verb):
    class Cut(BaseException):
        pass

    def cut():
        raise Cut

    served.publish("1.1", processes=WORKS)
    served.systemd.fails[f"{verb} {TWO if verb == 'start' else ONE if verb == 'stop' else ''}".strip()] = cut
    here = served.begin("1.1")
    with pytest.raises(Cut):
        served.deploy(here=here)
    here.unlock()
    served.systemd.fails.clear()
    done = served.deploy()
    assert done.failure is None
    assert_only(served, ONE, "1.0")


def test_drop_ins_of_what_serves_hold_and_its_own_go_before(served):
    layout = served.layout
    pathlib.Path(layout.drop_ins(), "site.conf").write_text("[Service]\nMemoryMax=1G\n")
    pathlib.Path(layout.drop_ins(), "other.conf").write_text("[Service]\nNice=1\n")
    own = pathlib.Path(layout.drop_ins("-worker"))
    own.mkdir()
    (own / "site.conf").write_text("[Service]\nMemoryMax=2G\n")
    served.publish("1.1", processes=WORKS)
    assert served.deploy("1.1").failure is None
    assert sorted(os.listdir(f"{layout.process_file(TWO)}.d")) == ["other.conf", "zz-globoapp.conf"]
    served.publish("1.2")
    assert served.deploy("1.2").failure is None
    assert files(served) == ["globoapp-worker@.service.d"], "a site's own file stays"


def test_two_do_not_know_each_other(served):
    both = {"beat": "sleep 1000", "worker": "sleep 1000"}
    served.publish("1.1", processes=both)
    assert served.deploy("1.1").failure is None
    assert working(served) == ["globoapp-beat@PACK1_1.service", TWO]
    served.systemd.run(["systemctl", "stop", TWO])
    beat = served.systemd.pid("globoapp-beat@PACK1_1.service")
    assert served.deploy("1.1").failure is None
    assert working(served) == ["globoapp-beat@PACK1_1.service", TWO]
    assert served.systemd.pid("globoapp-beat@PACK1_1.service") == beat


def test_somebody_elses_unit_is_not_touched(served):
    path = pathlib.Path(served.layout.process_file("globoapp-mine@PACK1_0.service"))
    path.write_text("[Service]\nExecStart=/usr/bin/env -- sleep 1000\n")
    served.publish("1.1", processes={"mine": "sleep 1000"})
    served.systemd.run(["systemctl", "daemon-reload"])
    served.systemd.run(["systemctl", "start", path.name])
    assert served.deploy("1.1").failure is None
    assert path.exists() and path.name in working(served)


def test_stays_says_how_it_ended(served):
    began = systemd.units_of(ONE)
    daemons.stayed(began)
    served.systemd.state(ONE).process.kill()
    wait(lambda: not served.systemd.pid(ONE))
    with pytest.raises(Failure, match=rf"{ONE} did not stay up: activating \(auto-restart\), exit code"):
        daemons.stayed(began)
