"""The parser of locks: pins with hashes and nothing else, as uv and pip-compile write them."""

import re
from pathlib import Path

import pytest
from globolib import lockfile, uv_digests
from globolib.errors import Failure

ROOT = Path(__file__).resolve().parents[3]
A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize("path", [*(ROOT / "app").glob("*/requirements.lock"), *(ROOT / "tools").glob("*.txt")])
def test_the_locks_of_this_tree_are_read_to_the_last_hash(path):
    lock = path.read_text()
    entries = lockfile.entries(lock)
    assert [entry.pin for entry in entries] == re.findall(r"^([\w.-]+==[^\s;]+)", lock, re.MULTILINE)
    assert sum(len(entry.hashes) for entry in entries) == lock.count("--hash=")
    assert all(entry.text in lock for entry in entries)


@pytest.mark.parametrize(
    ("lock", "entry"),
    [
        (f"a==1 --hash=sha256:{A}\n", ("a", "1", (A,))),
        (f"# by x\n\nA_b==1.0 \\\n  --hash=sha256:{A} \\\n  --hash=sha256:{B}\n    # via c\n", ("a-b", "1.0", (A, B))),
        (f"a[x]==1 ; python_version < '3.9' --hash=sha256:{A}", ("a", "1", (A,))),
        (f"a==1+local \\\n    --hash=sha256:{A} \\", ("a", "1+local", (A,))),
    ],
    ids=["one line", "several", "extra and marker", "no end"],
)  # fmt: skip
def test_an_entry(lock, entry):
    (parsed,) = lockfile.entries(lock)
    assert (parsed.name, parsed.version, parsed.hashes) == entry


@pytest.mark.parametrize(
    "line",
    [
        "click", "click==1", "-r other.txt", "--index-url x", f"a>=1 --hash=sha256:{A}", f"a==1.* --hash=sha256:{A}",
        f"a==1,==2 --hash=sha256:{A}", "a==1 --hash=md5:0", f"a==1 --hash=sha256:{A}0", f"a==1 --hash=sha256:{A} -e x",
        f"a @ https://x/a.whl --hash=sha256:{A}", f"a===x --hash=sha256:{A}", f"--hash=sha256:{A}",
    ],
)  # fmt: skip
def test_a_line_that_is_not_understood_is_refused_by_its_words(line):
    with pytest.raises(Failure, match=re.escape(f"no pin with hashes: {line!r}")):
        lockfile.entries(f"b==1 --hash=sha256:{A}\n{line}\n")


def test_one_package_for_several_pythons():
    lock = (
        f"a==1 ; python_full_version < '3.11.5' --hash=sha256:{A}\na==2 ; python_version >= '3.13' --hash=sha256:{B}\n"
        f"w==1 ; sys_platform == 'win32' --hash=sha256:{B}\nb==1 --hash=sha256:{B}\n"
    )
    entries = lockfile.entries(lock)
    assert [entry.pin for entry in entries if entry.applies("3.11.2")] == ["a==1", "b==1"]
    assert [entry.pin for entry in entries if entry.applies("3.11.7")] == ["b==1"]
    assert [entry.pin for entry in entries if entry.applies("3.13.0")] == ["a==2", "b==1"]


def test_a_package_by_its_name():
    assert lockfile.entry(f"a==1 --hash=sha256:{A}\n", "a").version == "1"
    with pytest.raises(Failure, match="does not name b"):
        lockfile.entry(f"a==1 --hash=sha256:{A}\n", "b")


def test_the_uv_that_servers_take_is_the_one_that_the_tools_pin():
    lock = (ROOT / "tools" / "requirements-uv.txt").read_text()
    assert {digest for entry in lockfile.entries(lock) for digest in entry.hashes} == uv_digests.DIGESTS
