"""Variables for the app: which names are the deploy's own, and which values reach the app."""

import pytest
from globolib import variables


@pytest.mark.parametrize("name", sorted(variables.RESERVED))
def test_a_name_of_the_deploy_is_refused_with_what_to_use_instead(name):
    (line,) = variables.problems({name: "geheim"})
    start = f"environment:{name} is reserved for the deploy: "
    assert line.startswith(start) and len(line) > len(start) + 20
    assert "geheim" not in line


def test_the_reserved_names_are_those_that_break_a_deploy():
    assert set(variables.RESERVED) == {
        *("GUNICORN_CMD_ARGS", "WSGI_TARGET", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "INVOCATION_ID"),
        *("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"),
        *("PATH", "LD_PRELOAD", "LD_LIBRARY_PATH"),
    }


@pytest.mark.parametrize("value", ["", "x", "a\nb\n", 1, -0.5, "\t\x1b[0m", "\U0001f600", "true"])
def test_texts_and_numbers_are_values(value):
    assert variables.problems({"A_1": value, "path": value, "PYTHONPATHS": value}) == []


@pytest.mark.parametrize(
    ("character", "shown"),
    [("\0", "0000"), ("\r", "000D"), ("\ufeff", "FEFF"), ("\ufffe", "FFFE"), ("\ufdd0", "FDD0"), ("\ud800", "D800"),
     ("\U0010ffff", "10FFFF")],
)  # fmt: skip
def test_what_systemd_does_not_read_is_refused_without_showing_the_value(character, shown):
    (line,) = variables.problems({"KEY": f"geheim{character}"})
    assert line.startswith(f"environment:KEY holds the character U+{shown}, which systemd does not hand on: ")
    assert "geheim" not in line


@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_is_refused_with_what_to_write(value):
    (line,) = variables.problems({"DEBUG": value})
    assert line.endswith(f'write in quotes what it is to get: "{str(value).lower()}"')


@pytest.mark.parametrize("value", [None, ["geheim"], {"geheim": 1}, b"geheim"])
def test_anything_else_is_no_value(value):
    (line,) = variables.problems({"KEY": value})
    assert line == f"environment:KEY is a {type(value).__name__}: it must be a text or a number"


@pytest.mark.parametrize("name", ["A B", "1A", "", "A-B", "A\n", 7, True, None])
def test_a_name_is_letters_digits_and_underscores(name):
    (line,) = variables.problems({name: "x"})
    assert line.startswith(f"environment has {name!r}: a variable's name is letters, digits and _")


def test_all_is_told_at_once():
    told = variables.problems({"PATH": "x", "A": True, "B": "fine", "C D": 1, "E": "\r"})
    assert [line.split(" ")[0] for line in told] == [
        "environment:PATH",
        "environment:A",
        "environment",
        "environment:E",
    ]


def test_what_is_no_mapping_is_told():
    assert variables.problems(["A=1"]) == ["environment is a list: it must be a mapping of variable to value"]
