"""The settings: defaults, where a value comes from, and every problem at once."""

import pathlib
import re

import pytest
import yaml
from globolib import apps, settings
from globolib.minion import Call
from globolib.serving import Capacity
from globolib.settings import Credentials, Settings
from hypothesis import given
from hypothesis import strategies as st
from pillars import WRONG

CHECKOUT = pathlib.Path(__file__).parents[3]
HERE = {"lo": ["127.0.0.1", "::1"], "eth1": ["10.0.0.5"], "wlan0": []}


def resolve(pillar, deployed=None, interfaces=HERE):
    """settings.resolve on a host with HERE's interfaces where nothing is deployed, unless told otherwise."""
    return settings.resolve(pillar, deployed, interfaces)


def told(pillar, deployed=None):
    """What is told of these: problems and warnings."""
    resolution = resolve(pillar, deployed)
    return [*resolution.problems, *resolution.warnings]


def test_a_version_is_all_that_has_to_be_said():
    resolution = resolve({"version": "1.2.3"})
    assert (resolution.problems, resolution.warnings, resolution.invalid) == ((), (), frozenset())
    deploy = resolution.settings
    assert deploy == Settings(version="1.2.3", source="salt://globoapp-1.2.3.zip")
    assert (deploy.release, deploy.port, deploy.address) == ("PACK1_2_3", 8000, "0.0.0.0")
    assert deploy.layout.release(deploy.release) == "/opt/globoHUB/desafio/PACK1_2_3"
    assert deploy.user == "globoapp"


@pytest.mark.parametrize(("key", "value", "line"), WRONG, ids=[f"{key}={value!r}" for key, value, _ in WRONG])
def test_a_wrong_value_is_a_line(key, value, line):
    resolution = resolve({"globoapp": {"version": "1.0", key: value}})
    assert len(resolution.problems) == 1
    assert re.match(line, resolution.problems[0])
    assert "\n" not in resolution.problems[0]
    assert resolution.invalid == {key}


@pytest.mark.parametrize("value", [1.10, "x", "../x"])
def test_the_command_line_is_checked_as_pillar_is(value):
    assert told({"version": value}) == told({"globoapp": {"version": value}}) != []


@pytest.mark.parametrize(
    "section",
    [
        {"source": "https://me:geheim@host/x.zip"},
        {"credentials": {"user": "me", "pasword": "geheim"}},
        {"credentials": {"token": ["geheim"]}},
        {"credentials": "geheim"},
    ],
)
def test_credentials_are_in_no_message(section):
    assert told({"globoapp": {"version": "1.0", **section}})
    assert "geheim" not in str(told({"globoapp": {"version": "1.0", **section}}))


@pytest.mark.parametrize("given_", [{"token": "geheim"}, {"user": "me", "password": "geheim"}])
def test_credentials_are_kept_and_shown_nowhere(given_):
    deploy = resolve({"globoapp": {"version": "1.0", "credentials": given_, "environment": {"KEY": "geheim"}}}).settings
    assert deploy.credentials == Credentials(**given_)
    assert "geheim" not in f"{deploy!r} {deploy.credentials!r} {deploy.shown()!r}"
    assert deploy.shown()["environment"] == ["KEY"]


def test_what_a_person_is_shown():
    shown = resolve({"version": "1.0"}).settings.shown()
    assert (shown["version"], shown["release"], shown["address"]) == ("1.0", "PACK1_0", "0.0.0.0")
    shown = resolve({"globoapp": {"bind": "eth7"}}).settings.shown()
    assert (shown["version"], shown["release"], shown["address"]) == (None, None, None)


@given(st.lists(st.sampled_from(WRONG), unique_by=lambda wrong: wrong[0], min_size=1))
def test_all_problems_are_told_at_once(wrong):
    if any(str(value).startswith("unix:") for _, value, _ in wrong):  # then the port means nothing
        wrong = [each for each in wrong if each[0] != "port"]
    resolution = resolve({"globoapp": {"version": "1.0", **{key: value for key, value, _ in wrong}}})
    assert len(resolution.problems) == len(wrong)
    assert resolution.invalid == {key for key, _, _ in wrong}
    for key, _, line in wrong:
        assert any(re.match(line, problem) for problem in resolution.problems), key


@pytest.mark.parametrize(("key", "value"), [wrong[:2] for wrong in WRONG], ids=str)
def test_what_is_wrong_goes_no_further(key, value):
    deploy = resolve({"globoapp": {"version": "1.0", key: value}}).settings
    if key == "version":
        assert (deploy.version, deploy.release) == ("", "")
    else:
        assert getattr(deploy, key) != value
    if key == "name":
        assert deploy.user == "globoapp"


def test_a_missing_version_says_what_to_type():
    (problem,) = told({})
    assert problem.startswith("version is missing: nothing is deployed here yet")
    assert """pillar='{"version": "1.0"}'""" in problem


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("verison", "globoapp:verison is an unknown setting; did you mean version?"),
        ("prot", "globoapp:prot is an unknown setting; did you mean root or port?"),
        ("address_family", "globoapp:address_family is an unknown setting; there are: name, version, port, "),
        (7, "globoapp:7 is an unknown setting; there are: "),
    ],
)
def test_an_unknown_setting_names_the_near_ones(key, line):
    (problem,) = told({"version": "1.0", "globoapp": {key: 1}})
    assert problem.startswith(line)


