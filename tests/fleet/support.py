"""What the tests of a deploy share: deploys with their outcome, clients that hammer, releases made to fail."""

import contextlib
import json
import select
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field

import pytest
from machines import CHECKOUT
from polling import until

sys.path.insert(0, str(CHECKOUT / "tools"))
import artifact  # noqa: E402

ROOT = "/opt/globoHUB/desafio"
QUICK = {"prove": 0.5, "soak": 0, "deadline": 10}

# All that the tree puts on a server, so that a test begins with a server that has seen nothing.
WIPE = f"""
systemctl stop 'globoapp*.socket' 'globoapp*.service' 2>/dev/null
systemctl reset-failed 2>/dev/null
mountpoint -q {ROOT} && umount -l {ROOT}
rm -rf {ROOT} /etc/systemd/system/globoapp* /etc/systemd/system/multi-user.target.wants/globoapp@* /var/lib/globoapp
systemctl daemon-reload
"""


@dataclass
class Outcome:
    """What a `salt HOST state.apply globoapp` gave: exit code, states by ID, and all comments as one text."""

    code: int
    states: dict = field(repr=False)
    text: str

    @property
    def failed(self):
        """Returns the comments of the states that failed by themselves (str)."""
        return "\n".join(
            str(one["comment"])
            for one in self.states.values()
            if one["result"] is False and "requisite failed" not in str(one["comment"])
        )

    @property
    def changed(self):
        """Returns the IDs of the states that changed something."""
        return [one["__id__"] for one in self.states.values() if one["changes"]]


class Web:
    """One web server of a fleet."""

    def __init__(self, fleet, name):
        self.fleet, self.name = fleet, name
        self.address = fleet.address(name)

    def url(self, port=8000):
        """Returns where the service is, from this side."""
        return f"http://{self.address}:{port}"

    def command(self, version=None, port=None, test=False, **settings):
        """Returns the words of `lab/fleet` that deploy; without a version that is what a highstate would do."""
        pillar = {"globoapp": {**QUICK, **settings}}
        pillar |= {"version": version} if version else {}
        pillar |= {"port": port} if port else {}
        words = ["salt", "--out=json", self.name, "state.apply", "globoapp", f"pillar={json.dumps(pillar)}"]
        return words + (["test=True"] if test else [])

    def apply(self, version=None, **settings):
        """Deploys, and returns the Outcome."""
        return self.outcome(self.fleet.run(*self.command(version, **settings), check=False))

    def outcome(self, done):
        """Returns the Outcome of a finished `command`."""
        data = json.loads(done.stdout)[self.name] if done.stdout.strip() else {}
        if not isinstance(data, dict):
            return Outcome(done.returncode, {}, str(data))
        return Outcome(done.returncode, data, "\n".join(str(one["comment"]) for one in data.values()))

    def deploy(self, version, **settings):
        """Deploys and fails the test when that fails; returns the Outcome."""
        outcome = self.apply(version, **settings)
        assert outcome.code == 0, outcome.failed or outcome.text
        return outcome

    def call(self, function, *args):
        """Runs a function by salt and returns its data, None when there was no answer; the exit code is left aside."""
        return self.fleet.ask(self.name, function, *args).get(self.name)

    def sh(self, script, check=True):
        """Runs a shell script on the server and returns its output."""
        return self.fleet.exec(self.name, "sh", "-c", script, check=check).stdout.strip()

    def answers(self, port=8000):
        """Returns whether the API answers as it does for a content that nobody commented."""
        try:
            with urllib.request.urlopen(f"{self.url(port)}/api/comment/list/none", timeout=5) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            return error.code == 404 and json.load(error)["status"] == "NOT-FOUND"
        except OSError:
            return False

    def ledger(self):
        """Returns the lines of the server's ledger, oldest first."""
        return [json.loads(line) for line in self.sh(f"cat {ROOT}/deployments.jsonl", check=False).splitlines()]

    def wipe(self):
        """Makes the server one that has seen no deploy."""
        self.sh(WIPE)
        # By the minion itself: one that goes on believing in a grain which is gone from its file does not set it again.
        if self.call("grains.get", "globoapp"):
            self.call("grains.delkey", "globoapp", "force=True")
            until(lambda: not self.call("grains.get", "globoapp"))

    def assert_serves(self, version):
        """Fails the test unless `version` is what stands, serves and is recorded, and nothing is left about."""
        status = self.call("globoapp.status")
        assert (status["version"], status["differences"]) == (version, []), status
        release = "PACK" + version.replace(".", "_")
        assert status["current"] == release
        assert status["running"] == status["at_boot"] == [release]
        left = self.left()
        assert left == [], left

    def left(self):
        """Returns what a deploy leaves while it is under way, and must not leave for ever: a list of names."""
        return self.sh(
            f"""cd {ROOT} && find . -xdev \\( -name '.incoming-*' -o -name '.trash-*' -o -name '*.part' \
                -o -name '.write-*' -o -name deploying.json -o -path './virtualenvs/*.lock' \\) \
                -not -path './virtualenvs/*/*'
            for v in virtualenvs/[0-9a-f]*; do [ -d "$v" ] && [ ! -e "$v/.complete" ] && echo "$v is not complete"; done
            for r in PACK*; do [ -e .globoapp/releases/$r.json ] || echo "$r has no record"; done
            find /etc/systemd/system -name '.globoapp*' -o -name '.write-*'
            systemctl list-units --plain --no-legend 'globoapp-candidate@*'
            true"""
        ).splitlines()


class Load:
    """Clients that hammer a server while a `with` block runs; afterwards `seen` is bench/load.py's report."""

    def __init__(self, *urls, rate=100, connections=32):
        self.command = [sys.executable, str(CHECKOUT / "bench/load.py"), *urls, "--announce"]
        self.command += [f"--rate={rate}", f"--connections={connections}", "--samples"]
        self.urls, self.seen = urls, None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        if not select.select([self.process.stdout], [], [], 60)[0]:
            self.process.kill()
            self.process.communicate()
            pytest.fail(f"nothing answers at {' or '.join(self.urls)}")
        assert self.process.stdout.readline() == "started\n"
        return self

    def __exit__(self, kind, error, trace):
        self.process.send_signal(signal.SIGTERM)
        self.seen = json.loads(self.process.communicate(timeout=60)[0])

    def assert_nothing_lost(self):
        """Fails the test when a request was lost, or when there were none."""
        assert self.seen["requests"] > 0
        assert self.seen["failed"] == 0, self.seen["kinds"]


@contextlib.contextmanager
def release(tmp_path, version, base="1.0", before="", after="", health=None, **manifest):
    """
    An artifact in dist/ for as long as the block runs: app/<base> under another version.

    Args:
        before, after: Python (str) put at the beginning and at the end of its api.py.
        health: other keys for the manifest's health.
        manifest: other keys for the manifest.
    """
    source = tmp_path / version
    shutil.copytree(CHECKOUT / "app" / base, source)
    api = source / "api.py"
    api.write_text(before + api.read_text() + after)
    described = json.loads((source / "manifest.json").read_text())
    described |= {"version": version, **manifest}
    described["health"] |= health or {}
    (source / "manifest.json").write_text(json.dumps(described))
    made, _ = artifact.make(source, CHECKOUT / "dist", {})
    try:
        yield made
    finally:
        made.unlink()
        made.with_name(made.name + ".sha256").unlink()


__all__ = ["CHECKOUT", "Load", "Outcome", "QUICK", "ROOT", "Web", "release"]
