"""Programs that are started: what they get, what they give, and when they end."""

import os
import time

import pytest
from globolib import commands
from globolib.errors import Failure


def test_what_a_program_gave():
    done = commands.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert done == commands.Done(3, b"out\n", b"err\n")
    assert done.words == "err"
    assert commands.run(["echo", "out"]).words == "out"


def test_its_words_are_harmless():
    assert commands.run(["printf", r"a\033[31mb\000\nc\377"]).words == "ab?\nc\ufffd"


def test_one_that_fails_speaks_for_itself():
    with pytest.raises(Failure, match=r"^ls /nowhere/at/all: exit 2: .*No such file"):
        commands.run(["ls", "/nowhere/at/all"])


def test_an_error_shows_no_more_of_the_command_than_it_may():
    with pytest.raises(Failure) as failure:
        commands.run(["false", "--token", "geheim"], shown=2)
    assert str(failure.value) == "false --token ...: exit 1: "
    with pytest.raises(Failure, match=r"^false: exit 1: $"):
        commands.run(["false"], shown=1)


def test_one_that_does_not_end_is_killed():
    begun = time.monotonic()
    with pytest.raises(Failure, match=r"^sleep 60: no end after 0\.1 s$"):
        commands.run(["sleep", "60"], deadline=0.1)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("command", "why"), [("/nowhere/at/all", "No such file or directory"), ("/etc", "Permission denied")]
)
def test_one_that_does_not_run(command, why):
    with pytest.raises(Failure, match=f"^{command} does not run: {why}$"):
        commands.run([command])


def test_nothing_is_inherited_that_changes_its_work(monkeypatch):
    monkeypatch.setenv("LC_ALL", "tlh")
    monkeypatch.setenv("LANG", "tlh")
    monkeypatch.setenv("SECRET", "geheim")
    before = os.umask(0o077)
    try:
        done = commands.run(["sh", "-c", "umask; cat; env"], environ={"MORE": "1"})
    finally:
        os.umask(before)
    umask, *variables = done.stdout.decode().splitlines()
    assert umask == "0022"
    seen = dict(line.split("=", 1) for line in variables)
    assert seen["LANG"] == "C.UTF-8"
    assert seen["MORE"] == "1"
    assert seen["PATH"] == os.environ["PATH"]
    assert not {"SECRET", "LC_ALL"} & set(seen)


def test_a_path_is_there_even_without_one(monkeypatch):
    monkeypatch.delenv("PATH")
    assert commands.run(["sh", "-c", "echo $PATH"]).words == "/usr/bin:/bin"
