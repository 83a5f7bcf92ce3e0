"""What people ask of a server."""

import os
import pathlib

import pytest
from globolib import answers, health, plan, run, steps, systemd
from globolib.address import Address

ONE, TWO = "globoapp@PACK1_0.service", "globoapp@PACK1_1.service"


@pytest.fixture
def served(machine):
    """A server on which 1.0 was deployed."""
    assert machine.deploy("1.0", without=["tried"]).failure is None
    return machine


# Settings.


def test_settings_are_what_a_deploy_would_use(served):
    told = answers.settings(served.minion({"version": "1.1"}), [])
    assert (told["version"], told["release"], told["port"]) == ("1.1", "PACK1_1", served.port)
    assert told["problems"] == [] and told["warnings"] == []


def test_settings_tell_no_secret(served):
    served.pillar["globoapp"].update(environment={"PASSWORD": "geheim"}, credentials={"token": "geheim"})
    told = answers.settings(served.minion(), [])
    assert told["environment"] == ["PASSWORD"]
    assert "geheim" not in str(told) and "credentials" not in told


def test_all_problems_are_told_with_monitorings(served):
    told = answers.settings(served.minion({"globoapp": {"prot": 1}, "port": 0}), ["globoapp:monitor:x is unknown"])
    assert [problem.split()[0] for problem in told["problems"]] == ["globoapp:prot", "port", "globoapp:monitor:x"]


def test_a_slip_on_the_command_line_is_a_problem(served):
    minion = served.minion({"verison": "1.1"}, arguments={"version": 1.1})
    told = answers.preflight(minion, [])
    assert told["problems"] == [
        "version=1.1 is not an argument of state.apply, which ignores it: say pillar='{\"version\": ...}'",
        "verison in the pillar of this call is an unknown key; did you mean version?",
    ]
    assert "Nothing was touched" in served.deploy(here=run.Run(minion)).failure


def test_what_is_gone_with_the_call_is_a_warning(served):
    told = answers.preflight(served.minion({"version": "1.1", "globoapp": {"keep": 1, "user": "nobody"}}), [])
    assert told["warnings"] == [
        "user came with this call alone: the next highstate goes by pillar, so put there what is to stay"
    ]


def test_preflight_touches_nothing(machine):
    told = answers.preflight(machine.minion({"version": "1.0"}), [])
    assert told["problems"] == []
    assert not machine.root.exists()
    assert {call.split()[0] for call in machine.systemd.calls} <= {"show"}
    assert "version 9.9 is unknown" in answers.preflight(machine.minion({"version": "9.9"}), ["x"])["problems"][0]


# Health.


def test_health_of_what_serves(served):
    told = answers.health(served.minion())
    assert told.pop("latency_ms") > 0
    assert told == {
        "healthy": True,
        "version": "1.0",
        "asked": f"http://127.0.0.1:{served.port}/status/",
        "status": 200,
        "attempts": 1,
    }


def test_a_dry_run_with_nothing_to_do_asks_the_service_and_looks_at_the_host_once(served):
    here = run.Run(served.minion({"version": "1.0"}, test=True))
    before = list(served.systemd.calls)
    assert steps.healthy(here, "healthy").comment == "It answers as it should."
    assert served.systemd.calls == before
    served.systemd.run(["systemctl", "stop", ONE, served.layout.socket(Address("127.0.0.1", served.port))])
    assert "Connection refused" in steps.healthy(here, "healthy").comment


def test_health_of_a_bare_server(machine):
    assert answers.health(machine.minion()) == {
        "healthy": False,
        "version": None,
        "problems": ["nothing is deployed on this host"],
    }


def test_health_of_what_does_not_answer(served):
    served.systemd.run(["systemctl", "stop", ONE, served.layout.socket(Address("127.0.0.1", served.port))])
    told = answers.health(served.minion(), deadline=0)
    assert (told["healthy"], told["status"], told["latency_ms"], told["body"]) == (False, None, None, None)
    assert told["problems"] == ["no answer: ConnectionRefusedError: [Errno 111] Connection refused"]
    assert told["log"] == [f"(the journal holds no line of {ONE})"]


