"""The settings: defaults, where a value comes from, and every problem at once."""

import functools
import pathlib
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pillars import WRONG
from salttree import Tree

CHECKOUT = pathlib.Path(__file__).parents[2]
HERE = {"lo": ["127.0.0.1", "::1"], "eth1": ["10.0.0.5"], "wlan0": []}


@pytest.fixture
def resolve(tree):
    """settings.resolve on a host with HERE's interfaces where nothing stands, unless told otherwise."""

    def call(pillar, standing=None, interfaces=HERE):
        return tree.utils.globoapp_settings.resolve(pillar, standing, interfaces)

    return call


def test_a_version_is_all_that_has_to_be_said(resolve):
    found, problems, warnings = resolve({"version": "1.2.3"})
    assert (problems, warnings) == ([], [])
    assert found["release"] == "PACK1_2_3"
    assert (found["port"], found["address"]) == (8000, "0.0.0.0")
    assert found["root"] == "/opt/globoHUB/desafio"
    assert found["user"] == "globoapp"
    assert found["source"] == "salt://globoapp-1.2.3.zip"


@pytest.mark.parametrize(("key", "value", "line"), WRONG, ids=[f"{key}={value!r}" for key, value, _ in WRONG])
def test_one_wrong_value_is_one_line(resolve, key, value, line):
    _, problems, _ = resolve({"globoapp": {"version": "1.0", key: value}})
    assert len(problems) == 1
    assert re.match(line, problems[0])
    assert "\n" not in problems[0]


@pytest.mark.parametrize("value", [1.10, "x", "../x"])
def test_the_command_line_is_checked_as_pillar_is(resolve, value):
    assert resolve({"version": value})[1] == resolve({"globoapp": {"version": value}})[1] != []


def test_credentials_are_in_no_message(resolve):
    for pillar in (
        {"source": "https://me:geheim@host/x.zip"},
        {"credentials": {"user": "me", "pasword": "geheim"}},
        {"credentials": "geheim"},
    ):
        _, problems, warnings = resolve({"globoapp": {"version": "1.0", **pillar}})
        assert problems
        assert "geheim" not in str([problems, warnings])


@given(st.lists(st.sampled_from(WRONG), unique_by=lambda one: one[0], min_size=1))
def test_all_problems_are_told_at_once(wrong):
    resolve = _resolve()
    pillar = {"version": "1.0", **{key: value for key, value, _ in wrong}}
    found, problems, _ = resolve({"globoapp": pillar}, None, HERE)
    assert len(problems) == len(wrong)
    for key, _, line in wrong:
        assert any(re.match(line, one) for one in problems), (key, problems)
        assert key in found["invalid"]


@given(st.sampled_from(WRONG))
def test_what_is_wrong_goes_no_further(wrong):
    key, value, _ = wrong
    settings = _resolve()({"globoapp": {"version": "1.0", key: value}}, None, HERE)[0]
    if key in settings:
        assert settings[key] != value
    if key == "version":
        assert settings["release"] is None


def test_a_missing_version_says_what_to_type(resolve):
    _, problems, _ = resolve({})
    assert len(problems) == 1
    assert problems[0].startswith("version is missing: nothing is deployed here yet")
    assert """pillar='{"version": "1.0"}'""" in problems[0]


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("verison", "globoapp:verison is no setting: did you mean version?"),
        ("prot", "globoapp:prot is no setting: did you mean root or port?"),
        ("address_family", "globoapp:address_family is no setting; there are: name, version, port, "),
        (7, "globoapp:7 is no setting; there are: "),
    ],
)
def test_an_unknown_key_names_the_near_one(resolve, key, line):
    _, problems, _ = resolve({"version": "1.0", "globoapp": {key: 1}})
    assert len(problems) == 1
    assert problems[0].startswith(line)


@pytest.mark.parametrize("section", ["monitor", "notify"])
def test_sections_of_others_are_theirs(resolve, section):
    assert resolve({"version": "1.0", "globoapp": {section: {"any": "thing"}}})[1] == []


@pytest.mark.parametrize("nothing", [None, {}])
def test_an_empty_section_is_no_problem(resolve, nothing):
    assert resolve({"version": "1.0", "globoapp": nothing})[1] == []


