"""
What the tests of globolib share: a stand-in for programs that need a booted systemd; settings below the test's
directory, artifacts and wheels. No Salt, no root.
"""

import base64
import hashlib
import json
import os
import tempfile
import zipfile

import pytest
from artifacts import LOCK, MANIFEST, seal
from fakecache import Cache
from globolib import release
from globolib.minion import Minion
from globolib.monitor.store import Store
from globolib.settings import Settings
from machine import Machine

PROGRAM = """\
#!/bin/sh
printf '%s\\n' "${0##*/} $*" >> "$0.calls"
[ -f "$0.$1.sh" ] && . "$0.$1.sh"
exit 0
"""


class Programs:
    """``systemctl`` and ``journalctl`` that keep how they were called and say what a test wants."""

    def __init__(self, directory):
        self._directory = directory
        directory.mkdir()
        for name in ("systemctl", "journalctl"):
            (directory / name).write_text(PROGRAM)
            (directory / name).chmod(0o755)

    def says(self, name, verb, stdout="", stderr="", code=0, script=""):
        """What ``name`` gives from now on when its first argument is ``verb``: texts, exit code, or a shell script."""
        for stream, said in (("out", stdout), ("err", stderr)):
            (self._directory / f"{name}.{verb}.{stream}").write_bytes(
                said if isinstance(said, bytes) else said.encode()
            )
        answer = f'cat "$0.{verb}.out"; cat "$0.{verb}.err" >&2; {script or f"exit {code}"}\n'
        (self._directory / f"{name}.{verb}.sh").write_text(answer)

    def remove(self, name):
        """Let there be no such program."""
        (self._directory / name).unlink()

    @property
    def calls(self):
        """The commands that were started, in the order of each program's."""
        paths = [self._directory / f"{name}.calls" for name in ("systemctl", "journalctl")]
        return [line for path in paths if path.exists() for line in path.read_text().splitlines()]


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs, first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Programs(tmp_path / "bin")


@pytest.fixture
def settings(tmp_path):
    """Settings of version 1.0; their root exists."""
    (tmp_path / "root").mkdir()
    return Settings(version="1.0", root=str(tmp_path / "root"), source=f"file://{tmp_path}/dist/globoapp-1.0.zip")


@pytest.fixture
def minion(tmp_path):
    """A minion whose master serves tmp_path."""

    def cached(url):
        path = tmp_path / url.removeprefix("salt://")
        return str(path) if path.is_file() else ""

    def names():
        return [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]

    opts = {"id": "web1", "cachedir": str(tmp_path / "cache")}
    return Minion({"cp.cache_file": cached, "cp.list_master": names}, opts, {})


@pytest.fixture
def owner(monkeypatch):
    """Releases belong to who runs the tests."""
    monkeypatch.setattr(release, "OWNER", (os.geteuid(), os.getegid()))
    return os.geteuid(), os.getegid()


@pytest.fixture
def cache():
    """Salt's cache layer, empty."""
    return Cache()


@pytest.fixture
def store(cache, tmp_path):
    """The master's records, in that cache."""
    return Store(cache, str(tmp_path))


@pytest.fixture(params=[0o022, 0o077, 0o000])
def umask(request):
    """The test runs with each umask."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def make_artifact(tmp_path):
    """A function that makes dist/globoapp-1.0.zip and its .sha256; it returns the path of the zip."""

    def make(manifest=None, files=None, checksum=None, without=(), lock=LOCK):
        held = {"api.py": "app = 1\n", "manifest.json": json.dumps(manifest or MANIFEST), "requirements.lock": lock}
        path = tmp_path / "dist" / "globoapp-1.0.zip"
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in {**held, **(files or {})}.items():
                if name not in without:
                    archive.writestr(name, text)
        seal(path, checksum)
        return path

    return make


@pytest.fixture
def make_wheel(tmp_path):
    """A function that makes a wheel of one module in wheels/; it returns its line in a lock."""

    def make(name, version, text=None):
        directory = tmp_path / "wheels"
        directory.mkdir(exist_ok=True)
        path = directory / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        held = {
            f"{name}.py": text or f"version = {version!r}\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = [
            f"{file},sha256={base64.urlsafe_b64encode(hashlib.sha256(held[file].encode()).digest()).decode()[:43]},"
            for file in held
        ]
        with zipfile.ZipFile(path, "w") as archive:
            for file, content in held.items():
                archive.writestr(file, content)
            archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"

    return make


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A server with systemd that has seen nothing; 1.0 and 1.1 are published."""
    with tempfile.TemporaryDirectory(prefix="run-") as run_directory:
        made = Machine(tmp_path, run_directory, monkeypatch)
        made.publish("1.0")
        made.publish("1.1")
        yield made
        made.close()
