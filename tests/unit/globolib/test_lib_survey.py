"""One look at a host; what a running release had read; what a deploy that was cut has left."""

import json
import os
import pathlib
import stat

import pytest
from globolib import files, leftovers, processes, run, started, survey, systemd
from globolib.address import Address
from globolib.host import Unit
from globolib.layout import CANDIDATE

ONE = "globoapp@PACK1_0.service"


@pytest.fixture
def served(machine):
    """A server on which 1.0 was deployed."""
    assert machine.deploy("1.0", without=["tried"]).failure is None
    machine.settings = run.deployed_settings(machine.minion())[0]
    machine.systemd.calls.clear()
    return machine


# The look.


def test_a_host_where_a_release_serves(served):
    layout = served.layout
    socket = layout.socket(Address("127.0.0.1", served.port))
    host = survey.survey(served.settings)
    (worker,) = host.workers["PACK1_0"]
    main, child = host.processes["PACK1_0"]
    assert (main.pid, child.pid) == (served.systemd.pid(ONE), worker)
    assert main.cwd == layout.release("PACK1_0")
    assert host.deployed.version == "1.0"
    assert (host.running(layout), host.sockets(layout)) == (("PACK1_0",), {socket: True})
    assert (host.enabled, host.handed, host.stray_links) == (("PACK1_0",), (socket,), False)
    assert list(host.releases) == ["PACK1_0"]
    assert (host.differences, host.outdated, host.leftovers) == ({"PACK1_0": ()}, {}, ())
    assert list(host.virtualenv_differences.values()) == [()]
    (listener,) = host.listeners
    assert (listener.address, listener.port) == ("127.0.0.1", served.port)
    assert {1, main.pid, worker} == {owner.pid for owner in listener.owners}
    assert set(host.texts) == {
        layout.unit_file(ONE), layout.unit_file(layout.activate), layout.gunicorn_conf, layout.handed,
        layout.environment("PACK1_0"), layout.unit_file(socket), layout.gunicorn_settings,
    }  # fmt: skip
    assert None not in host.texts.values()


def test_systemd_is_asked_once(served):
    survey.survey(served.settings)
    assert len(served.systemd.calls) == 1


def test_a_bare_host(machine):
    settings = machine.begin("1.0").settings
    host = survey.survey(settings)
    assert (host.entries, host.releases, host.listeners, host.leftovers) == ((), {}, (), ())
    assert (host.running(machine.layout), host.sockets(machine.layout), host.enabled) == ((), {}, ())
    assert set(host.texts.values()) == {None}


def test_a_host_without_systemd(served, monkeypatch):
    monkeypatch.setattr(systemd, "BOOTED", "/nowhere")
    host = survey.survey(served.settings)
    assert (host.booted, host.units, served.systemd.calls) == (False, {}, [])


def test_releases_are_compared_only_where_it_matters(served):
    served.has("0.9")
    served.edit("0.9")
    host = survey.survey(served.settings.at(version="1.1"), entries=())
    assert list(host.releases) == ["PACK0_9", "PACK1_0"]
    assert host.differences == {}
    host = survey.survey(served.settings)  # 0.9 is the last line of the ledger
    assert set(host.differences) == {"PACK0_9", "PACK1_0"}
    assert host.differences["PACK0_9"] == ("api.py was changed",)


def test_after_a_step_releases_are_not_compared_again(served):
    host = survey.survey(served.settings)
    served.edit("1.0")
    assert survey.again(served.settings, host).differences == {"PACK1_0": ()}
    assert "PACK1_0" in survey.again(served.settings, host).outdated


def test_a_secret_that_others_can_read_counts_as_not_there(served):
    path = served.layout.environment("PACK1_0")
    os.chmod(path, 0o644)
    assert survey.survey(served.settings).texts[path] is None
    assert served.deploy().failure is None
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_sockets_that_have_only_a_file_are_seen_with_their_port(served, monkeypatch):
    systemd.write_socket(served.layout, served.layout.socket(Address("127.0.0.1", 81)), "[Socket]\n")
    asked, real = [], processes.listeners

    def listeners(paths):
        asked.extend(real())
        return (*real(), type(real()[0])("127.0.0.1", 81, "0"))

    monkeypatch.setattr(processes, "listeners", listeners)
    host = survey.survey(served.settings)
    assert host.sockets(served.layout)["globoapp-127.0.0.1:81.socket"] is False
    assert 81 in {listener.port for listener in host.listeners}


