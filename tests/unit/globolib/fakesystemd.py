"""
systemd for tests, in this process: as much of it as the package uses. What it starts are real processes that share real
sockets.
"""

import contextlib
import fnmatch
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import uuid
from dataclasses import dataclass

from globolib import background, commands, files, systemd, text
from globolib.errors import Failure
from globolib.layout import CANDIDATE, LIVE, STANDIN

SERVER = pathlib.Path(__file__).with_name("release_server.py")


@dataclass
class State:
    """A unit that systemd has loaded."""

    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    invocation: str = ""
    status: int = 0  # ExecMainStatus
    process: subprocess.Popen | None = None
    status: int = 0


class Systemd:
    """
    Stands in for systemctl, systemd-run and journalctl.

    calls
        The commands, in their order.
    fails
        What goes wrong: ``{"restart shop@*": words or exception or function}``, by verb and a pattern of the unit.
        Nothing is done then: words are what systemctl says before it exits with 1, an exception is raised. A function
        is called; unless it raises, what was told is done.
    """

    def __init__(self, layout, logs):
        self.layout, self.logs = layout, logs
        self.states, self.sockets, self.loaded = {}, {}, {}
        self.calls, self.fails = [], {}
        self.real_run = commands.run

    def run(self, command, deadline=120, check=True, environ=None, shown=None):
        """As commands.run."""
        if command[0] == "systemd-run":
            return self._run(command)
        if command[0] not in ("systemctl", "journalctl"):
            return self.real_run(command, deadline, check, environ, shown)
        words = [word for word in command[1:] if not word.startswith("--")]
        self.calls.append(" ".join(command if command[0] == "journalctl" else words))
        code, out, err = self._journal(command) if command[0] == "journalctl" else self._systemctl(words)
        if check and code:
            raise Failure(f"{' '.join(command[:shown])}: exit {code}: {text.line(err)}")
        return commands.Done(code, out.encode(), err.encode())

    def _systemctl(self, words):
        verb, *names = words
        if refused := self._refused(" ".join([verb, *names[-1:]])):
            return 1, "", refused
        if verb == "show" and names[0] == "DropInPaths":
            directory = pathlib.Path(self.layout.drop_ins())
            return 0, f"DropInPaths={' '.join(map(str, sorted(directory.glob('*.conf'))))}\n", ""
        if verb == "show":
            return 0, self._show(names[1:]), ""  # the first one is the list of properties
        for name in names or [""]:
            code, err = getattr(self, f"_{verb.replace('-', '_')}")(name)
        return code, "", err

    def _refused(self, words):
        """What was told to go wrong with a command: its words, or None."""
        for pattern, what in self.fails.items():
            if fnmatch.fnmatch(words, pattern):
                if isinstance(what, str):
                    return what
                if isinstance(what, BaseException):
                    raise what
                what()
        return None

    def _run(self, command):
        """systemd-run --wait: its process is run here, until its end or RuntimeMaxSec."""
        options, words = command[1 : command.index("--")], command[command.index("--") + 1 :]
        given = [option.removeprefix("--property=") for option in options if option.startswith("--property=")]
        properties = dict(line.split("=", 1) for line in given)
        unit = next(option.removeprefix("--unit=") for option in options if option.startswith("--unit="))
        self.calls.append(f"systemd-run {unit}")
        if refused := self._refused(f"systemd-run {unit}"):
            return commands.Done(1, b"", refused.encode())
        environment = dict(line.split("=", 1) for line in shlex.split(" ".join(
            line.removeprefix("Environment=") for line in given if line.startswith("Environment=")
        )))  # fmt: skip
        handed = pathlib.Path(properties["EnvironmentFile"]).read_text()
        environment |= dict(word.split("=", 1) for word in shlex.split(handed))
        known = self.state(unit)
        known.active, known.invocation = "active", uuid.uuid4().hex
        with open(self.logs / f"{unit}.{known.invocation}", "w") as log:
            process = subprocess.Popen(
                [re.sub(r"\$(\$|\w+)", lambda one: {"$": "$", **environment}.get(one[1], ""), word) for word in words],
                cwd=properties["WorkingDirectory"], env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
            try:
                known.status = process.wait(float(properties["RuntimeMaxSec"]))
                known.result = "success" if known.status == 0 else "exit-code" if known.status > 0 else "signal"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                known.status, known.result = process.wait(), "timeout"
        known.active = "inactive" if known.status == 0 else "failed"
        return commands.Done(abs(known.status), b"", b"")

    # What there is.

    def state(self, name):
        """The state of a unit as of now."""
        known = self.states.setdefault(name, State())
        if known.process and known.process.poll() is not None:
            known.process, known.result = None, "exit-code"
            again = systemd.instance(self.layout, name) or background.of_unit(self.layout, name)
            if background.of_unit(self.layout, name):
                shutil.rmtree(self._runtime(name))
            known.active, known.sub = ("activating", "auto-restart") if again else ("failed", "failed")
        return known

    def pid(self, name):
        """The main process of a unit; 0 when there is none."""
        process = self.state(name).process
        return process.pid if process else 0

    def _file_state(self, name):
        path = os.path.join(self.layout.units, name)
        if os.path.islink(path) and os.readlink(path) == "/dev/null":
            return "masked"
        return "enabled" if os.path.lexists(os.path.join(self.layout.wants, name)) else "disabled"

    def _files(self):
        """The texts of the files that systemd reads, by path."""
        found = {}
        for directory, _, names in os.walk(self.layout.units):
            for name in names:
                path = os.path.join(directory, name)
                if not name.startswith(".") and os.path.isfile(path):
                    found[path] = pathlib.Path(path).read_text()
        return found

    def _file(self, name):
        """The file of a unit: a background process has one of its own."""
        process = background.of_unit(self.layout, name)
        return self.layout.process_file(name) if process else self.layout.unit_file(name)

    def _needs_reload(self, name):
        return any(files.read(path) != self.loaded.get(path) for path in (self._file(name), self.layout.handed))

    def _show(self, patterns):
        names = {*self.states, *(name for name in patterns if "*" not in name)}
        blocks = []
        for name in sorted(names):
            known = self.state(name)
            if name not in patterns and (
                known.active == "inactive" or not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
            ):
                continue
            properties = {
                "Id": name, "ActiveState": known.active, "SubState": known.sub, "MainPID": self.pid(name),
                "Result": known.result, "UnitFileState": self._file_state(name), "InvocationID": known.invocation,
                "ExecMainStatus": known.status, "NeedDaemonReload": "yes" if self._needs_reload(name) else "no",
            }  # fmt: skip
            blocks.append("".join(f"{key}={value}\n" for key, value in properties.items()))
        return "\n".join(blocks)

    def _journal(self, command):
        if command[1] == "--sync":
            return 0, "", ""
        if command[1] == "--quiet" and command[2].startswith("--vacuum"):
            return 0, "", ""
        wanted = command[-1].rpartition("=")[2]
        paths = sorted(self.logs.glob(f"*{wanted}*"))
        return 0, "".join(path.read_text() for path in paths), ""

    # What it does.

    def _daemon_reload(self, name):
        self.loaded = self._files()
        return 0, ""

    def _unmask(self, name):
        path = os.path.join(self.layout.units, name)
        if name.startswith(self.layout.name) and self._file_state(name) == "masked":
            os.unlink(path)
        return 0, ""

    def _reset_failed(self, name):
        known = self.state(name)
        if known.active == "failed":
            known.active = known.sub = "inactive"
        return 0, ""

    def _start(self, name):
        if self.state(name).active == "active":
            return 0, ""
        self._down(name)
        if background.of_unit(self.layout, name):
            return self._work(name)
        for line in self.loaded.get(self._file(name), "").splitlines():
            wanted = line.removeprefix("Wants=").replace("%i", systemd.instance(self.layout, name) or "")
            if wanted != line and self._file(wanted) in self.loaded:
                self._start(wanted)
        return self._listen(name) if name.endswith(".socket") else self._serve(name)

    def _restart(self, name):
        self._stop(name)
        return self._start(name)

    def _stop(self, name):
        instance = systemd.instance(self.layout, name)
        for other in list(self.states) if instance else ():
            named = background.of_unit(self.layout, other)
            if named and named[1] == instance and "PartOf=" in self.loaded.get(self._file(other), ""):
                self._down(other)
        return self._down(name)

    def _down(self, name):
        known = self.state(name)
        if name in self.sockets:
            self.sockets.pop(name).close()
            path = self.layout.address_of(name).path
            if path and os.path.lexists(path):  # RemoveOnStop=
                os.unlink(path)
        if known.process:
            self._end(known.process)
        runtime = self._runtime(name)
        if runtime and os.path.isdir(runtime):
            for entry in os.listdir(runtime):
                os.unlink(os.path.join(runtime, entry))
            os.rmdir(runtime)
        if known.active != "failed":
            known.active, known.sub = "inactive", "dead"
        known.process = None
        return 0, ""

    @staticmethod
    def _end(process):
        process.terminate()
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _runtime(self, name):
        for role in (LIVE, CANDIDATE, STANDIN):
            instance = systemd.instance(self.layout, name, role)
            if instance:
                return self.layout.runtime(instance, role)
        process = background.of_unit(self.layout, name)
        return process and self.layout.runtime(process[1], f"-{process[0]}")

    def _listen(self, name):
        if self.layout.unit_file(name) not in self.loaded:
            return 5, f"Unit {name} not found."
        address = self.layout.address_of(name)
        opened = socket.socket(socket.AF_UNIX if address.path else socket.AF_INET)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.path and os.path.lexists(address.path):  # as systemd does
            os.unlink(address.path)
        try:
            opened.bind(address.path or (address.host, address.port))
        except OSError as error:
            opened.close()
            self.state(name).active = "failed"
            return 1, f"Failed to listen: {error}"
        opened.listen()
        self.sockets[name] = opened
        known = self.state(name)
        known.active, known.sub = "active", "running"
        return 0, ""

    def _serve(self, name):
        layout, known = self.layout, self.state(name)
        candidate = systemd.instance(layout, name, CANDIDATE)
        instance = candidate or systemd.instance(layout, name) or systemd.instance(layout, name, STANDIN)
        if layout.unit_file(name) not in self.loaded or self._file_state(name) == "masked":
            return 1, f"Unit {name} is masked or not found."
        known.invocation, known.result = uuid.uuid4().hex, "success"
        os.makedirs(self._runtime(name), exist_ok=True)
        environment = layout.candidate_environment(instance) if candidate else layout.environment(instance)
        directory = layout.release(instance)
        if not (os.path.isdir(directory) and os.path.isfile(environment)):
            known.active, known.sub, known.result = "failed", "failed", "resources"
            return 1, "Job failed."
        read = self.loaded[layout.unit_file(name)]
        if systemd.instance(layout, name):
            read += self.loaded.get(layout.handed, "")
        wanted = [line.removeprefix("Sockets=") for line in read.splitlines() if line.startswith("Sockets=")]
        numbers = [self.sockets[unit].fileno() for unit in wanted if unit in self.sockets]
        python = os.path.join(os.path.realpath(os.path.join(directory, ".venv")), "bin/python")
        more = [layout.candidate_socket(instance)] if candidate else []
        with open(self.logs / f"{name}.{known.invocation}", "w") as log:
            known.process = subprocess.Popen(
                [python, "-I", "-S", str(SERVER), self._runtime(name), *more],
                cwd=directory,
                env={"SOCKETS": " ".join(map(str, numbers))},
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        known.active, known.sub = "active", "running"
        return 0, ""

    def _work(self, name):
        """Start a background process: a program in its directory."""
        known, (_, release) = self.state(name), background.of_unit(self.layout, name)
        unit = self.loaded.get(self._file(name))
        if not unit or self._file_state(name) == "masked":
            return 1, f"Unit {name} is masked or not found."
        known.invocation, known.result = uuid.uuid4().hex, "success"
        os.makedirs(self._runtime(name), exist_ok=True)
        line = next(line for line in unit.splitlines() if line.startswith("ExecStart=/usr/bin/env -- "))
        words = shlex.split(line.removeprefix("ExecStart=/usr/bin/env -- ").replace("%%", "%").replace("$$", "$"))
        with open(self.logs / f"{name}.{known.invocation}", "w") as log:
            known.process = subprocess.Popen(
                words, cwd=self.layout.release(release), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        known.active, known.sub = "active", "running"
        return 0, ""

    def close(self):
        """End everything."""
        for known in self.states.values():
            if known.process:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(known.process.pid, signal.SIGKILL)
                known.process.wait()
        for opened in self.sockets.values():
            opened.close()
