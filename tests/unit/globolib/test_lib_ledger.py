"""The ledger: what a power cut tore is left out, and what is deployed follows from the rest."""

import json
import os
import pathlib
import stat
import tempfile

import pytest
from globolib import ledger
from globolib.ledger import Entry
from hypothesis import given
from hypothesis import strategies as st


def line(version, result="success", action="deploy", **more):
    return {"version": version, "result": result, "action": action, "time": "2026-01-01T00:00:00.000Z", **more}


def entries_of(lines):
    return [Entry.parsed(data) for data in lines]


LINE = st.fixed_dictionaries(
    {"version": st.sampled_from(["1.0", "1.1", "2.0"]), "result": st.sampled_from(["success", "failed"])},
    optional={"failed": st.lists(st.text(max_size=5)), "action": st.sampled_from(["deploy", "rollback"])},
)


def test_no_ledger_is_no_line(tmp_path):
    assert ledger.read(str(tmp_path / "deployments.jsonl")) == ()
    assert ledger.deployed([]) is None
    assert ledger.good([]) == []
    assert ledger.since([]) is None


def test_a_line_gets_an_id_and_a_time(tmp_path):
    path = str(tmp_path / "new" / "deployments.jsonl")
    written = ledger.append(path, line("1.0"))
    second = ledger.append(path, {"version": "1.0", "result": "failed"})
    assert [entry.data for entry in ledger.read(path)] == [written, second]
    assert written["id"] != second["id"]
    assert second["time"].endswith("Z")
    assert written["time"] == "2026-01-01T00:00:00.000Z"


def test_the_directory_is_for_all_to_read_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        ledger.append(str(tmp_path / "new" / "deployments.jsonl"), line("1.0"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o755


def test_what_a_line_says():
    entry = Entry.parsed(line("1.1", port=80, bind="eth0", address="10.0.0.5", id="a", **{"from": "1.0"}))
    assert (entry.id, entry.version, entry.result, entry.action, entry.succeeded) == (
        "a",
        "1.1",
        "success",
        "deploy",
        True,
    )
    assert (entry.address, entry.came_from, entry.place) == ("10.0.0.5", "1.0", ("1.1", 80, "eth0"))
    old = Entry.parsed({"version": "1.0", "result": "failed", "bind": "0.0.0.0"})
    assert (old.address, old.port, old.came_from, old.succeeded) == ("0.0.0.0", 0, None, False)


@given(st.lists(LINE, min_size=1, max_size=5), st.data())
def test_a_torn_last_line_is_left_out_and_spoils_no_other(lines, data):
    """Cut the file at any byte, append again: every line that was complete is there, and the new one."""
    with tempfile.TemporaryDirectory() as root:
        path = pathlib.Path(root, "deployments.jsonl")
        written = [ledger.append(str(path), written) for written in lines]
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        complete = whole[:cut].count(b"\n")
        kept = [entry.data for entry in ledger.read(str(path))]
        # A line that lacks no more than its end is whole.
        assert kept in (written[:complete], written[: complete + 1])
        new = ledger.append(str(path), {"version": "9.9", "result": "success"})
        assert [entry.data for entry in ledger.read(str(path))] == [*kept, new]


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_rubbish_in_the_file_raises(rubbish):
    with tempfile.TemporaryDirectory() as root:
        path = pathlib.Path(root, "deployments.jsonl")
        good = json.dumps(line("1.0")).encode()
        path.write_bytes(good + b"\n" + rubbish + b"\n" + good + b"\n")
        entries = ledger.read(str(path))
        assert entries[0].data == entries[-1].data == line("1.0")
        assert ledger.deployed(entries).version == "1.0"


RUBBISH = ["[]", "1", '"x"', "null", '{"result": "success"}', '{"version": "1.0"}', "[" * 100000]
RUBBISH += [
    '{"version": "1.0", "result": "success", "port": [1]}',
    '{"version": "1.0", "result": "success", "port": "x"}',
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda rubbish: rubbish[:60])
def test_json_that_is_no_line_is_left_out(tmp_path, rubbish):
    path = tmp_path / "deployments.jsonl"
    path.write_text(f"{rubbish}\n{json.dumps(line('1.0'))}\n")
    assert [entry.data for entry in ledger.read(str(path))] == [line("1.0")]


def test_only_success_moves_what_is_deployed():
    entries = entries_of([line("1.0"), line("1.1", "failed"), line("1.2", "interrupted")])
    assert ledger.deployed(entries).version == "1.0"
    assert ledger.deployed(entries[1:]) is None


@pytest.mark.parametrize(
    ("lines", "good"),
    [
        ([line("1.0"), line("1.1")], ["1.0", "1.1"]),
        ([line("1.0"), line("1.1"), line("1.0")], ["1.1", "1.0"]),
        ([line("1.0"), line("1.1", "failed")], ["1.0"]),
        ([line("1.0"), line("1.1"), line("1.0", action="rollback", **{"from": "1.1"})], ["1.0"]),
        ([line("1.0"), line("1.0", action="repair")], ["1.0"]),
    ],
)
def test_good_releases(lines, good):
    assert ledger.good(entries_of(lines)) == good


THREE = [line("1.0"), line("1.1"), line("1.2")]
BACK = line("1.1", action="rollback", **{"from": "1.2"})


@pytest.mark.parametrize(
    ("lines", "present", "target", "reason"),
    [
        ([], ["1.0"], None, "nothing has been deployed here successfully yet"),
        ([line("1.0")], ["1.0"], None, "1.0 is the only good release"),
        (THREE, ["1.0", "1.1", "1.2"], "1.1", "the last good release before 1.2"),
        (THREE, ["1.0", "1.2"], "1.0", "the last good release before 1.2"),
        (THREE, ["1.2"], None, "1.2 is the only good release"),
        ([*THREE, BACK], ["1.0", "1.1", "1.2"], "1.0", "the last good release before 1.1"),
        ([*THREE, line("1.3", "failed")], ["1.0", "1.1", "1.2", "1.3"], None, "1.2 went on serving"),
        ([*THREE, line("1.2", "failed", "repair")], ["1.1", "1.2"], "1.1", "the last good release before 1.2"),
    ],
)
def test_where_a_rollback_goes(lines, present, target, reason):
    version, why = ledger.rollback_target(entries_of(lines), present)
    assert version == target
    assert reason in why


def at(second, version, port=8000, **more):
    return line(version, port=port, bind="0.0.0.0", **more) | {"time": f"{second}"}


@pytest.mark.parametrize(
    ("lines", "since"),
    [
        ([at(1, "1.0"), at(2, "1.1")], "2"),
        ([at(1, "1.0"), at(2, "1.1"), at(3, "1.1", action="repair"), at(4, "1.2", result="failed")], "2"),
        ([at(1, "1.1"), at(2, "1.1", port=81), at(3, "1.1", port=81)], "2"),
        ([at(1, "1.1"), at(2, "1.0"), at(3, "1.1")], "3"),
        ([at(1, "1.1"), at(2, "1.1")], "1"),
    ],
)
def test_since_when_it_is_deployed(lines, since):
    assert ledger.since(entries_of(lines)) == since
