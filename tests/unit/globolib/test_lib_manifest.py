"""What a release says of itself, and what is wrong with it."""

import json
import pathlib
import re

import pytest
from globolib import manifest
from globolib.manifest import Health, Manifest

CHECKOUT = pathlib.Path(__file__).parents[3]
FINE = {
    "name": "globoapp",
    "version": "1.0",
    "wsgi": "api:app",
    "workers": 2,
    "threads": 8,
    "python": ">=3.9,<3.14",
    "health": {"path": "/status/", "status": 200, "json": {"version": "1.0"}},
}
SHORT = {"name": "globoapp", "version": "1.0", "wsgi": "api:app", "health": {"path": "/"}}


def test_all_of_it():
    assert manifest.problems(FINE, "globoapp", "1.0") == []
    health = Health("/status/", 200, {"version": "1.0"})
    assert manifest.parsed(FINE) == Manifest(
        "globoapp", "1.0", "api:app", 2, 8, python=">=3.9,<3.14", health=health, data=FINE
    )


def test_as_little_as_possible():
    assert manifest.problems(SHORT, "globoapp", "1.0") == []
    assert manifest.parsed(SHORT) == Manifest(
        "globoapp", "1.0", "api:app", single_process=True, data=SHORT, state="process"
    )
    assert manifest.parsed({**SHORT, "health": {"path": "/x", "json": None}}).health == Health("/x")


@pytest.mark.parametrize("command", [["alembic", "upgrade", "head"], ["x"], ["x"] * 64, ["é ☃", "a b", "$HOME;"]])
def test_a_release_command_is_a_program_with_its_arguments(command):
    data = {**SHORT, "release_command": command}
    assert manifest.problems(data, "globoapp", "1.0") == []
    assert manifest.parsed(data).release_command == tuple(command)


COMMANDS = {
    "a line for a shell": "alembic upgrade head",
    "nothing": [],
    "null": None,
    "a mapping": {"alembic": 1},
    "too many": ["x"] * 65,
    "a number": ["alembic", 1],
    "an empty string": ["alembic", ""],
    "a NUL": ["alembic\0"],
    "half a surrogate pair": ["\ud800"],
    "a list in the list": [["alembic"]],
}


@pytest.mark.parametrize("case", COMMANDS)
def test_another_release_command_is_refused(case):
    command = COMMANDS[case]
    (problem,) = manifest.problems({**FINE, "release_command": command}, "globoapp", "1.0")
    assert problem == (
        f"manifest.json says release_command {command!r}: a list of 1 to 64 non-empty strings without NUL"
    )


@pytest.mark.parametrize(
    ("more", "single"),
    [
        ({}, True),
        ({"workers": 1}, True),
        ({"workers": 2}, False),
        ({"single_process": True}, True),
        ({"workers": 1, "single_process": True}, True),
        ({"workers": 1, "single_process": False}, False),
    ],
)
def test_whether_state_is_in_the_process(more, single):
    data = {**SHORT, **more}
    assert manifest.problems(data, "globoapp", "1.0") == []
    assert manifest.parsed(data).single_process is single


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_what_was_published_without_the_field_keeps_state_in_its_process(version):
    data = json.loads((CHECKOUT / "app" / version / "manifest.json").read_text())
    assert "single_process" not in data and manifest.parsed(data).single_process is True
    assert manifest.parsed(json.loads((CHECKOUT / "app/2.0/manifest.json").read_text())).single_process is False


