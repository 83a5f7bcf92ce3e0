"""The release command of a deploy, and programs that people run once."""

import json
import os
import pathlib
import re
import stat
import types

import pytest
from globolib import answers, argv, checks, command, heal, ledger, rollback, run, steps, units
from globolib.errors import Failure
from globolib.layout import COMMAND
from globolib.settings import Settings

# Leaves a line for each time that it ran, with what it saw.
MIGRATE = [
    "python",
    "-c",
    "import os, sys; open('../ran', 'a').write(os.getcwd() + ' ' + os.environ['URL'] + '\\n'); print('migrated $URL')",
]
FAILS = ["python", "-c", "print('no such table'); raise SystemExit(4)"]


@pytest.fixture
def served(machine):
    """A server where 1.0 serves, and 1.1 is there to be deployed with a release command."""
    machine.publish("1.0")
    machine.pillar["globoapp"]["environment"] = {"URL": "geheim"}
    assert machine.deploy("1.0").failure is None
    machine.publish("1.1", release_command=MIGRATE)
    return machine


def ran(machine):
    """What the release command has left: a line for each time."""
    path = machine.root / "ran"
    return path.read_text().splitlines() if path.exists() else []


def test_it_runs_once_with_the_new_code_before_the_trial(served):
    deploy = served.deploy("1.1")
    assert deploy.failure is None
    assert ran(served) == [f"{served.layout.release('PACK1_1')} geheim"]
    began = [call for call in served.systemd.calls if call.startswith(("systemd-run", "start"))]
    tried = began.index("start globoapp-candidate@PACK1_1.service")
    assert began[tried - 1].startswith("systemd-run globoapp-command@PACK1_1-")
    assert re.search(r"exit 0 after \d\.\d\d s\n.*\n    \| migrated \$URL$", deploy.said["release_command"])
    assert deploy.line["release_command"]["exit"] == 0 and deploy.line["release_command"]["seconds"] > 0
    (log,) = pathlib.Path(served.layout.commands).iterdir()
    assert log.read_text().endswith("migrated $URL\n") and stat.S_IMODE(log.stat().st_mode) == 0o640
    assert "geheim" not in deploy.said["release_command"] + log.read_text() + json.dumps(deploy.line)


def test_never_again_for_what_is_deployed(served):
    served.deploy("1.1")
    served.systemd.calls.clear()
    for change in ({}, {"globoapp": {"access_log": True}}, {"port": served.port}):
        deploy = served.deploy("1.1", **change)
        assert deploy.failure is None and "release_command" not in (deploy.line or {})
    served.edit("1.1")
    assert served.deploy().failure is None
    heal.heal(served.minion())
    assert len(ran(served)) == 1


def test_a_rollback_runs_none_and_says_that_what_it_changed_stays(served):
    served.publish("1.2", release_command=MIGRATE)
    served.deploy("1.1")
    served.deploy("1.2")
    assert len(ran(served)) == 2
    answer = rollback.rollback(served.minion())
    assert answer["to"] == "1.1" and len(ran(served)) == 2
    assert answer["comment"].endswith(
        "The release command of 1.2 had run: what it changed (a database's schema) stays as it is."
    )


def test_without_one_a_rollback_says_nothing_of_it(served):
    served.publish("1.2")
    served.deploy("1.2")
    assert "release command" not in rollback.rollback(served.minion())["comment"]


def test_a_dry_run_says_what_would_be_run(served):
    deploy = served.deploy("1.1", test=True)
    assert deploy.said["release_command"].startswith("python -c 'import os") and ran(served) == []
    assert deploy.said["release_command"].endswith("would be run.")


@pytest.mark.parametrize(("wanted", "count"), [(False, 0), (["python", "-c", "open('../other', 'w')"], 0), (None, 1)])
def test_pillar_goes_before_the_manifest(served, wanted, count):
    deploy = served.deploy("1.1", globoapp={"release_command": wanted})
    assert deploy.failure is None and len(ran(served)) == count
    assert (served.root / "other").exists() is bool(wanted)
    assert ("release_command" in deploy.line) is (wanted is not False)


def test_one_that_fails_stops_the_deploy(served):
    served.publish("1.1", release_command=FAILS)
    before = served.live_files()
    served.systemd.calls.clear()
    deploy = served.deploy("1.1")
    assert re.match(
        r"the release command of 1\.1 failed, and nothing was switched: python -c .*: exit 4 after \S+ s\n"
        r"Its last lines \(all of them in \S+\):\n    \| no such table\nWhat it has changed stays",
        deploy.failure,
    )
    assert served.live_files() == before and served.answers() == '{"version": "1.0"}'
    assert not any("candidate" in call for call in served.systemd.calls if call.startswith("start"))
    assert (deploy.line["result"], deploy.line["release_command"]["exit"]) == ("failed", 4)
    told = answers.releases(served.minion())["PACK1_1"]
    assert told["state"] == "failed" and "no such table" in pathlib.Path(told["log"]).read_text()
    served.publish("1.2", release_command=MIGRATE)
    assert served.deploy("1.2").failure is None


