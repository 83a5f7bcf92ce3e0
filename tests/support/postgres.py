"""PostgreSQL servers for tests: Debian's, as our own processes on a private unix socket; no service starts."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from debian import unpacked
from prepared import prepared

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / ".lab"
USER = "nobody"  # PostgreSQL refuses to run as root
SETTINGS = {"listen_addresses": "", "max_connections": "60", "jit": "off", "shared_buffers": "16MB"}


def programs():
    """Returns (directory, environment) of initdb, postgres and psql: this machine's, or from Debian's packages.

    Raises RuntimeError where there are neither.
    """
    own = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if own and (own[-1].parent / "psql").exists():
        return own[-1].parent, dict(os.environ)
    return from_packages()


def from_packages():
    """Returns what programs() does, from Debian's packages. Raises RuntimeError where they cannot be had."""
    (server,) = re.findall(r"Depends: (postgresql-\d+)", _depends("postgresql"))
    # LLVM is for jit, which is off.
    libraries = re.findall(r"Depends: (lib(?!llvm|c6)\S+)", _depends(server))
    target = unpacked(server, server.replace("-", "-client-"), "libsasl2-2", *libraries)
    (directory,) = target.glob("usr/lib/postgresql/*/bin")
    paths = ":".join(str(path) for path in target.glob("usr/lib/*-linux-gnu"))
    return directory, {**os.environ, "LD_LIBRARY_PATH": paths}


def _depends(package):
    command = ["apt-cache", "depends", package]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    if not said:
        subprocess.run(["apt-get", "update"], capture_output=True)
        said = subprocess.run(command, capture_output=True, text=True).stdout
    if not said:
        raise RuntimeError(f"{package} is not installed, and apt-cache does not know it")
    return said


def _unprivileged(command):
    """Returns command (list) so that it does not run as root, and ends with the test even if that is killed."""
    other = [f"--reuid={USER}", f"--regid={_group()}", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *other, "--pdeathsig=QUIT", *command]


def _group():
    return subprocess.run(["id", "-gn", USER], check=True, capture_output=True, text=True).stdout.strip()


def _give(path):
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", f"{USER}:{_group()}", str(path)], check=True)


def _make_cluster(directory, binaries, environment):
    """Makes the files of an empty server in directory (Path), with the superuser postgres."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as work:
        _give(work)
        subprocess.run(
            _unprivileged([str(binaries / "initdb"), "--pgdata", f"{work}/data", "--username=postgres", "--auth=trust",
                           "--no-locale", "--encoding=UTF8", "--no-sync", "--no-instructions"]),
            check=True, env=environment, cwd="/", stdout=subprocess.DEVNULL,
        )  # fmt: skip
        shutil.copytree(f"{work}/data", directory / "data")


class Postgres:
    """A server in a directory of its own in /tmp: socket paths are short, and its user has to reach it."""

    def __init__(self, **settings):
        """settings are those of postgresql.conf."""
        binaries, self.environment = programs()
        self.work = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        os.chmod(self.work, 0o755)
        if LAB in binaries.parents:  # the server's user may not reach the checkout
            shutil.copytree(binaries.parents[3], self.work / "usr", symlinks=True)
            binaries = self.work / "usr" / binaries.relative_to(binaries.parents[3])
            self.environment["LD_LIBRARY_PATH"] = ":".join(map(str, self.work.glob("usr/lib/*-linux-gnu")))
        self.binaries = binaries
        name = f"postgresql-{binaries.parts[-2]}"
        cluster = prepared(LAB / name, lambda path: _make_cluster(path, binaries, self.environment))
        shutil.copytree(cluster / "data", self.work / "data")
        os.chmod(self.work / "data", 0o700)
        _give(self.work)
        self.settings = {**SETTINGS, **settings}
        self.process = None
        self.databases = 0

    def start(self):
        """Starts the server and waits until it answers; returns self. Raises AssertionError with its log."""
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        with open(self.work / "log", "ab") as log:
            self.process = subprocess.Popen(
                _unprivileged([str(self.binaries / "postgres"), "-D", str(self.work / "data"), "-k", str(self.work),
                               *options]),
                env=self.environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while self.run("SELECT 1", check=False).returncode != 0:
            assert self.process.poll() is None and time.monotonic() < deadline, (self.work / "log").read_text()[-2000:]
            time.sleep(0.05)
        return self

    def stop(self, how=signal.SIGINT):
        """Stops the server, which breaks off what it does; SIGQUIT is a crash, after which it recovers."""
        if self.process is not None:
            self.resume()
            self.process.send_signal(how)
            self.process.wait(timeout=60)
            self.process = None

    def close(self):
        """Stops the server and removes its files."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.work)

    def pause(self):
        """Makes the server hang: connections stay, new ones are taken by the kernel, and nothing is answered."""
        os.kill(self.process.pid, signal.SIGSTOP)
        for pid in self._backends():
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        """Lets the server go on."""
        for pid in [*self._backends(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _backends(self):
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def psql(self, database="postgres", user="postgres"):
        """Returns the command (list) of a psql that reads statements from its standard input and stops at an error."""
        return [
            str(self.binaries / "psql"), "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", str(self.work), "-U", user,
            database,
        ]  # fmt: skip

    def run(self, statements, database="postgres", check=True):
        """Runs statements (str) as the superuser; returns the finished process."""
        return subprocess.run(
            self.psql(database), input=statements, check=check, env=self.environment, capture_output=True, text=True
        )

    def rows(self, statements, database):
        """Returns what statements (str) select: a list of lines, columns parted by |."""
        return self.run(statements, database).stdout.splitlines()

    def new_database(self, template="template0"):
        """Makes a database that belongs to the role globoapp, a copy of template (str); returns its name."""
        self.databases += 1
        name = f"comments{self.databases}"
        role = "CREATE ROLE globoapp LOGIN;\n" if self.databases == 1 else ""
        self.run(f"{role}CREATE DATABASE {name} TEMPLATE {template} OWNER globoapp;")
        return name

    def url(self, database):
        """Returns the DATABASE_URL of a database (str) for the role globoapp."""
        return f"postgresql://globoapp@/{database}?host={self.work}"

    @contextlib.contextmanager
    def transaction(self, statements, database, user="postgres"):
        """Holds a transaction open in which statements (str) have run, while the block runs; then rolls it back."""
        process = subprocess.Popen(
            self.psql(database, user), env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            process.stdin.write(f"BEGIN;\n{statements};\n\\echo done\n")
            process.stdin.flush()
            for line in process.stdout:
                if line == "done\n":
                    break
            else:
                raise AssertionError(f"not carried out: {statements}")
            yield
        finally:
            process.stdin.close()
            process.wait(timeout=30)
            process.stdout.close()
