"""
A server for tests: its files are below a test's directory, its releases are real processes that share real sockets,
and its systemd is that of :mod:`fakesystemd`.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import socket
import sys
import time
import zipfile
from dataclasses import dataclass, field

import psutil
from fakesystemd import Systemd
from globolib import (
    accounts,
    checks,
    commands,
    drain,
    ledger,
    preflight,
    processes,
    release,
    run,
    settings,
    steps,
    systemd,
    waiting,
)
from globolib.errors import Failure
from globolib.host import Owner
from globolib.layout import CANDIDATE, STANDIN, Layout, release_of
from globolib.minion import Minion
from ports import free_port

PYTHON = os.path.realpath(sys.executable)
UV = f"""\
#!/bin/sh
case $1 in venv)
    for path; do :; done
    mkdir -p "$path/bin" && ln -s {PYTHON} "$path/bin/python"
esac
"""


@dataclass
class Deploy:
    """How a deploy ended: what each state said, why it failed, and its ledger line."""

    run: run.Run
    said: dict = field(default_factory=dict)
    failure: str | None = None
    line: dict | None = None
    warnings: list = field(default_factory=list)


STATES = ("ready", "virtualenv", "release", "release_command", "tried", "configured", "serving", "healthy")


class Machine:
    """
    pillar
        The minion's, without what a call brings.
    events
        What was sent to the master: (tag, data).
    """

    def __init__(self, tmp_path, run_directory, monkeypatch):
        self.monkeypatch = monkeypatch
        for name in ("units", "logs", "dist", "bin", "cache"):
            (tmp_path / name).mkdir()
        self.root, self.dist = tmp_path / "srv" / "app", tmp_path / "dist"
        # Short: the path of a unix socket has at most 107 bytes.
        monkeypatch.setattr(
            settings, "Layout", lambda name, root: Layout(name, root, str(tmp_path / "units"), str(run_directory))
        )
        self.layout = settings.Layout("globoapp", str(self.root))
        self.systemd = Systemd(self.layout, tmp_path / "logs")
        (tmp_path / "bin/uv").write_text(UV)
        (tmp_path / "bin/uv").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setattr(commands, "run", self.systemd.run)
        monkeypatch.setattr(systemd, "BOOTED", str(tmp_path))
        self.has_account("globoapp")
        monkeypatch.setattr(release, "OWNER", (os.getuid(), os.getgid()))
        monkeypatch.setattr(preflight, "HIDDEN", {})  # tests have their directory below /tmp
        monkeypatch.setattr(drain, "QUIET", 0.01)
        monkeypatch.setattr(os, "fsync", lambda fd: None)  # nothing here is about power cuts
        monkeypatch.setitem(checks.SECONDS, "deadline", (0, 600))
        monkeypatch.setattr(waiting, "until", _often(waiting.until))
        monkeypatch.setattr(processes, "with_owners", self._with_owners(processes.with_owners))
        # Of a busy machine's processes these alone are looked at: else most of the time would go there.
        monkeypatch.setattr(processes, "TABLES", processes.TABLES[:1])
        monkeypatch.setattr(processes, "_pids", lambda: sorted(self._parents()))
        monkeypatch.setattr(psutil, "_ppid_map", self._parents, raising=False)
        self.port = free_port()
        self.pillar = {
            "globoapp": {
                "root": str(self.root), "bind": "127.0.0.1", "python": PYTHON, "reserve": 0, "prove": 0, "soak": 0,
                "deadline": 10, "lock_wait": 0, "source": f"file://{self.dist}/globoapp-{{version}}.zip",
                "wheels": f"file://{self.dist}", "port": self.port,
            },
            "beacons": {"globoapp": [{"interval": 1}]},
        }  # fmt: skip
        self.opts = {"id": "web1", "cachedir": str(tmp_path / "cache"), "jid": "20260101000000000000"}
        self.events = []
        self.functions = {
            "event.send": lambda tag, data: self.events.append((tag, data)),
            "state.running": lambda: [],
            "state.apply": self._apply,
        }

    def has_account(self, name):
        """What runs here runs with this account."""
        self.monkeypatch.setattr(accounts, "runs_as", lambda settings, pid: name)

    @staticmethod
    def _with_owners(real):
        """What this process holds systemd holds."""

        def with_owners(listening):
            return tuple(
                type(one)(
                    one.address, one.port, one.inode, one.waiting,
                    tuple(Owner(1, "systemd") if owner.pid == os.getpid() else owner for owner in one.owners),
                )
                for one in real(listening)
            )  # fmt: skip

        return with_owners

    def _parents(self):
        """The parent of this process, of each main process and of each worker."""
        found = {os.getpid(): os.getppid()}
        for known in list(self.systemd.states.values()):
            if known.process:
                found[known.process.pid] = os.getpid()
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    children = pathlib.Path(f"/proc/{known.process.pid}/task/{known.process.pid}/children").read_text()
                    found.update((int(child), known.process.pid) for child in children.split())
        return found

    def publish(self, version, api=None, lock="# nothing\n", **manifest):
        """Put an artifact where the settings look for it. ``api`` is its api.py."""
        api = api or f'def answer():\n    return 200, \'{{"version": "{version}"}}\'\n'
        data = {
            "name": self.layout.name, "version": version, "wsgi": "api:app",
            "health": {"path": "/status/", "status": 200, "json": {"version": version}}, **manifest,
        }  # fmt: skip
        path = self.dist / f"{self.layout.name}-{version}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, held in {"api.py": api, "manifest.json": json.dumps(data), "requirements.lock": lock}.items():
                archive.writestr(name, held)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")

    def has(self, *versions):
        """Have releases on the host that were deployed once, without starting them."""
        for version in versions:
            self.publish(version)
            here = self.begin(version)
            os.makedirs(self.root, exist_ok=True)
            here.unpack()
            line = {"version": version, "port": self.port, "bind": "127.0.0.1", "result": "success"}
            ledger.append(self.layout.ledger, {**line, "action": "deploy"})

    def minion(self, pillar=None, test=False, function="state.apply", arguments=None):
        """The minion in a job, as the app of this machine sees it; ``pillar`` came with the call."""
        return self.site(pillar, test, function, arguments).for_app(self.layout.name)

    def site(self, pillar=None, test=False, function="state.apply", arguments=None):
        """The minion in a job, with all its apps."""
        pillar = pillar or {}
        words = ["globoapp", {"__kwarg__": True, "pillar": pillar, **(arguments or {})}]
        merged = {**self.pillar, **pillar}
        merged["globoapp"] = {**self.pillar["globoapp"], **(pillar.get("globoapp") or {})}
        opts = {**self.opts, "test": test, "fun": function, "arg": words}
        return Minion(self.functions, opts, merged, json.loads)

    def inner(self, pillar):
        """The minion in states that a function applies: what was called is the function, without a pillar."""
        called = self.site(function="globoapp.rollback")
        inner = dataclasses.replace(called, pillar={**called.pillar, **pillar})
        (name,), _ = inner.chosen
        return inner.for_app(name)

    def begin(self, version=None, **pillar):
        """A run whose first state was not reached yet."""
        return run.Run(self.minion({**pillar, **({"version": version} if version else {})}))

    def deploy(self, version=None, test=False, without=(), here=None, **pillar):
        """Apply the states of a deploy, in their order and with their requisites."""
        here = here or run.Run(self.minion({**pillar, **({"version": version} if version else {})}, test))
        deploy, running = Deploy(here), {}
        without = [*without, *([] if here.release_command else ["release_command"])]
        names = list(STATES)
        if here.settings.front:
            names[names.index("tried") : names.index("tried")] = ["proxy_checked"]
            names.append("proxied")
        for number, name in enumerate(names):
            answer = {"__sls__": "globoapp", "__id__": name, "__run_num__": number, "result": True}
            if deploy.failure:
                continue
            try:
                outcome = (
                    getattr(steps, name)(here, name, *([True] if name == "ready" else []))
                    if name not in without
                    else steps.Outcome("")
                )
                deploy.said[name] = outcome.comment
                deploy.warnings += outcome.warnings
                answer["changes"] = outcome.changes
            except (Failure, OSError) as failure:
                deploy.failure = deploy.said[name] = str(failure)
                answer.update(result=False, comment=str(failure))
            running[name] = answer
        before = len(ledger.read(self.layout.ledger))
        try:
            deploy.said["recorded"] = steps.recorded(here, "recorded", running).comment
            entries = ledger.read(self.layout.ledger)
            deploy.line = dict(entries[-1].data) if len(entries) > before else None
            if not deploy.failure:
                deploy.said["pruned"] = steps.pruned(here, "pruned").comment
        finally:
            here.unlock()
        return deploy

    def _apply(self, sls, pillar, queue):
        """As state.apply inside another function."""
        assert (sls, queue) == ("globoapp", False)
        done = self.deploy(here=run.Run(self.inner(pillar)))
        return {
            name: {"__id__": name, "result": said != done.failure, "comment": said, "changes": {}}
            for name, said in done.said.items()
        }

    # What is there now.

    def answers(self, port=None):
        """What a client gets: the body, or None where nothing answers within a moment."""
        try:
            with socket.create_connection(("127.0.0.1", port or self.port), 1) as client:
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return client.makefile("rb").read().decode().partition("\r\n\r\n")[2]
        except OSError:
            return None

    def running(self):
        """The releases that run, candidates in brackets, stand-ins in square ones."""
        up = []
        for name in sorted(self.systemd.states):
            if self.systemd.pid(name):
                candidate = systemd.instance(self.layout, name, CANDIDATE)
                standin = systemd.instance(self.layout, name, STANDIN)
                mark = f"({candidate})" if candidate else standin and f"[{standin}]"
                up.append(mark or systemd.instance(self.layout, name))
        return up

    def deployed(self):
        """The version that the ledger says is deployed."""
        entry = ledger.deployed(ledger.read(self.layout.ledger))
        return entry and entry.version

    def live_files(self):
        """The text of every file that what serves reads, by path: units, gunicorn's settings, environments, links."""
        found = {}
        for directory in (self.layout.units, self.layout.own):
            for parent, _, names in os.walk(directory):
                for name in names:
                    path = os.path.join(parent, name)
                    tried = ("-candidate@.service.d", "-command@.service.d")
                    ours = not parent.endswith(tried) and "-candidate@" not in name
                    if ours and (
                        directory == self.layout.units or path.endswith((".env", "gunicorn.conf.py", "gunicorn.json"))
                    ):
                        found[path] = os.readlink(path) if os.path.islink(path) else pathlib.Path(path).read_text()
        return {path: held for path, held in found.items() if not path.startswith(self.layout.candidate)}

    def edit(self, version, name="api.py", added="\n# by hand\n"):
        """Change a file of a release by hand."""
        with open(os.path.join(self.layout.release(release_of(version)), name), "a") as handle:
            handle.write(added)

    def close(self):
        """End everything."""
        self.systemd.close()


def _often(real):
    """The same loop with shorter pauses, 10 ms at first: most of what it waits for is quick here."""

    def until(check, seconds, **more):
        return real(check, seconds, **{**more, "first": 0.01, "factor": 1.3, "most": 0.1})

    return until


def wait(check, seconds=5):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not (seen := check()) and time.monotonic() < end:
        time.sleep(0.01)
    return seen