def test_one_that_hangs_is_ended_with_its_processes(served, monkeypatch):
    monkeypatch.setitem(checks.SECONDS, "release_timeout", (0, 600))
    served.publish("1.1", release_command=["sh", "-c", "sleep 999 & echo $! > ../pid; wait"])
    deploy = served.deploy("1.1", globoapp={"release_timeout": 0.3})
    assert "no end after 0.3 s: it was killed" in deploy.failure
    assert deploy.line["release_command"]["exit"] is None
    pid = (served.root / "pid").read_text().strip()
    assert not os.path.exists(f"/proc/{pid}") or " Z " in pathlib.Path(f"/proc/{pid}/stat").read_text()
    assert served.answers() == '{"version": "1.0"}'


def test_a_deploy_that_fails_later_tells_that_it_ran(served):
    served.publish("1.1", "raise SystemExit(1)\n", release_command=MIGRATE)
    deploy = served.deploy("1.1", globoapp={"deadline": 1})
    assert "failed its trial" in deploy.failure and deploy.line["release_command"]["exit"] == 0
    assert "Its release command had run: what that changed (a database's schema) stays" in deploy.said["recorded"]
    assert len(ran(served)) == 1
    served.deploy("1.1", globoapp={"deadline": 1})
    assert len(ran(served)) == 2  # until it is deployed each deploy runs it


