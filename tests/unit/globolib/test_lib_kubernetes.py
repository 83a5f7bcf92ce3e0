"""What the manifests for Kubernetes are filled with: wishes, refusals, texts. The manifests: tests/functional."""

import pathlib
import re

import pytest
import yaml
from globolib import argv, manifest, serving
from globolib import settings as settings_of
from globolib.kubernetes import refusals, values, wishes
from globolib.kubernetes.wishes import Wishes
from globolib.settings import Settings
from hypothesis import example, given
from hypothesis import strategies as st

CHECKOUT = pathlib.Path(__file__).parents[3]
RIGHT = {"image": "registry.example.com/globoapp"}


def test_the_image_is_all_that_has_to_be_said():
    assert wishes.parsed(RIGHT) == (Wishes(image=RIGHT["image"]), [])


WRONG = [
    ("image", "", "image is missing"),
    ("image", "globoapp", "image is 'globoapp': a repository"),
    ("image", "hub.example/app:1.1", "image is .*: a repository without tag"),
    ("image", "hub.example/app@sha256:00", "image is .*: a repository without tag and digest"),
    ("image", ["x"], "image is "),
    ("digest", "sha256:00", "digest is 'sha256:00': sha256: and 64"),
    ("namespace", "A", "namespace is 'A': a name"),
    ("pull_secret", "-", "pull_secret is '-': a name"),
    ("directory", "x", "directory is 'x': an absolute path"),
    ("replicas", 0, "replicas is 0: a whole number from 1"),
    ("replicas_max", True, "replicas_max is True: a whole number"),
    ("pre_stop", 1.5, "pre_stop is 1.5: seconds"),
    ("storage", "1G", "storage is '1G': a size"),
    ("dns", "yes", "dns is 'yes': true or false"),
    ("ingress", {}, "ingress is {}: a mapping with host"),
    ("ingress", {"host": "a", "port": 1}, "ingress is .*: a mapping with host"),
    ("ingress", {"host": "a_b"}, "ingress:host is 'a_b': the name"),
    ("ingress", {"host": "a", "tls": "A"}, "ingress:tls is 'A': a name"),
    ("replica", 1, "replica is an unknown setting; did you mean replicas"),
]


@pytest.mark.parametrize(("key", "value", "line"), WRONG, ids=[f"{key}={value!r}" for key, value, _ in WRONG])
def test_a_wrong_wish_is_a_line_and_goes_no_further(key, value, line):
    wished, (problem,) = wishes.parsed({**RIGHT, key: value})
    assert re.match(f"globoapp:kubernetes:{line}", problem)
    assert getattr(wished, key, None) in (getattr(Wishes(), key, None), None)


def test_a_section_that_is_no_mapping_is_told():
    assert wishes.parsed("x")[1] == ["globoapp:kubernetes is a str: it must be a mapping with image, namespace, ..."]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*wishes.KNOWN, "other"]) | st.integers(), JSON) | JSON)
@example({"\n": False})
def test_nothing_that_pillar_may_hold_raises(section):
    wished, problems = wishes.parsed(section)
    assert all(isinstance(line, str) and "\n" not in line for line in problems)
    assert isinstance(wished, Wishes)


@pytest.mark.parametrize("bind", [None, "0.0.0.0", "::"])
def test_a_pod_listens_on_all_that_it_has(bind):
    assert refusals.bind_problem({"bind": bind}) is None


@pytest.mark.parametrize("bind", ["eth0", "10.0.0.5", "unix:/run/a/b.sock", 7])
def test_what_only_a_host_has_is_refused(bind):
    assert refusals.bind_problem({"bind": bind}).startswith(f"bind is {bind!r}: a pod has no address or socket")


def of_pillar(**values_):
    return list(refusals.of_pillar(Settings(version="1.0", **values_)))


@pytest.mark.parametrize(
    ("given_", "line"),
    [
        ({"name": "a_"}, "name is 'a_': it ends with _"),
        ({"port": 443}, "port is 443: in a pod"),
        ({"proxy": {}}, "proxy is set: on Kubernetes an ingress"),
        ({"memory_max": "50%"}, "memory_max is '50%': a pod has no memory"),
        ({"workers": "auto", "cpu_quota": "100%"}, "workers is auto, and memory_max is not set"),
        ({"environment": {"A": "x" * (1 << 20)}}, "environment holds 1048577 bytes: a Secret takes"),
    ],
)
def test_what_makes_no_sense_in_a_pod(given_, line):
    (problem,) = of_pillar(**given_)
    assert problem.startswith(line)


def test_what_does_is_not_refused():
    assert of_pillar(workers="auto", cpu_quota="100%", memory_max="1G", port=1024) == []


def release(**more):
    data = {"name": "globoapp", "version": "1.0", "wsgi": "a:b", "workers": 2, "health": {"path": "/"}, **more}
    assert manifest.problems(data, "globoapp", "1.0") == []
    return manifest.parsed(data)


