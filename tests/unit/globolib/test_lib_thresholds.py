"""What pillar may say to monitoring, that every mistake gets one clear line, and when a probe has gone bad."""

import pathlib
import re

import pytest
import yaml
from globolib.monitor import thresholds
from hypothesis import given
from hypothesis import strategies as st

PILLAR = pathlib.Path(__file__).parents[3] / "pillar"


def test_nothing_said_is_fine():
    assert thresholds.problems(None) == []
    assert thresholds.settle(None) == thresholds.DEFAULTS


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"dsik": {}}, "globoapp:monitor:dsik is an unknown setting; did you mean disk?"),
        ({"zzz": 1}, "globoapp:monitor:zzz is an unknown setting; there are: reminder, api, disk, cpu, memory"),
        ("x", "globoapp:monitor is 'x': a mapping of reminder, api, disk, cpu, memory"),
        ({"disk": {"percent": 140}}, "globoapp:monitor:disk:percent is 140: a number from 1 to 100 (percent)"),
        ({"disk": {"percent": "lots"}}, "globoapp:monitor:disk:percent is 'lots': a number from 1 to 100 (percent)"),
        ({"cpu": {"percent": True}}, "globoapp:monitor:cpu:percent is True: a number from 1 to 100 (percent)"),
        (
            {"cpu": {"samples": 1.5}},
            "globoapp:monitor:cpu:samples is 1.5: a whole number from 1 to 100 (looks in a row)",
        ),
        ({"api": {"timout": 1}}, "globoapp:monitor:api:timout is an unknown setting; did you mean timeout?"),
        ({"disk": {"percent": 80}}, "globoapp:monitor:disk:clear is 85: it must be below percent, which is 80"),
        ({"memory": {"available": 20}}, "globoapp:monitor:memory:clear is 15: it must be above available, which is 20"),
        ({"reminder": -1}, "globoapp:monitor:reminder is -1: a number from 0 to 604800 (seconds, 0 is never)"),
        ({"reminder": "1"}, "globoapp:monitor:reminder is '1': a number from 0 to 604800 (seconds, 0 is never)"),
        (
            {"memory": 5},
            "globoapp:monitor:memory is 5: a mapping of every, samples, available, clear, or False to switch the "
            "probe off",
        ),
    ],
)
def test_one_clear_line_for_a_mistake(section, line):
    assert thresholds.problems(section) == [line]


def test_all_mistakes_at_once():
    section = {"disk": {"percent": 140, "clear": "x"}, "cpu": {"percent": 0}, "net": {}}
    assert len(thresholds.problems(section, {"url": "ftp://x", "template": "text", "retries": 3})) == 7


@pytest.mark.parametrize("probe", thresholds.PROBES)
def test_a_probe_may_be_switched_off(probe):
    assert thresholds.problems({probe: False}) == []
    assert thresholds.settle({probe: False})[probe] is False


@pytest.mark.parametrize("notify", [[], {"headers": []}, {"timeout": True}, {"template": []}, {"url": 7}])
def test_a_webhook_that_is_set_wrongly_is_a_problem(notify):
    (line,) = thresholds.problems({}, notify)
    assert line.startswith("globoapp:notify")


@pytest.mark.parametrize("url", [None, "http://hooks.example.com", "https://hooks.example.com/x?y=z"])
def test_addresses_of_webhooks(url):
    assert thresholds.problems({}, {"url": url}) == []


def test_the_address_of_a_webhook_is_never_shown():
    lines = thresholds.problems({}, {"url": "hooks.example.com/s3cret", "timeout": 500})
    assert len(lines) == 2
    assert "s3cret" not in "".join(lines)


def test_a_template_names_only_known_fields():
    template = {"attachments": [{"text": "{sumary}"}, 7], "text": "{host}"}
    assert thresholds.problems({}, {"template": template}) == [
        "globoapp:notify:template has {sumary}; did you mean summary?"
    ]


def test_of_a_whole_pillar():
    assert thresholds.pillar_problems({}) == []
    assert thresholds.pillar_problems({"globoapp": "x"}) == [], "that is reported with the settings"
    assert len(thresholds.pillar_problems({"globoapp": {"monitor": 1, "notify": 1}})) == 2