@pytest.mark.parametrize("section", ["monitor", "notify"])
def test_sections_of_others_are_theirs(section):
    assert told({"version": "1.0", "globoapp": {section: {"any": "thing"}}}) == []


@pytest.mark.parametrize("nothing", [None, {}])
def test_an_empty_section_is_no_problem(nothing):
    assert told({"version": "1.0", "globoapp": nothing}) == []


def test_a_section_that_is_no_mapping_is_told():
    (problem,) = told({"version": "1.0", "globoapp": "1.0"})
    assert problem.startswith("globoapp is a str in pillar: it must be a mapping")


DEPLOYED = {"version": "1.1", "port": 9000, "bind": "eth1"}


def test_what_is_deployed_fills_in_what_nobody_names():
    resolution = resolve({}, DEPLOYED)
    assert (resolution.problems, resolution.warnings) == ((), ())
    deploy = resolution.settings
    assert (deploy.version, deploy.port, deploy.bind, deploy.address) == ("1.1", 9000, "eth1", "10.0.0.5")
    assert resolve({}, {"version": "1.1", "port": None}).settings.port == 8000


def test_pillar_goes_before_what_is_deployed_and_the_command_line_before_both():
    resolution = resolve({"globoapp": {"version": "1.2"}}, DEPLOYED)
    assert (resolution.settings.version, resolution.settings.port, resolution.warnings) == ("1.2", 9000, ())
    resolution = resolve({"globoapp": {"version": "1.2"}, "version": "1.3", "port": 81}, DEPLOYED)
    assert (resolution.settings.version, resolution.settings.port) == ("1.3", 81)
    assert resolution.warnings == (
        "pillar pins version 1.2, the command line says 1.3: the next highstate goes back to 1.2 unless the pillar "
        "is changed too",
    )


def test_the_same_on_the_command_line_as_in_pillar_warns_of_nothing():
    assert told({"globoapp": {"version": "1.2"}, "version": "1.2"}) == []


def test_the_user_is_the_name_unless_it_is_given():
    assert resolve({"globoapp": {"version": "1.0", "name": "shop"}}).settings.user == "shop"
    named = resolve({"globoapp": {"version": "1.0", "name": "shop", "user": "web"}}).settings
    assert (named.name, named.user, named.source) == ("shop", "web", "salt://shop-1.0.zip")


@pytest.mark.parametrize(
    ("key", "value"), [("user", "my-app"), ("user", "_web"), ("group", "web-apps"), ("uid", 1), ("gid", 200000)]
)
def test_accounts_as_sites_have_them(key, value):
    resolution = resolve({"globoapp": {"version": "1.0", key: value}})
    assert resolution.problems == ()
    assert getattr(resolution.settings, key) == resolution.settings.shown()[key] == value


@pytest.mark.parametrize("root", ["/srv/globo/", "//srv//globo", "/srv/globo"])
def test_a_root_is_written_in_one_way(root):
    resolution = resolve({"globoapp": {"version": "1.0", "root": root}})
    assert (resolution.settings.root, resolution.problems) == ("/srv/globo", ())


@pytest.mark.parametrize(
    ("pillar", "root"),
    [
        ({}, "/opt/globoHUB/desafio"),
        ({"globoapp": None}, "/opt/globoHUB/desafio"),
        ({"globoapp": {"root": 7}}, "/opt/globoHUB/desafio"),
        ({"globoapp": {"root": "/srv/globo"}}, "/srv/globo"),
    ],
)
def test_the_root_is_known_before_anything_else(pillar, root):
    assert settings.root_of(pillar) == root


@pytest.mark.parametrize(
    ("deployed", "address"),
    [
        ({"bind": "eth1", "address": "10.0.0.5"}, "10.0.0.5"),
        ({"bind": "eth1", "address": "10.0.0.9"}, "10.0.0.4"),  # it has gone
        ({"bind": "lo", "address": "127.0.0.1"}, "10.0.0.4"),
        ({"bind": "eth1"}, "10.0.0.4"),
        (None, "10.0.0.4"),
    ],
)
def test_another_address_of_an_interface_moves_nothing(deployed, address):
    interfaces = {"eth1": ["10.0.0.4", "10.0.0.5"], "lo": ["127.0.0.1"]}
    resolution = resolve({"globoapp": {"version": "1.0", "bind": "eth1"}}, deployed, interfaces)
    assert resolution.settings.address == address


