"""Runs a version of the app as a web server does: its artifact, a virtualenv of its lock, gunicorn on a held socket."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import requests
from prepared import prepared, prepared_in_place

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ROOT / "salt" / "_utils" / "globolib" / "gunicorn_conf.py"
CACHE = ROOT / ".lab" / "app-tests"

# Puts the socket where systemd puts it and names the process that is to take it: gunicorn checks both.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


def wait_for(condition, what, seconds=20):
    """Polls condition (callable) until it returns something true, and returns that; raises TimeoutError naming what."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)


def uv_program():
    """Returns the path of the uv program that the wheelhouse carries, unpacked once."""
    (wheel,) = (ROOT / "dist" / "wheels").glob("uv-*.whl")

    def unpack(directory):
        with zipfile.ZipFile(wheel) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith(".data/scripts/uv")]
            (directory / "uv").write_bytes(archive.read(member))
        (directory / "uv").chmod(0o755)

    return prepared(CACHE / wheel.stem, unpack) / "uv"


def virtualenv(lock):
    """Returns the Python (Path) of a virtualenv of the requirements at lock (Path), made from the wheelhouse."""
    uv = [str(uv_program()), "--quiet", "--offline"]

    def make(directory):
        subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, str(directory)], check=True)
        install = [*uv, "pip", "install", "--python", str(directory / "bin/python"), "--no-index", "--require-hashes"]
        install.append("--compile-bytecode")
        wheels = ["--find-links", str(ROOT / "dist" / "wheels")]
        subprocess.run([*install, *wheels, "--requirement", str(lock)], check=True)

    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    name = f"{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}-{tag}"
    return prepared_in_place(CACHE / name, make) / "bin" / "python"


class Release:
    """An unpacked artifact: directory (Path), manifest (dict) and python (Path) of its virtualenv."""

    def __init__(self, version, directory):
        """Unpacks dist/globoapp-<version>.zip into directory (Path) and makes its virtualenv."""
        with zipfile.ZipFile(ROOT / "dist" / f"globoapp-{version}.zip") as archive:
            archive.extractall(directory)
        self.version = version
        self.directory = Path(directory)
        self.manifest = json.loads((self.directory / "manifest.json").read_text())
        self.python = virtualenv(self.directory / self.manifest["requirements"])

    def command(self, environment, command=None):
        """Returns the release command, or another one, as a deploy runs it: (list, options of subprocess)."""
        path = f"{self.python.parent}:{os.environ['PATH']}"
        variables = {**os.environ, **environment, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        variables.pop("PYTHONPATH", None)
        return command or self.manifest["release_command"], {"cwd": self.directory, "env": variables}


class Server:
    """gunicorn with a Release, on a socket that this object holds as systemd does: it stays while gunicorn is away."""

    def __init__(self, release, state, workers=None, threads=None, listener=None, environment=None):
        """state (Path) is the StateDirectory; workers and threads default to the manifest's; environment is a dict.

        listener is a socket to serve instead of one of our own, for two releases on one address.
        """
        self.release = release
        self.state = Path(state)
        self.workers = workers or release.manifest["workers"]
        self.threads = threads or release.manifest["threads"]
        self.environment = environment or {}
        self.listener = listener or socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.log = self.state / f"gunicorn-{release.version}.log"
        self.process = None

    def start(self, wait=True):
        """Starts gunicorn, and waits until the manifest's health check passes; raises AssertionError with its log."""
        command = [
            str(self.release.python), "-m", "gunicorn.app.wsgiapp", "--config", str(SETTINGS),
            "--workers", str(self.workers), "--threads", str(self.threads), self.release.manifest["wsgi"],
        ]  # fmt: skip
        environment = {
            **os.environ, "LISTEN_FDS": "1", "STATE_DIRECTORY": str(self.state), "RUNTIME_DIRECTORY": str(self.state),
            **self.environment,
        }  # fmt: skip
        environment.pop("PYTHONPATH", None)
        number = self.listener.fileno()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", HAND_OVER, str(number), *command], cwd=self.release.directory, env=environment,
                pass_fds=[number], stdout=log, stderr=log,
            )  # fmt: skip
        if wait:
            wait_for(self.is_healthy, f"{self.release.version} healthy at {self.url}; see {self.log}")
        return self

    def is_healthy(self):
        """Tells whether the manifest's health check passes; raises AssertionError where gunicorn is gone."""
        assert self.process.poll() is None, self.log.read_text()
        health = self.release.manifest["health"]
        try:
            answer = requests.get(self.url + health["path"], headers=health.get("headers"), timeout=5)
            body = answer.json()
        except (requests.RequestException, ValueError):
            return False
        return answer.status_code == health["status"] and health["json"].items() <= body.items()

    def worker_pids(self):
        """Returns the process ids (list of int) of gunicorn's workers."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self, how=signal.SIGTERM):
        """Stops gunicorn by the signal how and waits for its end; the socket stays. SIGKILL takes the workers too."""
        if self.process is None:
            return
        if how == signal.SIGKILL:
            for pid in self.worker_pids():
                os.kill(pid, signal.SIGKILL)
        self.process.send_signal(how)
        self.process.wait(timeout=40)
        self.process = None

    def close(self):
        """Stops gunicorn and closes the socket."""
        self.stop()
        self.listener.close()