def test_a_probe_set_wrongly_is_a_broken_probe_and_the_others_go_on():
    section = {"disk": {"percent": 140}, "cpu": {"percent": 50, "clear": 40}, "memory": False, "reminder": 60}
    settled = thresholds.settle(section)
    assert "140" in settled["disk"]["problem"]
    assert settled["disk"]["percent"] == thresholds.DEFAULTS["disk"]["percent"]
    assert (settled["cpu"]["percent"], settled["cpu"]["samples"]) == (50, thresholds.DEFAULTS["cpu"]["samples"])
    assert settled["memory"] is False
    assert settled["reminder"] == 60


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.dictionaries(st.sampled_from(["every", "samples", "percent", "clear", "y"]), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["api", "disk", "cpu", "memory", "reminder", "x"]), ANYTHING) | ANYTHING)
def test_whatever_pillar_says_there_are_settings_to_look_by(section):
    settled = thresholds.settle(section)
    assert set(settled) == set(thresholds.DEFAULTS)
    assert 0 <= settled["reminder"] <= 604800
    for probe in thresholds.PROBES:
        assert settled[probe] is False or settled[probe]["samples"] >= 1
    if not thresholds.problems(section):
        assert not any("problem" in settled[probe] for probe in thresholds.PROBES if settled[probe])


def test_the_example_shows_every_setting_with_its_default():
    text = (PILLAR / "pillar.example").read_text()
    shown = yaml.safe_load(re.sub(r"(?m)^(\s*)#: ?", r"\1", text))["globoapp"]
    assert shown["monitor"] == thresholds.DEFAULTS
    assert set(shown["notify"]) == set(thresholds.NOTIFY)
    assert {**shown["notify"], "url": None} == thresholds.NOTIFY
    assert thresholds.problems(shown["monitor"], shown["notify"]) == []


def test_what_is_shipped_is_the_default():
    text = re.sub(r"\{%.*?%\}", "", (PILLAR / "globoapp.sls").read_text(), flags=re.DOTALL)
    shipped = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "x", text))
    assert shipped["globoapp"]["monitor"] == thresholds.DEFAULTS


def test_thresholds_have_a_gap():
    disk = {"percent": 90, "clear": 85}
    samples = [thresholds.over(value, disk, "x") for value in (84.9, 85, 89.9, 90)]
    assert [sample["bad"] for sample in samples] == [False, None, None, True]
    assert samples[3]["message"] == "x at 90 % (alert from 90 %, clear below 85 %)"
    memory = {"available": 10, "clear": 15}
    samples = [thresholds.under(value, memory, "x") for value in (10, 10.1, 15, 15.1)]
    assert [sample["bad"] for sample in samples] == [True, None, None, False]
    assert samples[0]["message"] == "x at 10 % (alert at 10 %, clear above 15 %)"


def test_processor_time_between_two_looks():
    before = {"user": 100, "system": 50, "idle": 850, "iowait": 0, "guest": 10}
    after = {"user": 110, "system": 60, "idle": 920, "iowait": 10, "guest": 20}
    assert thresholds.busy_percent(before, after) == 20.0
    assert thresholds.busy_percent(before, before) is None
    assert thresholds.busy_percent(after, before) is None, "a clock that went back says nothing"


def verdicts(row, samples=2, reminder=0):
    """What `judge` says to a row of looks, one a second."""
    track = {}
    return [thresholds.judge(track, {"bad": bad}, {"samples": samples}, reminder, now) for now, bad in enumerate(row)]


def test_one_event_at_each_edge():
    row = [False, True, True, True, True, False, False, False]
    assert verdicts(row) == [None, None, "bad", None, None, None, "clear", None]


def test_a_look_between_the_thresholds_changes_nothing():
    assert verdicts([True, None, True, None, True, True]) == [None] * 5 + ["bad"]
    assert verdicts([True, True, None, None, None]) == [None, "bad", None, None, None]


def test_reminders_while_it_is_bad():
    expected = [None, "bad", None, None, "reminder", None, None, "reminder", None, None]
    assert verdicts([True] * 10, reminder=3) == expected
    assert verdicts([True, True, False, False, False, False, False], reminder=2)[4:] == [None] * 3


def test_what_was_open_before_this_process_is_reminded_of_a_whole_pause_later():
    track = {"open": True}
    said = [thresholds.judge(track, {"bad": True}, {"samples": 2}, 3, now) for now in (100, 102, 103)]
    assert said == [None, None, "reminder"]


@given(st.lists(st.sampled_from([True, False, None]), max_size=60), st.integers(1, 4))
def test_edges_alternate_and_are_never_more_than_samples_allow(row, samples):
    edges = [verdict for verdict in verdicts(row, samples) if verdict]
    assert edges == ["bad", "clear"] * (len(edges) // 2) + ["bad"] * (len(edges) % 2)
    assert len(edges) <= len(row) // samples


@pytest.mark.parametrize(
    ("value", "problems"), [(True, []), (False, []), ("yes", ["globoapp:catch_up is 'yes': true or false"])]
)
def test_catching_up_is_wanted_or_not(value, problems):
    assert thresholds.pillar_problems({"globoapp": {"catch_up": value}}) == problems
