"""The ledger: what a power cut tore is left out, and what stands follows from the rest."""

import functools
import json
import pathlib
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salttree import Tree


@functools.cache
def _tree():
    """A Tree outside a fixture: hypothesis calls a test many times."""
    return Tree(pathlib.Path("/nowhere"))


@pytest.fixture
def ledger(tree):
    return tree.utils.globoapp_ledger


def line(version, result="success", action="deploy", **more):
    return {"version": version, "result": result, "action": action, "time": "2026-01-01T00:00:00.000Z", **more}


ENTRY = st.fixed_dictionaries(
    {"version": st.sampled_from(["1.0", "1.1", "2.0"]), "result": st.sampled_from(["success", "failed"])},
    optional={"failed": st.lists(st.text(max_size=5)), "action": st.sampled_from(["deploy", "rollback"])},
)


def test_no_ledger_is_no_line(ledger, tmp_path):
    assert ledger.read(str(tmp_path)) == []
    assert ledger.standing([]) is None
    assert ledger.good([]) == []


def test_a_line_gets_an_id_and_a_time(ledger, tree, tmp_path):
    written = ledger.append(str(tmp_path), line("1.0"), tree.utils.globoapp_files.append_line)
    second = ledger.append(str(tmp_path), {"version": "1.0", "result": "failed"}, tree.utils.globoapp_files.append_line)
    assert ledger.read(str(tmp_path)) == [written, second]
    assert written["id"] != second["id"]
    assert second["time"].endswith("Z")
    assert written["time"] == "2026-01-01T00:00:00.000Z"


@given(st.lists(ENTRY, min_size=1, max_size=5), st.data())
def test_a_torn_last_line_is_left_out_and_spoils_no_other(entries, data):
    """Cut the file at any byte, append again: every line that was complete is there, and the new one."""
    ledger, files = _tree().utils.globoapp_ledger, _tree().utils.globoapp_files
    with tempfile.TemporaryDirectory() as root:
        written = [ledger.append(root, entry, files.append_line) for entry in entries]
        path = pathlib.Path(ledger.path(root))
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        complete = whole[:cut].count(b"\n")
        kept = ledger.read(root)
        # A line that lacks no more than its end is whole.
        assert kept in (written[:complete], written[: complete + 1])
        new = ledger.append(root, {"version": "9.9", "result": "success"}, files.append_line)
        assert ledger.read(root) == [*kept, new]


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_rubbish_in_the_file_raises(rubbish):
    ledger = _tree().utils.globoapp_ledger
    with tempfile.TemporaryDirectory() as root:
        good = json.dumps(line("1.0")).encode()
        pathlib.Path(ledger.path(root)).write_bytes(good + b"\n" + rubbish + b"\n" + good + b"\n")
        entries = ledger.read(root)
        assert entries[0] == entries[-1] == line("1.0")
        assert ledger.standing(entries)["version"] == "1.0"


@pytest.mark.parametrize("rubbish", ["[]", "1", '"x"', "null", '{"result": "success"}', '{"version": "1.0"}'])
def test_json_that_is_no_line_is_left_out(ledger, tmp_path, rubbish):
    (tmp_path / "deployments.jsonl").write_text(f"{rubbish}\n{json.dumps(line('1.0'))}\n")
    assert ledger.read(str(tmp_path)) == [line("1.0")]


def test_only_success_moves_what_stands(ledger):
    entries = [line("1.0"), line("1.1", "failed"), line("1.2", "interrupted")]
    assert ledger.standing(entries)["version"] == "1.0"
    assert ledger.standing(entries[1:]) is None


@pytest.mark.parametrize(
    ("entries", "good"),
    [
        ([line("1.0"), line("1.1")], ["1.0", "1.1"]),
        ([line("1.0"), line("1.1"), line("1.0")], ["1.1", "1.0"]),
        ([line("1.0"), line("1.1", "failed")], ["1.0"]),
        ([line("1.0"), line("1.1"), line("1.0", action="rollback", **{"from": "1.1"})], ["1.0"]),
        ([line("1.0"), line("1.0", action="repair")], ["1.0"]),
    ],
)
def test_good_releases(ledger, entries, good):
    assert ledger.good(entries) == good


THREE = [line("1.0"), line("1.1"), line("1.2")]
BACK = line("1.1", action="rollback", **{"from": "1.2"})


@pytest.mark.parametrize(
    ("entries", "present", "target", "reason"),
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
def test_where_a_rollback_goes(ledger, entries, present, target, reason):
    found, why = ledger.rollback_target(entries, present)
    assert found == target
    assert reason in why
