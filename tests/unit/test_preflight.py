"""What stands in the way of a deploy: all of it at once."""

import pytest

FINE = {
    "globoapp_systemd.running": [],
    "globoapp_socket.found": {},
    "globoapp_virtualenv.interpreter": {"tag": "cpython-311", "version": "3.11.2", "venv": True},
    "globoapp_virtualenv.location": "/opt/x/virtualenvs/a",
    "globoapp_virtualenv.complete": True,
    "globoapp_release.record": None,
    "globoapp_release.names": [],
    "globoapp_release.differences": [],
    "globoapp_artifact.stored": "/nowhere/globoapp-1.0.zip",
    "globoapp_artifact.available": ["1.0", "1.1"],
    "globoapp_artifact.fetch": {"size": 1000, "sha256": "0" * 64, "manifest": {}, "lock": "a==1"},
}


@pytest.fixture
def host(tree, settings):
    """A host that is fit; `host.told(name=answer)` gives the problems when functions answer otherwise."""
    tree.found = {**settings, "invalid": []}
    free = {"bytes": 10 << 30}
    vars(tree.modules.globoapp_preflight)["__utils__"]["globoapp_files.free_bytes"] = lambda path: free["bytes"]

    def told(room=10 << 30, **answers):
        free["bytes"] = room
        for name, answer in {**FINE, **{key.replace("__", "."): value for key, value in answers.items()}}.items():
            tree.salt[name] = _function(answer)
        return tree.modules.globoapp_preflight.problems(tree.found)

    tree.told = told
    return tree


def _function(answer):
    def function(*args, **kwargs):
        if isinstance(answer, Exception):
            raise answer
        return answer

    return function


def test_a_fit_host_has_none(host):
    assert host.told() == []


def test_all_are_named_at_once(host):
    error = host.modules.globoapp_preflight.CommandExecutionError
    found = host.told(
        room=1 << 20,
        globoapp_virtualenv__interpreter=error("/usr/bin/python3 does not run: gone"),
        globoapp_artifact__fetch=error("salt://globoapp-1.0.zip is not there"),
    )
    assert len(found) == 3
    assert found[0] == "/usr/bin/python3 does not run: gone"
    assert found[1].startswith("version 1.0 is unknown: ") and "The source has 1.0, 1.1" in found[1]
    assert found[2].startswith("no room on the disk of ") and "1 MiB free" in found[2]


def test_an_installer_that_is_missing_and_the_room_that_it_needs(host):
    error = host.modules.globoapp_preflight.CommandExecutionError("install python3-venv")
    reserve = host.found["reserve"] << 20
    answers = {"globoapp_virtualenv__complete": False, "globoapp_virtualenv__installer": error}
    found = host.told(room=reserve + (99 << 20), **answers)
    assert [one[:20] for one in found] == ["install python3-venv", "no room on the disk "]
    assert host.told(room=reserve + (101 << 20), **answers) == ["install python3-venv"]


@pytest.mark.parametrize(
    ("wanted", "fits"), [(">=3.9,<3.14", True), (">=3.12", False), ("<3.11", False), ("==3.11", True)]
)
def test_the_python_that_a_release_wants(host, wanted, fits):
    made = {**FINE["globoapp_artifact.fetch"], "manifest": {"python": wanted}}
    found = host.told(globoapp_artifact__fetch=made)
    assert found == ([] if fits else [f"1.0 wants Python {wanted}, {host.found['python']} is 3.11.2"])


def test_a_version_that_changed_its_content(host):
    known = {"sha256": "1" * 64, "version": "1.0"}
    (found,) = host.told(globoapp_release__record=known, globoapp_release__differences=["api.py was changed"])
    assert "is not what this host has as PACK1_0" in found and "A version never changes" in found


def test_what_a_wrong_setting_is_needed_for_is_not_looked_at(host):
    host.found["invalid"] = ["source", "port"]
    error = host.modules.globoapp_preflight.CommandExecutionError("not to be asked")
    assert host.told(room=0, globoapp_artifact__fetch=error, globoapp_systemd__running=error) == []