STATES = [
    ({"workers": 1}, "process"),
    ({"workers": 1, "state": "shared"}, "shared"),
    ({"workers": 1, "single_process": False}, "host"),
    ({}, "host"),
    ({"release_command": ["x"]}, "shared"),
    ({"release_command": ["x"], "state": "host"}, "host"),
]


@pytest.mark.parametrize(("more", "state"), STATES)
def test_where_an_app_keeps_its_state(more, state):
    assert release(**more).state == state


@pytest.mark.parametrize("more", [{"state": "cloud"}, {"state": None}, {"single_process": True, "state": "shared"}])
def test_a_state_that_is_none_is_told(more):
    data = {"name": "a", "version": "1.0", "wsgi": "a:b", "health": {"path": "/"}, **more}
    (problem,) = manifest.problems(data, "a", "1.0")
    assert problem.startswith(f"manifest.json says state {more['state']!r}: one of process, host, shared")


@pytest.mark.parametrize(
    ("state", "wished", "lines"),
    [
        ("host", {"replicas": 2}, ["replicas is 2: globoapp 1.0 can have 1: it keeps its state on one volume"]),
        ("process", {"replicas_max": 3}, ["replicas_max is 3: globoapp 1.0 can have 1: it keeps its state in the mem"]),
        ("shared", {"replicas": 3, "replicas_max": 2}, ["replicas_max is 2: fewer than replicas, 3"]),
        ("shared", {"replicas": 3}, []),
        ("process", {"replicas": 1, "replicas_max": 1}, []),
    ],
)
def test_how_many_pods_a_version_can_have(state, wished, lines):
    found = list(refusals.of_release(Settings(version="1.0"), release(state=state), Wishes(**wished)))
    assert len(found) == len(lines)
    for problem, line in zip(found, lines, strict=True):
        assert problem.startswith(f"globoapp:kubernetes:{line}")


@pytest.mark.parametrize(
    ("of_manifest", "of_pillar_", "refused"),
    [
        ({"worker": ["x"]}, {}, True),
        ({}, {"worker": ["x"]}, True),
        ({"worker": ["x"]}, {"worker": False}, False),
        ({}, {}, False),
    ],
)
def test_background_processes_are_refused(of_manifest, of_pillar_, refused):
    settings = Settings(version="1.0", processes=of_pillar_)
    assert bool(list(refusals.of_release(settings, release(processes=of_manifest), Wishes()))) is refused


WORDS = st.lists(st.text(min_size=1).filter(lambda word: argv.fits([word])), min_size=1, max_size=5)


@given(WORDS)
def test_words_are_the_same_words_to_yaml(words):
    """Kubernetes makes one $ of two."""
    assert yaml.safe_load(values.quoted(words)) == [word.replace("$", "$$") for word in words]


def made(settings=None, **more):
    return values.values(settings or Settings(version="1.0"), release(**more), Wishes(image="a/b"), "a/b@sha256:0")


@pytest.mark.parametrize(
    ("settings", "more", "memory"),
    [
        ({}, {"workers": 1}, "256Mi"),
        ({}, {"workers": 3}, "768Mi"),
        ({"workers": 4, "worker_count": 4}, {"workers": 1}, "256Mi"),
        ({"workers": 4, "worker_count": 4}, {}, "1024Mi"),
        ({"memory_max": "512M"}, {}, "512Mi"),
        ({"memory_max": 123456789}, {}, "123456789"),
    ],
)
def test_memory(settings, more, memory):
    assert made(Settings(version="1.0", **settings), **more)["pod"]["memory"] == memory
    assert serving.WORKER_BYTES == 256 << 20


def test_health_that_the_kubelet_does_not_understand_is_asked_by_the_program():
    assert made(health={"path": "/x", "status": 404})["ready"] is None
    assert made(health={"path": "/x", "headers": {"host": "a.example"}})["ready"] == {
        "path": "/x",
        "headers": {"host": "a.example"},
    }


def test_the_name_of_the_release_command_says_what_is_in_it():
    names = [
        made(Settings(version="1.0", **given_), release_command=["x"])["job"]["name"]
        for given_ in ({}, {"environment": {"A": "1"}}, {"release_command": ["y"]}, {"release_timeout": 7}, {"soak": 9})
    ]
    assert len(set(names)) == 4
    assert names[0] == names[4]
    assert made(Settings(version="1.0", release_command=False), release_command=["x"])["job"] is None


def test_a_name_is_one_of_kubernetes():
    assert made(Settings(name="my_app", version="1.0"))["name"] == "my-app"


def test_servers_know_that_the_section_is_there():
    assert settings_of.resolve({"globoapp": {"version": "1.0", "kubernetes": RIGHT}}, None, {}).problems == ()
