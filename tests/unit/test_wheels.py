"""tools/wheels.py and tools/purewheel.py: a wheelhouse that is verified, and a wheel whose hash is a constant."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import purewheel
import pytest
import wheels
from globolib import lockfile
from globolib.errors import Failure

ROOT = Path(__file__).resolve().parents[2]

LOCK = (ROOT / "app" / "1.0" / "requirements.lock").read_text()
SDIST = {
    "Thing-1.0/PKG-INFO": b"Metadata-Version: 1.2\nName: Thing\nVersion: 1.0\n",
    "Thing-1.0/LICENSE.rst": b"free",
    "Thing-1.0/setup.py": b"raise SystemExit('not to be run')",
    "Thing-1.0/src/thing/__init__.py": b"answer = 42\n",
    "Thing-1.0/src/thing/_fast.c": b"int main;",
    "Thing-1.0/src/Thing.egg-info/SOURCES.txt": b"",
    "Thing-1.0/tests/test_thing.py": b"",
}


def sdist(path, files, mtime=0):
    """Writes files (dict of name to bytes) as a .tar.gz to path (Path); returns path."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), mtime, 0o600
            archive.addfile(member, io.BytesIO(content))
    return path


def test_a_pure_wheel_holds_the_python_files_and_no_other(tmp_path):
    wheel = purewheel.make_wheel(sdist(tmp_path / "Thing-1.0.tar.gz", SDIST), tmp_path)
    assert wheel.name == "Thing-1.0-py3-none-any.whl"
    info = "Thing-1.0.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.namelist() == [
            *(f"{info}/{name}" for name in ("LICENSE.rst", "METADATA", "RECORD", "WHEEL", "top_level.txt")),
            "thing/__init__.py",
        ]
        assert archive.read("thing/__init__.py") == b"answer = 42\n"


def test_a_pure_wheel_is_the_same_whatever_the_times_and_the_order(tmp_path):
    (tmp_path / "other").mkdir()
    first = purewheel.make_wheel(sdist(tmp_path / "Thing-1.0.tar.gz", SDIST), tmp_path)
    turned = dict(reversed(SDIST.items()))
    second = purewheel.make_wheel(sdist(tmp_path / "other" / "Thing-1.0.tar.gz", turned, 10**9), tmp_path / "other")
    assert first.read_bytes() == second.read_bytes()


def test_pip_installs_a_pure_wheel_and_its_record_holds(tmp_path):
    wheel = purewheel.make_wheel(sdist(tmp_path / "Thing-1.0.tar.gz", SDIST), tmp_path)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    if subprocess.run([*pip[:3], "--version"], check=False, capture_output=True).returncode:
        pytest.skip("this Python has no pip")
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(wheel)], check=True)
    code = "import thing, importlib.metadata as m; print(thing.answer, m.version('thing'))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=tmp_path / "site", capture_output=True, text=True
    )
    assert done.stdout.split() == ["42", "1.0"]


def test_an_sdist_without_packages_is_refused(tmp_path):
    files = {name: content for name, content in SDIST.items() if "/src/" not in name}
    with pytest.raises(ValueError, match="no Python package under src/"):
        purewheel.make_wheel(sdist(tmp_path / "Thing-1.0.tar.gz", files), tmp_path)


def named(lock):
    """The names of the packages of a lock."""
    return [entry.name for entry in lockfile.entries(lock)]


def test_the_lock_is_split_into_what_is_downloaded_and_what_is_made():
    rest, names = wheels.split(LOCK)
    assert names == ["markupsafe"]
    assert sorted([*named(rest), "markupsafe"]) == sorted(named(LOCK))


def test_a_pure_wheel_that_the_lock_does_not_name_is_refused(tmp_path, monkeypatch):
    source = sdist(tmp_path / "MarkupSafe-1.1.1.tar.gz", SDIST)
    monkeypatch.setattr(purewheel, "fetch_sdist", lambda *arguments: source)
    with pytest.raises(ValueError, match="which the lock does not name; run: make lock"):
        wheels.pure_wheel("markupsafe", LOCK, tmp_path)


@pytest.mark.parametrize("line", ["click", "click==1", "-r other.txt", "--index-url x"])
def test_a_lock_with_anything_but_pins_and_hashes_is_refused(line):
    with pytest.raises(Failure, match="no pin with hashes"):
        lockfile.entries(f"{LOCK}{line}\n")


@pytest.fixture
def wheelhouse(tmp_path):
    """Returns (wheels, stamp) of a wheelhouse made with the inputs digest "inputs"."""
    directory, stamp = tmp_path / "wheels", tmp_path / "stamp"
    directory.mkdir()
    (directory / "a-1-py3-none-any.whl").write_bytes(b"a")
    (directory / "SHA256SUMS").write_text(wheels.checksums(directory))
    stamp.write_text("inputs")
    return directory, stamp


def test_a_wheelhouse_stays_while_its_inputs_do(wheelhouse):
    assert wheels.is_complete(*wheelhouse, "inputs")
    assert not wheels.is_complete(*wheelhouse, "other inputs")


@pytest.mark.parametrize("damage", ["changed", "missing", "extra", "no sums", "no stamp"])
def test_a_damaged_wheelhouse_is_made_again(wheelhouse, damage):
    directory, stamp = wheelhouse
    wheel = directory / "a-1-py3-none-any.whl"
    {
        "changed": lambda: wheel.write_bytes(b"b"),
        "missing": wheel.unlink,
        "extra": lambda: shutil.copy(wheel, directory / "b-1-py3-none-any.whl"),
        "no sums": (directory / "SHA256SUMS").unlink,
        "no stamp": stamp.unlink,
    }[damage]()
    assert not wheels.is_complete(directory, stamp, "inputs")


def test_another_lock_is_another_input(tmp_path):
    (tmp_path / "a.lock").write_text("a")
    first = wheels.inputs_digest([tmp_path / "a.lock"])
    assert wheels.inputs_digest([tmp_path / "a.lock"]) == first
    (tmp_path / "a.lock").write_text("b")
    assert wheels.inputs_digest([tmp_path / "a.lock"]) != first


def test_where_pip_fails_the_wheelhouse_stays_as_it_was(tmp_path, monkeypatch, capfd):
    app, dist = tmp_path / "app", tmp_path / "dist"
    (app / "1.0").mkdir(parents=True)
    (app / "1.0" / "requirements.lock").write_text("no-such-package==0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    (dist / "wheels").mkdir(parents=True)
    (dist / "wheels" / "a-1-py3-none-any.whl").write_bytes(b"a")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert wheels.main(["--app", str(app), "--dist", str(dist)]) == 1
    assert "not made, left as it was" in capfd.readouterr().err
    assert [path.name for path in dist.glob("**/*")] == ["wheels", "a-1-py3-none-any.whl"]


def test_the_lock_of_2020_names_the_wheel_made_here():
    """The constant hash: should zipfile or tarfile ever write other bytes, make wheels would fail everywhere."""
    found = ROOT / "dist" / "wheels" / "MarkupSafe-1.1.1-py3-none-any.whl"
    if not found.exists():
        pytest.skip("no wheelhouse yet: make wheels")
    assert hashlib.sha256(found.read_bytes()).hexdigest() in lockfile.entry(LOCK, "markupsafe").hashes
    assert json.loads((ROOT / "app" / "1.0" / "manifest.json").read_text())["requirements"] == "requirements.lock"