def test_a_release_that_runs_without_a_record_is_not_judged(served):
    os.unlink(served.layout.record("PACK1_0"))
    host = survey.survey(served.settings)
    assert host.running(served.layout) == ("PACK1_0",)
    assert (host.releases, host.outdated) == ({}, {})


def test_workers_that_are_ready_are_children_with_a_mark(served, tmp_path):
    layout = served.layout
    runtime = pathlib.Path(layout.runtime("PACK1_0"))
    (runtime / "ready-1").touch()
    (runtime / "gunicorn.ctl").touch()
    (ready,) = survey.ready(layout, "PACK1_0", processes.children(served.systemd.pid(ONE)))
    assert (runtime / f"ready-{ready}").exists()
    assert survey.ready(layout, "PACK1_0", [7, 1]) == (1,)
    assert survey.ready(layout, "PACK9_9", [7, 1]) == ()
    assert survey.ready(layout, "PACK1_0", [7, 1], CANDIDATE) == ()


@pytest.mark.parametrize(
    ("noted", "when"),
    [(None, 0), ("", 0), ("x", 0), ("-1", 0), ("0042\n", 42), ("0042 0003\n", 42)],
    ids=str,
)
def test_when_a_worker_got_on(machine, noted, when):
    runtime = pathlib.Path(machine.layout.runtime("PACK1_0"))
    runtime.mkdir(parents=True)
    if noted is not None:
        (runtime / "progress-7").write_text(noted)
    assert survey.progress(machine.layout, "PACK1_0", 7) == when


def test_paths_are_compared_without_links(served):
    host = survey.survey(served.settings)
    main = host.processes["PACK1_0"][0]
    assert host.realpath(os.path.join(host.releases["PACK1_0"].virtualenv, "bin", "python")) == main.exe
    assert host.realpath("/not/asked/for") == "/not/asked/for"


# What a running release had read.


@pytest.fixture
def unit(served):
    """The unit of 1.0 as it runs; ``outdated()`` is why it would have to start afresh."""
    served.unit = systemd.unit(ONE)
    served.record = survey.survey(served.settings).releases["PACK1_0"]
    served.outdated = lambda: started.outdated(served.layout, "PACK1_0", served.record, served.unit)
    return served


def test_each_file_that_it_reads_counts(unit):
    assert unit.outdated() is None
    for path in started.inputs(unit.layout, "PACK1_0", unit.record):
        held = pathlib.Path(path).read_bytes()
        pathlib.Path(path).write_bytes(held + b"\n")
        assert unit.outdated() == f"{path} changed after it had started"
        os.unlink(path)
        assert unit.outdated() == f"{path} changed after it had started"
        pathlib.Path(path).write_bytes(held)
        assert unit.outdated() is None


def test_no_time_and_no_owner_counts(unit):
    for path in started.inputs(unit.layout, "PACK1_0", unit.record):
        os.utime(path, (1, 1))
        os.chmod(path, 0o640)
    assert unit.outdated() is None


def test_what_is_noted_is_of_one_start(unit):
    assert started.is_noted(unit.layout, "PACK1_0", unit.unit)
    unit.edit("1.0")
    unit.unit = Unit(ONE, "active", "running", 1, invocation="another")
    assert not started.is_noted(unit.layout, "PACK1_0", unit.unit)
    assert unit.outdated() is None


def test_what_does_not_run_is_not_outdated(unit):
    unit.edit("1.0")
    unit.unit = Unit(ONE, "inactive", invocation=unit.unit.invocation)
    assert unit.outdated() is None


def test_a_file_that_was_repaired_counts_until_the_next_start(unit):
    started.note_repair(unit.layout, "PACK1_0", unit.unit, "api.py was changed")
    assert unit.outdated() == "api.py was changed: repaired while it ran"
    started.note(unit.layout, "PACK1_0", unit.record, unit.unit)
    assert unit.outdated() is None