@pytest.mark.parametrize(("bind", "address"), [("0:0::1", "::1"), ("::", "::"), ("lo", "127.0.0.1")])
def test_an_address_or_an_interface(bind, address):
    resolution = resolve({"globoapp": {"version": "1.0", "bind": bind}})
    assert (resolution.settings.address, resolution.problems) == (address, ())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("keep", 1),
        ("keep", "all"),
        ("checksum", "0f" * 32),
        ("installer", "pip"),
        ("reserve", 0),
        ("timeout", 0.1),
        ("ca", "/etc/ssl/own.pem"),
        ("workers", 128),
        ("threads", 1),
        ("worker_timeout", 3600),
        ("graceful_timeout", 600),
        ("max_requests", 0),
        ("access_log", True),
        ("umask", "0027"),
        ("umask", "007"),
        ("memory_max", "50%"),
        ("memory_max", 536870912),
        ("cpu_quota", "150%"),
        ("tasks_max", 8),
        ("environment", {"A_1": "x", "B": 2}),
        ("source", "https://host/x.zip"),
        ("version", "1.2.3.4"),
        ("port", 65535),
    ],
)
def test_what_is_right_is_taken_as_it_is(key, value):
    resolution = resolve({"globoapp": {"version": "1.0", key: value}})
    assert resolution.problems == ()
    assert getattr(resolution.settings, key) == value


@pytest.mark.parametrize(("workers", "count"), [(None, None), (3, 3), ("auto", 5), (0, None)])
def test_workers_as_a_number(workers, count):
    pillar = {"globoapp": {"version": "1.0", "workers": workers}}
    deploy = settings.resolve(pillar, None, HERE, capacity=Capacity(2, 8 << 30)).settings
    assert deploy.worker_count == deploy.shown()["worker_count"] == count


def test_auto_workers_have_room_in_what_the_release_may_have():
    pillar = {"globoapp": {"version": "1.0", "workers": "auto", "memory_max": "600M"}}
    assert settings.resolve(pillar, None, HERE, capacity=Capacity(2, 8 << 30)).settings.worker_count == 2


def test_other_values_are_other_settings():
    before = Settings(version="1.0")
    assert before.at(port=81).port == 81
    assert before.port == 8000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
KEYS = [*settings.KNOWN, *settings.SECTIONS, "other"]


@given(
    st.dictionaries(st.sampled_from(["version", "port"]), JSON),
    st.dictionaries(st.sampled_from(KEYS) | st.integers(), JSON) | JSON,
    st.none() | st.fixed_dictionaries({"version": st.just("1.0"), "port": st.just(1), "bind": st.just("0.0.0.0")}),
)
def test_nothing_that_pillar_may_hold_raises(top, section, deployed):
    resolution = resolve({**top, "globoapp": section}, deployed)
    assert all(isinstance(line, str) for line in resolution.problems + resolution.warnings)
    assert resolution.problems or re.fullmatch(r"PACK\d+(_\d+){1,3}", resolution.settings.release)
    assert resolution.settings.shown()


def test_the_example_is_valid_and_complete():
    """pillar.example names every setting; what is commented out is the default, and all of it is valid together."""
    text = (CHECKOUT / "pillar/pillar.example").read_text()
    here = {**HERE, "eth0": ["10.0.0.6"]}
    plain = yaml.safe_load(text)
    assert resolve(plain, None, here).problems == ()
    complete = yaml.safe_load(re.sub(r"(?m)^(\s*)#: ?", r"\1", text))
    assert resolve(complete, None, here).problems == ()
    listed = complete["globoapp"]
    assert set(listed) >= {*settings.KNOWN, "credentials"}
    for name in ("shop", "billing"):
        deployed = {"version": "1.0"}
        assert settings.resolve(apps.view(complete, name, False), deployed, here, app=name).problems == ()
    for key in (set(listed) - set(plain["globoapp"])) & set(settings.KNOWN):
        default = getattr(Settings(), key)
        assert not default or listed[key] == default, key


# Another app.


def test_another_app_has_defaults_of_its_own_and_must_have_a_port():
    shop = settings.resolve({"globoapp": {"version": "1.0", "name": "shop", "port": 9000}}, None, HERE, app="shop")
    assert shop.problems == ()
    wanted = ("shop", "shop", "/opt/globoHUB/shop", "salt://shop-1.0.zip")
    assert (shop.settings.name, shop.settings.user, shop.settings.root, shop.settings.source) == wanted
    section = {"version": "1.0", "name": "shop", "root": "x", "prot": 9000}
    wrong = settings.resolve({"globoapp": section}, None, HERE, app="shop")
    assert wrong.problems[0].startswith("globoapps:shop:prot is an unknown setting; did you mean root or port?")
    assert wrong.problems[1].startswith("root is 'x': an absolute path")
    assert wrong.problems[2:] == (
        "port is missing: each app beside globoapp has a port of its own; say which one in globoapps:shop:port",
    )
    assert wrong.invalid == {"root", "port"}
    assert wrong.settings.root == "/opt/globoHUB/shop", "not that of another app"


def test_the_port_of_another_app_may_come_from_the_call_or_the_last_deploy():
    section = {"globoapp": {"version": "1.0", "name": "shop"}}
    call = Call("state.apply", {"pillar": {"port": 9000}})
    assert settings.resolve(section, None, HERE, call, app="shop").settings.port == 9000
    deployed = {"version": "1.0", "port": 9001, "bind": "0.0.0.0"}
    assert settings.resolve(section, deployed, HERE, app="shop").problems == ()
