"""The door: whatever comes in by event never raises, and what is let in fits."""

import base64
import json
import math

import pytest
from globolib.monitor import incoming
from hypothesis import given
from hypothesis import strategies as st

NOW = "2026-11-23T16:00:00.000Z"
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
    | st.binary(max_size=9) | st.just(10**400)
)  # fmt: skip
HOSTILE = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
WORDS = [
    "probe", "state", "message", "value", "threshold", "since", "time", "slow", "result", "comment", "id",
    "version", "host", "name", "bind", "address", "action", "from", "jid", "port", "duration", "changed", "failed",
    "health", "disk", "open", "cpu", "memory", "looked", "deploying", "deploys", "healthy", "latency_ms",
    "problems",
]  # fmt: skip
LIKELY = st.sampled_from(
    ["api", "bad", "clear", "healed", "success", "a" * 32, "1.0", NOW, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"]
)
EVENT = st.dictionaries(st.sampled_from(WORDS), HOSTILE | LIKELY, max_size=12) | HOSTILE


def fits(value):
    """Whether a value may be stored: finite, harmless, of limited size and depth."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and fits(key) and fits(item) for key, item in value.items())
    if isinstance(value, list):
        return len(value) <= incoming.PHRASES and all(map(fits, value))
    if isinstance(value, str):
        return len(value) <= incoming.MESSAGE and not set(value) & set("\x00\x07\x1b\x7f\x85\x9b\u2028\ud800")
    return value is None or isinstance(value, (bool, int, float)) and math.isfinite(value)


SEEN = ("since", "time", "value", "threshold", "message", "slow")
CHECKS = [
    (lambda data: incoming.edge(data, NOW), {"probe", "state", *SEEN}),
    (incoming.healed, {"result", "comment"}),
    (lambda data: incoming.deploy(data, NOW), set(WORDS)),
]


@pytest.mark.parametrize(("check", "keys"), CHECKS)
@given(data=EVENT)
def test_what_is_let_in_fits(check, keys, data):
    taken = check(data)
    assert isinstance(taken, (str, dict))
    assert fits(taken)
    if isinstance(taken, dict):
        assert set(taken) <= keys
        assert "time" not in taken or taken["time"] <= NOW


@given(data=EVENT, health=EVENT)
def test_a_report_fits(data, health):
    for event in (data, {**data, "health": health} if isinstance(data, dict) else data):
        taken = incoming.report(event, NOW)
        if isinstance(taken, dict):
            assert all(incoming.identity(line) in (None, "") or line["id"] for line in taken["deploys"])
            assert fits({key: value for key, value in taken.items() if key != "deploys"})
            assert set(taken["open"]) <= set(incoming.BEACON)


@given(HOSTILE)
def test_decoded_never_raises(data):
    incoming.decoded(data)
    assert incoming.identity(data) in (None, "") or data["id"]


def test_what_a_reactor_passes_on():
    data = {"message": "\x85\u2028\x7f\ud800💚"}
    assert incoming.decoded(base64.b64encode(json.dumps(data).encode()).decode()) == data
    assert incoming.decoded("no base64") is None
    assert incoming.decoded(base64.b64encode(b"[" * 100_000).decode()) is None
    assert incoming.decoded(data) is data


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("2026-11-23T15:00:00Z", "2026-11-23T15:00:00.000Z"),
        ("2026-11-23T15:00:00.123456+00:00", "2026-11-23T15:00:00.123Z"),
        ("2026-11-23T17:00:00.000Z", NOW),
        ("2026-13-23T15:00:00Z", NOW),
        ("2026-11-23T15:00:00+01:00", NOW),
        ("2026-11-23T15:00:00Z\n", NOW),
        ("yesterday", NOW),
        (5, NOW),
        (None, NOW),
    ],
)
def test_times(value, written):
    assert incoming.time(value, NOW) == written


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, -(10**400), True, "5", None, [1]])
def test_what_is_no_number(value):
    assert incoming.number(value) is None


@pytest.mark.parametrize(
    "line",
    [
        {}, [], None, {"id": "A" * 32, "version": "1.0", "result": "success"},
        {"id": "../" * 10 + "ab", "version": "1.0", "result": "success"}, {"id": "a" * 32, "result": "success"},
        {"id": "a" * 32, "version": "1.0"}, {"id": "a" * 32, "version": "1.0", "result": "great"},
        {"id": "a" * 32, "version": 1.0, "result": "success"},
    ],
)  # fmt: skip
def test_no_ledger_line(line):
    assert isinstance(incoming.deploy(line, NOW), str)


def test_a_ledger_line_keeps_what_is_known_of_it():
    line = {
        "id": "a" * 32, "time": NOW, "version": "1.0", "result": "failed", "action": "deploy", "host": "web1",
        "port": 8000, "duration": 1.5, "changed": ["unpacked"], "failed": ["it did\nnot start"], "from": None,
        "cut": 2, "probe": {"sent": 3, "failed": 0, "longest_gap_ms": 2.0, "first_failure": None},
    }  # fmt: skip
    assert incoming.deploy({**line, "unknown": 1}, NOW) == line
    del line["probe"]["first_failure"]
    assert incoming.deploy(line, NOW) == line