WRONG = {
    "no object": ([], "manifest.json is not a JSON object"),
    "another app": ({"name": "other"}, "says name 'other', wanted 'globoapp'"),
    "another version": ({"version": "1.1"}, "says version '1.1', wanted '1.0'"),
    "a version that is a number": ({"version": 1.0}, "says version 1.0, wanted '1.0'"),
    "a command": ({"wsgi": "api.py; rm -rf /"}, "says wsgi 'api.py; rm -rf /': module:callable"),
    "two lines": ({"wsgi": "api:app\n"}, "says wsgi 'api:app\\n': module:callable"),
    "a factory with a command": (
        {"wsgi": "api:create_app(__import__('os'))"},
        "module:callable or module:factory(...)",
    ),
    "a factory that is not called to its end": ({"wsgi": "api:create_app("}, "module:callable or module:factory(...)"),
    "a call of a call": ({"wsgi": "api:create_app()()"}, "module:callable or module:factory(...) with plain values"),
    "a factory with a line end": ({"wsgi": "api:create_app('a\nb')"}, "module:callable or module:factory(...)"),
    "a factory with a variable": ({"wsgi": "api:create_app('$HOME')"}, "module:callable or module:factory(...)"),
    "an attribute of a module that is called": ({"wsgi": "api:x.create_app()"}, "module:callable or module:factory"),
    "headers that are a list": (
        {"health": {"path": "/", "headers": ["Host: x"]}},
        "says health:headers ['Host: x']: an object of names and texts",
    ),
    "a header of two lines": (
        {"health": {"path": "/", "headers": {"Host": "x\r\nEvil: 1"}}},
        "says health:headers Host 'x\\r\\nEvil: 1': a text of visible ASCII",
    ),
    "a header that is a number": (
        {"health": {"path": "/", "headers": {"X-One": 1}}},
        "says health:headers X-One 1: a text of visible ASCII",
    ),
    "a header with spaces around it": ({"health": {"path": "/", "headers": {"X": " x"}}}, "headers X ' x': a text of"),
    "a name that is none": (
        {"health": {"path": "/", "headers": {"X One": "1"}}},
        "says health:headers 'X One': no header that a health check can have",
    ),
    "a header of the question itself": (
        {"health": {"path": "/", "headers": {"connection": "keep-alive"}}},
        "says health:headers 'connection': no header that a health check can have",
    ),
    "a header twice": (
        {"health": {"path": "/", "headers": {"Host": "a", "HOST": "b"}}},
        "says health:headers 'HOST': it is there twice",
    ),
    "no wsgi": ({"wsgi": None}, "says wsgi None: module:callable"),
    "no workers": ({"workers": 0}, "says workers 0: a whole number from 1"),
    "true workers": ({"workers": True}, "says workers True: a whole number from 1"),
    "one process and two workers": ({"single_process": True}, "says single_process True: true, with one worker, or"),
    "one process, perhaps": ({"single_process": "no"}, "says single_process 'no': true, with one worker, or false"),
    "half a thread": ({"threads": 0.5}, "says threads 0.5: a whole number from 1"),
    "a Python that is no range": ({"python": "3"}, "says python '3': a range like"),
    "a Python that is a number": ({"python": 3.9}, "says python 3.9: a range like"),
    "no health": ({"health": None}, "says health None: a path that begins with /, a status, perhaps json"),
    "an empty health": ({"health": {}}, "says health {}: a path"),
    "a path without a slash": ({"health": {"path": "status"}}, "says health {'path': 'status'}: a path"),
    "a path with a space": ({"health": {"path": "/a b"}}, "says health {'path': '/a b'}: a path"),
    "a path of two lines": ({"health": {"path": "/\r\nHost: x"}}, "says health {'path': '/\\r\\nHost: x'}: a path"),
    "a status that is text": ({"health": {"path": "/", "status": "200"}}, "a path that begins with /, a status"),
    "json that is a list": ({"health": {"path": "/", "json": [1]}}, "a path that begins with /, a status"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told(case):
    change, words = WRONG[case]
    (problem,) = manifest.problems({**FINE, **change} if isinstance(change, dict) else change, "globoapp", "1.0")
    assert words in problem


def test_all_that_is_wrong_is_told_at_once():
    told = manifest.problems({}, "globoapp", "1.0")
    assert [re.match(r"manifest\.json says (\w+)", problem)[1] for problem in told] == [
        "name",
        "version",
        "wsgi",
        "health",
    ]


@pytest.mark.parametrize(
    ("wanted", "python", "fits"),
    [
        ("", "3.6.1", True),
        (">=3.9,<3.14", "3.13.1", True),
        (">=3.9,<3.14", "3.14.0", False),
        (">=3.12", "3.11.2", False),
        (">=3.12", "3.13.0rc1", True),
        ("==3.11.*", "3.11.2", True),
    ],
)
def test_whether_it_runs_on_a_python(wanted, python, fits):
    assert Manifest("globoapp", "1.0", "api:app", python=wanted).runs_on(python) is fits


@pytest.mark.parametrize(
    "wsgi",
    [
        "shop.wsgi:application",
        "api:create_app()",
        "api:create_app('production', debug=False)",
        'shop.web:make("a/b.toml", 2,-1.5, None)',
    ],
)
def test_a_target_is_a_callable_or_a_factory(wsgi):
    assert manifest.problems({**SHORT, "wsgi": wsgi}, "globoapp", "1.0") == []


def test_headers_of_a_health_check():
    headers = {"Host": "shop.example.com", "X-Forwarded-Proto": "https", "X-Empty": "", "Accept": "a, b"}
    data = {**SHORT, "health": {"path": "/", "headers": headers}}
    assert manifest.problems(data, "globoapp", "1.0") == []
    assert manifest.parsed(data).health == Health("/", headers=headers)
