"""What salt-ssh sends to a server: the state that it carries out, and the files for it."""

import json
import zipfile

import pytest
from globolib import shipped

LOCK = "a==1 --hash=sha256:" + "0" * 64 + "\nMark_Up==2 --hash=sha256:" + "1" * 64 + "\n"
WHEELS = ["a-1-py3-none-any.whl", "mark_up-2-py3-none-any.whl", "b-1-py3-none-any.whl", "uv-0.13-py3-none-any.whl"]
SERVED = ["globoapp/init.sls", "_utils/globolib/run.py", *(f"wheels/{name}" for name in WHEELS), "wheels/SHA256SUMS"]


@pytest.fixture
def sent(tmp_path):
    """A function that returns the state for a call's words and a pillar; served are artifacts of 1.0 and (torn) 1.1."""
    with zipfile.ZipFile(tmp_path / "globoapp-1.0.zip", "w") as archive:
        archive.writestr("requirements.lock", LOCK)
    (tmp_path / "globoapp-1.1.zip").write_bytes(b"no zip")
    artifacts = [f"globoapp-{version}.zip{suffix}" for version in ("1.0", "1.1") for suffix in ("", ".sha256")]

    def make(*words, pillar=None):
        call = {"fun": "state.apply", "arg": list(words)}

        def fetch(url):
            return str(tmp_path / url.removeprefix("salt://"))

        return shipped.state(pillar or {}, call, json.loads, SERVED + artifacts, fetch)

    return make


def artifact(version):
    return [f"salt://globoapp-{version}.zip", f"salt://globoapp-{version}.zip.sha256"]


def wheels(*numbers):
    return [f"salt://wheels/{WHEELS[number]}" for number in numbers]


def test_the_artifact_that_was_asked_for_and_the_wheels_of_its_lock(sent):
    word = 'pillar={"version": "1.0"}'
    assert sent("globoapp", word, pillar={"version": "1.0"}) == {
        "name": "globoapp",
        "call": {"fun": "state.apply", "arg": ["globoapp", word]},
        "files": ["salt://globoapp", *artifact("1.0"), *wheels(0, 1, 3)],
    }


def test_uv_stays_where_pip_is_wanted(sent):
    files = sent(pillar={"globoapp": {"version": "1.0", "installer": "pip"}})["files"]
    assert files[3:] == wheels(0, 1)


def test_without_a_version_or_with_one_that_is_not_there_all_artifacts(sent):
    """The server knows which one is deployed, and says what there is."""
    every = ["salt://globoapp", *artifact("1.0"), *artifact("1.1"), *wheels(0, 1, 3)]
    assert sent()["files"] == every
    assert sent("globoapp", 'pillar={"version": "9.9"}', pillar={"version": "9.9"})["files"] == every


def test_a_torn_artifact_goes_along_and_the_server_says_what_is_wrong(sent):
    files = sent("globoapp", 'pillar={"version": "1.1"}', pillar={"version": "1.1"})["files"]
    assert files == ["salt://globoapp", *artifact("1.1"), *wheels(3)]


def test_of_an_https_repository_nothing_is_sent(sent):
    urls = {"source": "https://repo/{name}-{version}.zip", "wheels": "https://repo/wheels"}
    assert sent(pillar={"globoapp": {"version": "1.0", **urls}})["files"] == ["salt://globoapp"]


def test_several_apps(sent):
    pillar = {"globoapps": {"shop": {"port": 9000, "version": "1.0", "source": "salt://globoapp-{version}.zip"}}}
    assert sent(pillar={"globoapp": {"version": "1.0"}, **pillar})["files"] == [
        *("salt://globoapp", *artifact("1.0"), *wheels(0, 1, 3)),
    ]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["globoapp.health"], "globoapp.health"),
        (["globoapp.app", "test=true"], "globoapp.app"),
        (["globoapp,top"], "globoapp"),
        ([], "globoapp"),
        ([{"__kwarg__": True}], "globoapp"),
    ],
)
def test_the_part_that_was_asked_for_is_what_is_applied(sent, words, name):
    assert sent(*words)["name"] == name


@pytest.mark.parametrize("section", ["x", {"source": 5}, {"wheels": None}, {"version": 1.1}])
def test_what_is_wrong_with_pillar_the_server_says(sent, section):
    assert sent(pillar={"globoapp": section})["files"][0] == "salt://globoapp"
