"""What systemd limits a release to."""

import pytest
from globolib import limits


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("512M", 512 << 20),
        ("2G", 2 << 30),
        ("65536K", 64 << 20),
        ("1T", 1 << 40),
        (536870912, 1 << 29),
        ("536870912", 1 << 29),
        ("50%", 500),
        ("100%", 1000),
        ("101%", None),
        ("0%", None),
        ("0", None),
        ("-1", None),
        ("1.5G", None),
        ("512MB", None),
        ("512M\n", None),
        ("infinity", None),
        (True, None),
        (None, None),
    ],
)
def test_memory_as_systemd_reads_it(value, count):
    assert limits.memory_bytes(value, 1000) == count


@pytest.mark.parametrize(("key", "value"), [("memory_max", "64M"), ("memory_max", "1%"), ("tasks_max", 8)])
def test_the_least_that_is_taken(key, value):
    assert list(limits.problems({**dict.fromkeys(limits.DIRECTIVES), key: value})) == []


def test_no_limit_is_no_line():
    assert limits.lines(dict.fromkeys(limits.DIRECTIVES)) == ""


def test_the_tasks_of_a_release():
    assert limits.tasks_needed(1, 8) == 10
    assert limits.tasks_needed(4, 2) == 13
