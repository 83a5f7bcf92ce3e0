"""Foreign text: whatever comes in, what goes out harms no terminal, YAML, JSON or webhook."""

import json
import unicodedata

import pytest
import yaml
from globolib import text
from hypothesis import given
from hypothesis import strategies as st

FOREIGN = st.binary(max_size=60) | st.text(st.characters(), max_size=60)


@given(FOREIGN)
def test_a_line_is_harmless(raw):
    line = text.line(raw)
    assert not [char for char in line if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") and char != "\t"]
    assert not set(line) & set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
    assert json.loads(json.dumps(line).encode()) == line
    assert yaml.safe_load(yaml.safe_dump(line)) == line
    assert text.line(line) == line


@given(FOREIGN, st.integers(3, 20), st.integers(1, 5))
def test_length_and_number_are_limited(raw, limit, most):
    assert len(text.line(raw, limit)) <= limit
    lines = text.lines(raw, most, limit)
    assert len(lines) <= most
    assert all(len(line) <= limit for line in lines)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ("plain \t ä € 💚", "plain \t ä € 💚"),
        (b"caf\xc3\xa9", "café"),
        (b"\xffx", "\ufffdx"),
        ("a\r\nb\nc\rd", "a b c d"),
        ("\x1b[1;31mred\x1b[0m \x9b2Jgone", "red gone"),
        ("\x1b]0;title\x07text \x1b]8;;http://x\x1b\\link", "text link"),
        ("bell\x07 null\x00 \x7f", "bell? null? ?"),
        ("user\u202egnp.exe", "user?gnp.exe"),
        ("one\u2028two", "one?two"),
        ("\ud800", "?"),
    ],
)
def test_what_becomes_of_it(raw, line):
    assert text.line(raw) == line


def test_what_is_long_says_so():
    assert text.line("x" * 1001) == "x" * 997 + "..."
    assert text.line("x" * 1000) == "x" * 1000


@pytest.mark.parametrize(
    ("raw", "lines"),
    [(b"", []), ("", []), ("one", ["one"]), (b"one\ntwo\n", ["one", "two"]), ("a\n\nb", ["a", "", "b"]), ("\n", [""])],
)
def test_lines(raw, lines):
    assert text.lines(raw) == lines


def test_the_last_lines_count():
    assert text.lines("1\n2\n3\n", 2) == ["2", "3"]
