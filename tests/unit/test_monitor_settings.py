"""What pillar may say to monitoring, and that every mistake gets one clear line."""

import functools
import pathlib
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st


@functools.cache
def _monitor():
    """The module outside a fixture: hypothesis calls a test many times."""
    from salttree import Tree

    return Tree(pathlib.Path("/nowhere")).utils.globoapp_monitor


@pytest.fixture
def monitor(tree):
    return tree.utils.globoapp_monitor


def test_nothing_said_is_fine(monitor):
    assert monitor.problems(None) == []
    assert monitor.settle(None)["api"] == monitor.DEFAULTS["api"]


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"dsik": {}}, "globoapp:monitor:dsik is no probe and no setting: did you mean disk?"),
        ({"disk": {"percent": 140}}, "globoapp:monitor:disk:percent is 140: a number from 1 to 100 (percent)"),
        ({"disk": {"percent": "lots"}}, "globoapp:monitor:disk:percent is 'lots': a number from 1 to 100 (percent)"),
        ({"cpu": {"percent": True}}, "globoapp:monitor:cpu:percent is True: a number from 1 to 100 (percent)"),
        (
            {"cpu": {"samples": 1.5}},
            "globoapp:monitor:cpu:samples is 1.5: a whole number from 1 to 100 (looks in a row)",
        ),
        ({"api": {"timout": 1}}, "globoapp:monitor:api:timout is no setting: did you mean timeout?"),
        (
            {"disk": {"percent": 80}},
            "globoapp:monitor:disk:clear is 85: it must be below percent, which is 80",
        ),
        (
            {"memory": {"available": 20}},
            "globoapp:monitor:memory:clear is 15: it must be above available, which is 20",
        ),
        ({"reminder": -1}, "globoapp:monitor:reminder is -1: a number from 0 to 604800 (seconds, 0 is never)"),
        (
            {"memory": 5},
            "globoapp:monitor:memory is 5: a mapping of every, samples, available, clear, or False to switch the "
            "probe off",
        ),
    ],
)
def test_one_clear_line_for_a_mistake(monitor, section, line):
    assert monitor.problems(section) == [line]


def test_all_mistakes_at_once(monitor):
    section = {"disk": {"percent": 140, "clear": "x"}, "cpu": {"percent": 0}, "net": {}}
    assert len(monitor.problems(section, {"url": "ftp://x", "template": "text", "retries": 3})) == 7


def test_the_address_of_a_webhook_is_never_shown(monitor):
    lines = monitor.problems({}, {"url": "hooks.example.com/s3cret", "timeout": 500})
    assert len(lines) == 2
    assert "s3cret" not in "".join(lines)


def test_a_template_names_only_known_fields(monitor):
    template = {"attachments": [{"text": "{sumary}"}], "text": "{host}"}
    assert monitor.problems({}, {"template": template}) == [
        "globoapp:notify:template has {sumary}: did you mean summary?"
    ]


def test_a_probe_set_wrongly_is_a_broken_probe_and_the_others_go_on(monitor):
    settled = monitor.settle({"disk": {"percent": 140}, "cpu": {"percent": 50, "clear": 40}, "memory": False})
    assert "140" in settled["disk"]["problem"]
    assert settled["cpu"]["percent"] == 50
    assert settled["memory"] is False


def test_settings_report_them_with_all_others(tree):
    tree.salt["globoapp_deploy.standing"] = lambda settings: None
    tree.pillar.update(version="1.0", globoapp={"bidn": "lo", "monitor": {"disk": {"percent": 140}}})
    problems = tree.modules.globoapp.settings()["problems"]
    assert any("bidn" in one for one in problems)
    assert any("globoapp:monitor:disk:percent is 140" in one for one in problems)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["api", "disk", "cpu", "memory", "reminder", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.dictionaries(
                st.sampled_from(["every", "samples", "percent", "clear", "y"]), inner, max_size=3
            ),
            max_leaves=6,
        ),
    )
)
def test_whatever_pillar_says_there_are_settings_to_look_by(section):
    monitor = _monitor()
    settled = monitor.settle(section)
    assert set(settled) == set(monitor.DEFAULTS)
    for probe in monitor.PROBES:
        assert settled[probe] is False or settled[probe]["samples"] >= 1
    if not monitor.problems(section):
        assert not any("problem" in settled[probe] for probe in monitor.PROBES if settled[probe])


def test_the_example_shows_every_setting_with_its_default(monitor):
    text = (pathlib.Path(__file__).parents[2] / "pillar/pillar.example").read_text()
    shown = yaml.safe_load(re.sub(r"(?m)^(\s*)#: ?", r"\1", text))["globoapp"]
    assert shown["monitor"] == monitor.DEFAULTS
    assert set(shown["notify"]) == set(monitor.NOTIFY)
    assert {key: shown["notify"][key] for key in monitor.NOTIFY if key != "url"} == {
        key: value for key, value in monitor.NOTIFY.items() if key != "url"
    }
    assert monitor.problems(shown["monitor"], shown["notify"]) == []


def test_what_is_shipped_is_the_default(monitor):
    text = (pathlib.Path(__file__).parents[2] / "pillar/globoapp.sls").read_text()
    assert yaml.safe_load(text)["globoapp"]["monitor"] == monitor.DEFAULTS