def test_a_section_that_is_no_mapping_is_told(resolve):
    _, problems, _ = resolve({"version": "1.0", "globoapp": "1.0"})
    assert len(problems) == 1
    assert problems[0].startswith("globoapp is a str in pillar: it must be a mapping")


STANDING = {"version": "1.1", "port": 9000, "bind": "eth1"}


def test_what_stands_fills_in_what_nobody_names(resolve):
    found, problems, warnings = resolve({}, STANDING)
    assert (problems, warnings) == ([], [])
    assert (found["version"], found["port"], found["bind"], found["address"]) == ("1.1", 9000, "eth1", "10.0.0.5")


def test_pillar_goes_before_what_stands_and_the_command_line_before_both(resolve):
    found, _, warnings = resolve({"globoapp": {"version": "1.2"}}, STANDING)
    assert (found["version"], found["port"], warnings) == ("1.2", 9000, [])
    found, _, warnings = resolve({"globoapp": {"version": "1.2"}, "version": "1.3", "port": 81}, STANDING)
    assert (found["version"], found["port"]) == ("1.3", 81)
    assert warnings == [
        "pillar pins version 1.2, the command line says 1.3: the next highstate goes back to 1.2 unless the pillar "
        "is changed too"
    ]


def test_the_same_on_the_command_line_as_in_pillar_warns_of_nothing(resolve):
    assert resolve({"globoapp": {"version": "1.2"}, "version": "1.2"})[2] == []


@pytest.mark.parametrize("root", ["/srv/globo/", "//srv//globo", "/srv/globo"])
def test_a_root_is_written_in_one_way(resolve, root):
    found, problems, _ = resolve({"globoapp": {"version": "1.0", "root": root}})
    assert (found["root"], problems) == ("/srv/globo", [])


def test_an_ipv6_address_is_an_address(resolve):
    found, problems, _ = resolve({"globoapp": {"version": "1.0", "bind": "0:0::1"}})
    assert (found["address"], problems) == ("::1", [])
    assert resolve({"globoapp": {"version": "1.0", "bind": "::"}})[1] == []


def test_defaults_are_nobodys_to_change(tree):
    tree.utils.globoapp_settings.defaults()["port"] = 1
    assert tree.utils.globoapp_settings.defaults()["port"] == 8000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
KEYS = ["name", "version", "port", "bind", "root", "user", "source", "checksum", "wheels", "ca", "python", "installer"]
KEYS += ["keep", "prove", "soak", "timeout", "deadline", "lock_wait", "reserve", "environment", "credentials", "other"]


@functools.cache
def _resolve():
    """settings.resolve outside a fixture: hypothesis calls a test many times."""
    return Tree(pathlib.Path("/nowhere")).utils.globoapp_settings.resolve


@given(
    st.dictionaries(st.sampled_from(["version", "port"]), JSON),
    st.dictionaries(st.sampled_from(KEYS) | st.integers(), JSON) | JSON,
    st.none() | st.fixed_dictionaries({"version": st.just("1.0"), "port": st.just(1), "bind": st.just("0.0.0.0")}),
)
def test_nothing_that_pillar_may_hold_raises(top, section, standing):
    found, problems, warnings = _resolve()({**top, "globoapp": section}, standing, HERE)
    assert {"version", "port", "address", "release", "root"} <= set(found)
    assert all(isinstance(line, str) for line in problems + warnings)
    assert problems or re.fullmatch(r"PACK\d+(_\d+){1,3}", found["release"])


def test_the_example_is_valid_and_complete(tree, resolve):
    """pillar.example names every setting; what is commented out is the default, and all of it is valid together."""
    settings = tree.utils.globoapp_settings
    text = (CHECKOUT / "pillar/pillar.example").read_text()
    plain = yaml.safe_load(text)
    assert resolve(plain, None, {**HERE, "eth0": ["10.0.0.6"]})[1] == []
    shown = yaml.safe_load(re.sub(r"(?m)^(\s*)#: ?", r"\1", text))
    assert resolve(shown, None, {**HERE, "eth0": ["10.0.0.6"]})[1] == []
    listed = shown["globoapp"]
    assert set(listed) >= set(settings.DEFAULTS) | {"credentials"}
    hidden = set(listed) - set(plain["globoapp"])
    for key in hidden & set(settings.DEFAULTS):
        default = settings.DEFAULTS[key]
        assert not default or listed[key] == default, key
