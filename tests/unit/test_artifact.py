"""tools/artifact.py: the same bytes everywhere, and a version that never changes."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import packaging
import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = sorted(path.parent.name for path in (ROOT / "app").glob("*/manifest.json"))


@pytest.fixture
def app(tmp_path):
    """Returns a copy of app/ that a test may change: no version of it is released."""
    copy = Path(shutil.copytree(ROOT / "app", tmp_path / "app"))
    (copy / "released.json").unlink(missing_ok=True)
    return copy


@pytest.fixture
def artifact(app, tmp_path):
    """Returns a function that runs tools/artifact.py on the copy; its result has returncode, stdout and stderr."""

    def run(*arguments, dist="dist", python=sys.executable, **options):
        command = [python, str(ROOT / "tools" / "artifact.py"), "--app", str(app), "--dist", str(tmp_path / dist)]
        return subprocess.run([*command, *arguments], check=False, capture_output=True, text=True, **options)

    return run


@pytest.fixture
def dist(tmp_path):
    """Returns where the function `artifact` puts what it makes."""
    return tmp_path / "dist"


def change(app, version="1.1"):
    """Changes one byte of that version in app (Path)."""
    with open(app / version / "api.py", "a") as file:
        file.write("#")


def test_without_a_version_all_are_made(artifact, dist):
    done = artifact()
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in dist.iterdir()) == sorted(
        f"globoapp-{version}.zip{suffix}" for version in VERSIONS for suffix in ("", ".sha256")
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_zip_holds_what_a_server_needs(artifact, dist, version):
    assert artifact(version).returncode == 0
    with zipfile.ZipFile(dist / f"globoapp-{version}.zip") as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
        lock = archive.read("requirements.lock")
        api = archive.read("api.py")
    assert {"api.py", "manifest.json", "requirements.lock", "sbom.json"} <= set(names)
    assert names == sorted(names) and all(name.startswith("migrations/") for name in names if "/" in name)
    assert api == (ROOT / "app" / version / "api.py").read_bytes()
    assert manifest["version"] == version
    assert manifest["lock_sha256"] == hashlib.sha256(lock).hexdigest()
    assert {"wsgi", "workers", "threads", "python", "health"} <= set(manifest)


def test_the_migrations_are_in_the_zip_and_nothing_that_python_left(artifact, app, dist):
    source = app / "3.0"
    (source / "migrations" / "__pycache__").mkdir()
    (source / "migrations" / "__pycache__" / "env.cpython-311.pyc").write_bytes(b"made by Python")
    assert artifact("3.0").returncode == 0
    with zipfile.ZipFile(dist / "globoapp-3.0.zip") as archive:
        below = {name for name in archive.namelist() if "/" in name}
        assert archive.read("alembic.ini") == (source / "alembic.ini").read_bytes()
    assert below == {"migrations/env.py", "migrations/versions/0001_comments.py"}


def test_the_checksum_is_what_sha256sum_checks(artifact, dist):
    artifact("1.0")
    subprocess.run(["sha256sum", "--check", "--quiet", "globoapp-1.0.zip.sha256"], cwd=dist, check=True)


def test_neither_clock_nor_umask_nor_order_shows(artifact, app, tmp_path):
    artifact("1.1", dist="first")
    for number, path in enumerate(sorted((app / "1.1").iterdir(), reverse=True)):
        path.rename(path.with_suffix(".moved"))
        path.with_suffix(".moved").rename(path)
        path.chmod(0o600)
        os.utime(path, (10**9 + number, 10**9 + number))
    environment = {**os.environ, "TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    artifact("1.1", dist="second", env=environment, umask=0o077)
    first, second = ((tmp_path / name / "globoapp-1.1.zip").read_bytes() for name in ("first", "second"))
    assert first == second


def test_every_python_of_this_machine_makes_the_same_bytes(artifact, tmp_path):
    made = set()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "packaging").symlink_to(Path(packaging.__file__).parent)  # all that the tool needs
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}
    for name in ("python3", "python3.10", "python3.12", "python3.13"):
        python = shutil.which(name)
        done = artifact("1.1", dist=name, python=python, env=environment) if python else None
        if done and "pyenv" in done.stderr:  # a shim without a Python behind it
            continue
        assert done is None or done.returncode == 0, done.stderr
        made.update(path.read_bytes() for path in (tmp_path / name).glob("*.zip"))
    assert len(made) == 1


def test_making_it_again_changes_nothing(artifact, dist):
    artifact()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in dist.iterdir()}
    done = artifact()
    assert done.returncode == 0
    assert done.stdout.count("up to date") == len(VERSIONS)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in dist.iterdir()} == before


def test_a_version_that_exists_with_other_content_is_refused(artifact, app, dist):
    artifact()
    before = (dist / "globoapp-1.1.zip").read_bytes()
    change(app)
    done = artifact()
    assert done.returncode == 1
    assert "1.1 exists with other content" in done.stderr
    assert "never changes" in done.stderr
    assert (dist / "globoapp-1.1.zip").read_bytes() == before
    assert done.stdout.count("up to date") == len(VERSIONS) - 1


def test_a_released_version_is_refused_even_where_dist_is_empty(artifact, app, dist):
    assert artifact("1.1", "--release").returncode == 0
    released = json.loads((app / "released.json").read_text())
    assert released == {"1.1": hashlib.sha256((dist / "globoapp-1.1.zip").read_bytes()).hexdigest()}
    shutil.rmtree(dist)
    assert artifact("1.1").returncode == 0
    shutil.rmtree(dist)
    change(app)
    done = artifact("1.1")
    assert done.returncode == 1
    assert f"was released with sha256 {released['1.1']}" in done.stderr
    assert not dist.exists()


def test_a_stray_file_stays_out(artifact, app, tmp_path):
    artifact("1.0", dist="first")
    (app / "1.0" / "api.py~").write_text("an editor's backup")
    (app / "1.0" / "__pycache__").mkdir(exist_ok=True)
    artifact("1.0", dist="second")
    first, second = ((tmp_path / name / "globoapp-1.0.zip").read_bytes() for name in ("first", "second"))
    assert first == second


def test_an_unknown_version_names_those_that_exist(artifact):
    done = artifact("9.9")
    assert done.returncode == 1
    assert "9.9: no such version" in done.stderr
    assert all(version in done.stderr for version in VERSIONS)


@pytest.mark.parametrize("version", ["../1.0", "1.0/", "", "1.0\n"])
def test_a_version_with_path_tricks_is_no_version(artifact, version):
    assert "no such version" in artifact(version).stderr


def test_all_problems_of_a_manifest_are_named_at_once(artifact, app):
    path = app / "1.1" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.update(version="1.2", workers="1", lock_sha256="0" * 64)
    del manifest["wsgi"]
    path.write_text(json.dumps(manifest))
    done = artifact("1.1")
    assert done.returncode == 1
    for problem in (
        "says workers '1': a whole",
        "'wsgi' is missing",
        "says version '1.2', wanted '1.1'",
        "'lock_sha256'",
    ):
        assert problem in done.stderr


def test_a_missing_lock_says_how_to_make_it(artifact, app):
    (app / "1.1" / "requirements.lock").unlink()
    assert "make lock" in artifact("1.1").stderr


def test_a_manifest_that_is_no_json_is_named(artifact, app):
    (app / "1.1" / "manifest.json").write_text("{")
    done = artifact("1.1")
    assert done.returncode == 1
    assert "manifest.json: no readable manifest" in done.stderr


def test_the_versions_released_are_what_they_were(tmp_path):
    released = json.loads((ROOT / "app" / "released.json").read_text())
    assert {"1.0", "1.1"} <= set(released)
    command = [sys.executable, str(ROOT / "tools" / "artifact.py"), "--dist", str(tmp_path), *released]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = {
        version: hashlib.sha256((tmp_path / f"globoapp-{version}.zip").read_bytes()).hexdigest() for version in released
    }
    assert made == released
