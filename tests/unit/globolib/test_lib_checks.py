"""Slips on the command line, and what of a call is gone with it."""

import pytest
from globolib import checks
from globolib.minion import Call

APPLY = "state.apply"
SLIPS = {
    "a version beside the pillar": (
        APPLY,
        {"version": 1.1},
        "version=1.1 is not an argument of state.apply, which ignores it: say pillar='{\"version\": ...}'",
    ),
    "a port in capitals": (
        "state.highstate",
        {"PORT": 1},
        "PORT=1 is not an argument of state.highstate, which ignores it: say pillar='{\"port\": ...}'",
    ),
    "piller": (
        "state.sls",
        {"piller": {}},
        "piller= is not an argument of state.sls, which ignores it: did you mean pillar=?",
    ),
    "verison": (
        APPLY,
        {"pillar": {"verison": "1.1"}},
        "verison in the pillar of this call is an unknown key; did you mean version?",
    ),
    "globbapp": (
        APPLY,
        {"pillar": {"globbapp": {}}},
        "globbapp in the pillar of this call is an unknown key; did you mean globoapp?",
    ),
    "Version": (
        APPLY,
        {"pillar": {"Version": "1.1"}},
        "Version in the pillar of this call is an unknown key; did you mean version?",
    ),
    "a pillar that is text": (
        APPLY,
        {"pillar": "version: 1.1"},
        "pillar='version: 1.1' is not a mapping: say pillar='{\"version\": \"1.1\"}'",
    ),
    "a pillar that is a list": ("globoapp.rollback", {"pillar": ["x"]}, "pillar=\"['x']\" is not a mapping"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_told(slip):
    function, arguments, words = SLIPS[slip]
    (line,) = checks.call_problems(Call(function, arguments))
    assert line.startswith(words)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (APPLY, {}),
        (APPLY, {"test": True, "saltenv": "base", "pillarenv": "base", "pillar": {"version": "1.1", "port": 1}}),
        (APPLY, {"pillar": {"globoapp": {"port": 1}, "schedule": {}, "other": 1, 7: 1}}),
        ("globoapp.rollback", {"version": 1.0}),
        ("globoapp.history", {"limit": 5}),
    ],
)
def test_what_is_right_is_no_slip(function, arguments):
    assert checks.call_problems(Call(function, arguments)) == []


def test_settings_that_came_with_the_call_alone_are_warned_of():
    call = Call(APPLY, {"pillar": {"version": "1.1", "globoapp": {"user": "x", "environment": {}, "keep": 2}}})
    (line,) = checks.call_warnings(call)
    assert line.startswith("environment, user came with this call alone: the next highstate goes by pillar")


@pytest.mark.parametrize("section", [None, "x", {}, {"version": "1.1", "soak": 0, "prove": 0, "checksum": "x"}])
def test_those_of_one_deploy_are_not(section):
    assert checks.call_warnings(Call(APPLY, {"pillar": {"globoapp": section}})) == []
    assert checks.call_warnings(Call(APPLY)) == []