@pytest.mark.parametrize(
    "torn", ["", "{", "[]", "null", "7", "[" * 100000, '{"invocation": "%s"}', '{"invocation": "%s", "read": 7}']
)
def test_a_note_that_cannot_be_read_is_none(unit, torn):
    path = pathlib.Path(unit.layout.started("PACK1_0"))
    path.write_text(torn.replace("%s", unit.unit.invocation))
    assert not started.is_noted(unit.layout, "PACK1_0", unit.unit)
    assert unit.outdated() is None
    unit.deploy()
    assert started.is_noted(unit.layout, "PACK1_0", unit.unit)


def test_a_note_tells_no_secret_and_is_roots(unit):
    path = unit.layout.started("PACK1_0")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    digests = json.loads(pathlib.Path(path).read_text())["read"]
    assert {len(digest) for digest in digests.values()} == {64}


# What a cut has left.


def left(machine):
    """What is listed, with the root left out."""
    shown = systemd.show(machine.layout)
    return [path.removeprefix(f"{machine.root}/") for path in leftovers.listed(machine.layout, shown)]


LEFT = {
    "a release half unpacked": ".incoming-PACK1_1/api.py",
    "a release half removed": ".trash-PACK0_9/api.py",
    "a file half written": ".write-deployments.jsonl-x",
    "a record half written": ".globoapp/releases/.write-PACK1_1.json-x",
    "an artifact half stored": ".globoapp/artifacts/globoapp-1.1.zip.part",
    "a start half noted": ".globoapp/started/.write-PACK1_0.json-x",
    "a candidate's file half written": ".globoapp/candidate/.write-PACK1_1.env-x",
    "a log half written": ".globoapp/failed/.write-x.log-y",
    "an earlier tree's": ".globoapp/gunicorn.conf.pyabcd_123",
    "a virtualenv half built": "virtualenvs/0123456789ab-cp311/bin/python",
    "a virtualenv half removed": "virtualenvs/.trash-0123456789ab-cp311/x",
    "the wheels of a build": "virtualenvs/.build-0123456789ab-cp311/x.whl",
    "an earlier tree's lock file": "virtualenvs/0123456789ab-cp311.lock",
}
NOT_LEFT = {
    "a site's own file": ".hidden",
    "a directory of the site's": "data/x",
    "settings": ".globoapp/gunicorn.conf.py.bak",
    "files set aside": ".globoapp/aside/PACK1_0-x/api.py",
    "what a build put aside": "virtualenvs/.old-0123456789ab-cp311/x",
    "a program": "virtualenvs/.uv-0123456789ab",
}


@pytest.mark.parametrize("case", {**LEFT, **NOT_LEFT})
def test_what_is_left_is_known_and_taken_away(served, case):
    name = {**LEFT, **NOT_LEFT}[case]
    path = served.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    listed = left(served)
    assert len(listed) == (case in LEFT)
    assert all(name.startswith(one) for one in listed)
    leftovers.clear(f"{served.root}/{one}" for one in listed)
    assert path.exists() is (case in NOT_LEFT)
    assert left(served) == []
    assert served.deploy().failure is None


def test_what_is_being_written_is_not_left(served, monkeypatch):
    # As the master's word of what it has is, beside a deploy.
    seen, replace = [], os.replace

    def slow(temporary, path):
        seen.append((os.path.basename(temporary), left(served)))
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", slow)
    files.write_json(served.layout.own_file("acknowledged.json"), {})
    ((temporary, meanwhile),) = seen
    assert temporary.startswith(".write-acknowledged.json-") and meanwhile == []
    assert left(served) == []


@pytest.mark.parametrize("state", ["failed", "active", "deactivating"])
def test_a_candidate_that_nobody_ended_is_left(served, state):
    name = "globoapp-candidate@PACK1_1.service"
    served.systemd.state(name).active = state
    assert left(served) == [name]
    leftovers.clear([name])
    assert left(served) == []
    assert served.systemd.calls[-3:-1] == [f"stop {name}", f"reset-failed {name}"]


def test_a_link_is_taken_away_and_not_what_it_leads_to(served, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (served.root / ".incoming-PACK1_1").symlink_to(kept)
    leftovers.clear([str(served.root / ".incoming-PACK1_1")])
    assert kept.is_dir() and left(served) == []


def test_what_is_gone_already_is_no_error(served):
    leftovers.clear([f"{served.root}/.incoming-PACK1_1", f"{served.root}/.write-x", leftovers.NOTE])


def test_a_bare_host_has_nothing_left(machine):
    assert left(machine) == []