def test_one_that_was_cut_is_told_ended_and_run_again(served):
    cut = served.begin("1.1")
    cut.begin()
    cut.unpack()
    cut.build() if "build" in cut.steps else None
    served.systemd.fails["systemd-run *"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        cut.run_release_command()
    del served.systemd.fails["systemd-run *"]
    cut.unlock()
    left = served.layout.instance("PACK1_1-12345678", COMMAND)
    served.systemd.state(left).active = "active"  # its minion was killed: systemd goes on
    deploy = served.deploy("1.1")
    assert deploy.failure is None and len(ran(served)) == 1
    assert served.systemd.state(left).active == "inactive"
    lines = [entry.data for entry in ledger.read(served.layout.ledger)]
    assert [(line["result"], line["release_command"]["exit"]) for line in lines[-2:]] == [
        ("interrupted", None),
        ("success", 0),
    ]


def test_what_people_run_is_nothing_left_over(served):
    once = served.layout.instance("once-PACK1_0-12345678", COMMAND)
    served.systemd.state(once).active = "active"
    assert served.begin().host.leftovers == ()
    served.systemd.state(served.layout.instance("PACK1_0-1", COMMAND)).active = "active"
    assert served.begin().host.leftovers == ("globoapp-command@PACK1_0-1.service",)


def test_a_part_of_the_states_does_not_run_it(served):
    here = served.begin("1.1")
    here.begin(whole=False)
    here.unpack()
    assert "not run" in steps.release_command(here, "1.1").comment and ran(served) == []
    here.unlock()


def test_a_deploy_to_the_same_place_that_ended_meanwhile_had_run_it(served):
    late = served.begin("1.1")
    served.deploy("1.1")
    assert late.release_command
    deploy = served.deploy(here=late)
    assert deploy.failure is None and len(ran(served)) == 1
    assert deploy.said["release_command"] == "release_command is the deployed version by now: nothing is to be run."


def test_where_systemd_does_not_start_it(served):
    served.systemd.fails["systemd-run *"] = "Failed to connect to bus"
    deploy = served.deploy("1.1")
    assert re.match("python -c .* did not run: systemd-run: Failed to connect to bus$", deploy.failure)
    assert served.answers() == '{"version": "1.0"}'


def test_a_full_disk_does_not_hide_how_it_ended(served, monkeypatch):
    def full(path, *args):
        raise OSError(28, "No space left on device")

    served.publish("1.1", release_command=FAILS)
    settings, words = settings_of(served, "1.1")
    monkeypatch.setattr(command, "files", types.SimpleNamespace(make_directory=full))
    ended, path = command.release_command(settings, words, "api:app")
    assert (ended.exit, path) == (4, "")
    assert "(its output could not be kept)" in command.told(FAILS, ended, path)


def settings_of(machine, version):
    """The settings of a version whose release is unpacked, and its release command."""
    here = machine.begin(version)
    os.makedirs(here.settings.layout.candidate, exist_ok=True)
    here.unpack()
    return here.settings, here.release_command


def test_logs_of_it_are_tidied_like_others(served):
    served.deploy("1.1")
    (log,) = pathlib.Path(served.layout.commands).iterdir()
    assert heal.tidy(served.minion(), 1)["logs"] == []
    os.utime(log, (0, 0))
    assert heal.tidy(served.minion(), 1)["logs"] == [str(log)]


def test_what_a_command_has_of_the_unit_that_serves():
    settings = Settings(
        name="shop", user="web", root="/srv/shops/one", version="1.0", memory_max="512M", connect=["10.0.0.5"]
    )
    service = units.release_unit(settings).partition("[Service]\n")[2].partition("[Install]")[0]
    service = service.replace("%i", "PACK1_0").splitlines()
    properties = units.command_properties(settings, "/e", 600)
    assert [line for line in properties if line not in service] == [
        "EnvironmentFile=/e",
        "Environment=PATH=/srv/shops/one/PACK1_0/.venv/bin:/usr/local/bin:/usr/bin:/bin",
        "Type=exec",
        "RuntimeMaxSec=600",
        "TimeoutStopSec=10",
    ]
    missing = [line.partition("=")[0] for line in service if "=" in line and line not in [*properties, ""]]
    assert sorted(name for name in missing if not name.startswith("#")) == [
        "EnvironmentFile", "ExecStart", "NotifyAccess", "OOMPolicy", "Restart", "RestartSec", "RuntimeDirectory",
        "TimeoutStartSec", "TimeoutStopSec", "Type",
    ]  # fmt: skip
    assert {"User=web", "StateDirectory=shop", "MemoryMax=512M", "IPAddressAllow=10.0.0.5/32"} <= set(properties)


# What people run.


def once(machine, words, timeout=60):
    """What globoapp.run answers."""
    return answers.command(machine.minion(function="globoapp.run"), words, timeout)


def test_a_program_runs_with_what_is_deployed(served):
    code = "import os, sys; print(os.getcwd(), sys.argv[1:], len(os.environ['URL'])); print('\\x1b[1mbad')"
    answer = once(served, f'python -c "{code}" "a b" $HOME')
    assert answer["exit"] == 0 and answer["seconds"] > 0
    assert answer["output"] == f"{served.layout.release('PACK1_0')} ['a b', '$HOME'] 6\nbad"
    assert answer["command"].startswith("python -c 'import os") and "problem" not in answer


def test_a_program_that_fails_and_one_that_hangs(served):
    assert once(served, ["sh", "-c", "exit 7"])["exit"] == 7
    answer = once(served, "sleep 99", timeout=1)
    assert (answer["exit"], answer["problem"]) == (None, "no end after 1 s: it was killed")
    answer = once(served, ["sh", "-c", "kill -9 $$"])
    assert answer["exit"] is None and re.match(r"it was killed \(signal\) after", answer["problem"])
    assert not [name for name in served.systemd.states if served.systemd.state(name).active == "failed"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "the command is '': a program and its arguments"),
        ("echo 'x", 'the command "echo \'x" cannot be split into words: No closing quotation'),
        (["echo", 1], "the command is ['echo', 1]: a program"),
        (5, "the command is 5: a program"),
    ],
)
def test_what_is_no_command(served, words, why):
    with pytest.raises(Failure, match=re.escape(why)):
        once(served, words)


@pytest.mark.parametrize("timeout", [0, "60", True, 1e6])
def test_what_is_no_time(served, timeout):
    with pytest.raises(Failure, match="^timeout is .*: seconds, a number from 1 to 86400"):
        once(served, "true", timeout)


def test_where_nothing_is_deployed_and_in_test_mode(machine):
    with pytest.raises(Failure, match="^nothing is deployed on this host: there is no code to run it with"):
        once(machine, "true")
    machine.has("1.0")
    with pytest.raises(Failure, match="^the minion is configured with test: True: nothing was run"):
        answers.command(machine.minion(test=True), "true")


def test_it_needs_no_lock(served):
    minion = served.minion()
    holder = run.take_lock(minion, run.deployed_settings(minion)[0], "deploy of 1.1")
    assert once(served, "true")["exit"] == 0
    holder.release()


@pytest.mark.parametrize(
    ("value", "fits"),
    [(["a"], True), (["a"] * 64, True), (["a"] * 65, False), ([], False), ("a", False), ([""], False), (["\0"], False),
     (["\ud800"], False), ([1], False), (("a",), False)],
)  # fmt: skip
def test_what_is_a_program_with_arguments(value, fits):
    assert argv.fits(value) is fits
