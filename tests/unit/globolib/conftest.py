"""A stand-in for programs that need a booted systemd."""

import os
import tempfile

import pytest
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
def machine(tmp_path, monkeypatch):
    """A server with systemd that has seen nothing; 1.0 and 1.1 are published."""
    with tempfile.TemporaryDirectory(prefix="run-") as run_directory:
        made = Machine(tmp_path, run_directory, monkeypatch)
        made.publish("1.0")
        made.publish("1.1")
        yield made
        made.close()