def test_health_of_what_answers_wrongly(machine):
    machine.publish(
        "1.0",
        "import os\ndef answer():\n    return 500 if os.path.exists('../bad') else 200, '{\"version\": \"1.0\"}'\n",
    )
    machine.deploy("1.0")
    (machine.root / "bad").touch()
    told = answers.health(machine.minion(), timeout=1, deadline=0.1)
    assert told["attempts"] > 1
    assert (told["status"], told["body"]) == (500, '{"version": "1.0"}')
    assert told["problems"] == ['status 500 instead of 200, body: \'{"version": "1.0"}\'']


def test_an_answer_is_not_enough(served):
    served.edit("1.0")
    told = answers.health(served.minion(), deadline=0)
    assert told["status"] == 200
    assert "PACK1_0: api.py was changed" in told["problems"]


def test_what_comes_up_meanwhile_is_healthy(served, monkeypatch):
    real, asked = health.once, []

    def once(*args):
        asked.append(args)
        return real(*args) if len(asked) > 2 else ("no answer: x", None)

    monkeypatch.setattr(health, "once", once)
    told = answers.health(served.minion(), deadline=3)
    assert (told["healthy"], told["attempts"]) == (True, 3)


def test_a_deploy_that_ended_meanwhile_is_what_is_asked_for(served, monkeypatch):
    real, asked = plan.proof, []

    def proof(settings, host):
        if not asked:
            asked.append(True)
            served.deploy("1.1")
            return ["it is another one"]
        return real(settings, host)

    monkeypatch.setattr(answers, "proof", proof)
    told = answers.health(served.minion(), deadline=0)
    assert (told["healthy"], told["version"]) == (True, "1.1")


def test_a_release_without_a_record_is_asked_for_its_root(served):
    os.unlink(served.layout.record("PACK1_0"))
    told = answers.health(served.minion(), deadline=0)
    assert told["asked"].endswith("/") and not told["healthy"]
    assert told["problems"] == ["PACK1_0 is not on this host"]


def test_a_note_is_no_fault(served, monkeypatch):
    monkeypatch.setattr(answers, "restart_notes", lambda settings, host: ["python was updated"])
    told = answers.health(served.minion())
    assert (told["healthy"], told["notes"]) == (True, ["python was updated"])
    assert answers.status(served.minion())["notes"] == ["python was updated"]


# Status.


def test_status_of_what_serves(served):
    (served.root / "current").symlink_to("PACK1_0")
    told = answers.status(served.minion())
    assert told.pop("since").startswith("20")
    assert told == {
        "version": "1.0",
        "release": "PACK1_0",
        "address": f"127.0.0.1:{served.port}",
        "current": "PACK1_0",
        "running": ["PACK1_0"],
        "at_boot": ["PACK1_0"],
        "deploying": None,
        "differences": [],
    }


def test_status_of_a_bare_server(machine):
    told = answers.status(machine.minion())
    assert (told["version"], told["release"], told["address"], told["since"]) == (None, None, None, None)
    assert (told["running"], told["at_boot"], told["current"]) == ([], [], None)
    assert told["differences"] == ["nothing is deployed on this host"]


DRIFT = {
    "stopped": (lambda m: m.systemd.run(["systemctl", "stop", ONE]), [f"{ONE} does not run"]),
    "edited": (lambda m: m.edit("1.0"), ["PACK1_0: api.py was changed"]),
    "not at boot": (lambda m: systemd.enable(m.layout, None), ["PACK1_0 does not start at boot"]),
    "settings": (
        lambda m: pathlib.Path(m.layout.gunicorn_conf).write_text(""),
        ["gunicorn.conf.py differs", "gunicorn.conf.py changed after it had started"],
    ),
    "what pillar says of gunicorn": (
        lambda m: pathlib.Path(m.layout.gunicorn_settings).write_text("{}"),
        ["gunicorn.json differs", "gunicorn.json changed after it had started"],
    ),
    "current": (lambda m: _link(m, "PACK9_9"), ["current points to PACK9_9 instead of PACK1_0"]),
    "no current": (lambda m: os.unlink(m.layout.current), ["current points to None instead of PACK1_0"]),
    "another one": (lambda m: _other(m), ["PACK1_1 runs"]),
    "no record": (lambda m: os.unlink(m.layout.record("PACK1_0")), ["PACK1_0 is not on this host"]),
    "a cut": (
        lambda m: os.mkdir(m.layout.incoming("PACK1_1")),
        ["left by a deploy that was cut: ", "/.incoming-PACK1_1"],
    ),
}


def _link(machine, target):
    os.unlink(machine.layout.current)
    os.symlink(target, machine.layout.current)


def _other(machine):
    machine.deploy("1.1")
    machine.deploy("1.0")
    machine.systemd.run(["systemctl", "start", TWO])


@pytest.mark.parametrize("drift", DRIFT)
def test_each_difference_is_told(served, drift):
    (served.root / "current").symlink_to("PACK1_0")
    change, words = DRIFT[drift]
    change(served)
    told = answers.status(served.minion())["differences"]
    for word in words:
        assert any(word in difference for difference in told), told


def test_while_a_deploy_is_under_way_nothing_counts_as_left(served):
    here = served.begin("1.1")
    here.begin()
    os.mkdir(served.layout.incoming("PACK1_1"))
    told = answers.status(served.minion())
    assert not [difference for difference in told["differences"] if difference.startswith("left by")]
    assert told["deploying"] == answers.deploying(served.minion())
    assert told["deploying"]["what"] == "deploy of 1.1"
    assert set(told["deploying"]) == {"what", "since", "jid", "pid"}
    here.unlock()
    assert answers.deploying(served.minion()) is None
    assert [difference for difference in answers.status(served.minion())["differences"] if "left by" in difference]


def test_a_server_that_was_cut_in_its_first_deploy_says_so(machine):
    here = machine.begin("1.0")
    here.begin()
    here.unlock()
    assert answers.status(machine.minion())["differences"] == [
        "nothing is deployed on this host",
        "left by a deploy that was cut: the note of a deploy that did not end",
    ]


# Releases and history.


def test_each_release_has_its_state(served):
    served.deploy("1.1")
    served.publish("1.2", "def answer():\n    return 500, ''\n")
    served.deploy("1.2", globoapp={"deadline": 1})
    served.publish("1.3")
    cut = served.begin("1.3")
    cut.begin()
    cut.unpack()
    cut.unlock()
    told = answers.releases(served.minion())
    assert {name: release["state"] for name, release in told.items()} == {
        "PACK1_0": "good",
        "PACK1_1": "live",
        "PACK1_2": "failed",
        "PACK1_3": "unused",
    }
    assert set(told["PACK1_0"]) == {"version", "unpacked", "sha256", "state"}
    assert told["PACK1_2"]["why"].startswith("1.2 failed its trial: ")
    assert os.path.exists(told["PACK1_2"]["log"])
    assert answers.releases(served.minion())["PACK1_1"]["version"] == "1.1"


def test_a_bare_server_has_no_releases_and_no_history(machine):
    assert answers.releases(machine.minion()) == {}
    assert answers.history(machine.minion()) == []


def test_history_is_newest_first(served):
    served.deploy("1.1")
    assert [line["version"] for line in answers.history(served.minion())] == ["1.1", "1.0"]
    assert [line["version"] for line in answers.history(served.minion(), limit=1)] == ["1.1"]
    assert len(answers.history(served.minion(), limit=0)) == 2
