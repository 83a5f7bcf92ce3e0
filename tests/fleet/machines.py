"""A lab by its command line, for tests."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

CHECKOUT = pathlib.Path(__file__).parents[2]
LAB = [sys.executable, "lab/fleet"]

# Runs on the master, asks minions as `salt` does and needs no second to begin as `salt` does: a question a line.
ASK = """
import json, sys, salt.client, salt.config, salt.exceptions
options = salt.config.client_config("/etc/salt/master")
out, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    try:
        with salt.client.LocalClient(mopts=options) as client:
            answer = client.cmd(**json.loads(line))
    except (salt.exceptions.SaltClientError, salt.exceptions.SaltReqTimeoutError):
        answer = {}  # there is no master
    print(json.dumps(answer), file=out, flush=True)
"""


class Fleet:
    """One lab by its command line. `lab` is its name, as in GLOBOAPP_LAB."""

    def __init__(self, lab):
        self.lab = lab
        self.env = {**os.environ, "GLOBOAPP_LAB": lab}
        self.asking = threading.local()  # a process for each thread

    def run(self, *argv, check=True, **kwargs):
        """Runs lab/fleet and returns its CompletedProcess, output as text; fails the test when it fails."""
        kwargs = {"capture_output": True, "text": True, "timeout": 900, "env": self.env, "cwd": CHECKOUT, **kwargs}
        done = subprocess.run([*LAB, *map(str, argv)], **kwargs)
        if check and done.returncode:
            pytest.fail(f"lab/fleet {' '.join(argv)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, *argv, **kwargs):
        """Starts lab/fleet and returns the Popen."""
        return subprocess.Popen([*LAB, *map(str, argv)], env=self.env, cwd=CHECKOUT, **kwargs)

    def salt(self, *args, check=False, **kwargs):
        """Runs salt on the master and returns its CompletedProcess, whatever the exit code."""
        return self.run("salt", *args, check=check, **kwargs)

    def runner(self, *words):
        """Runs a runner on the master and returns its data."""
        return json.loads(self.run("salt-run", "--out=json", "--log-level=quiet", *words).stdout)

    def ask(self, target, function, *args, **patience):
        """Has the master ask minions as `salt` does, and returns what they returned: {minion: data}."""
        question, answer = json.dumps({"tgt": target, "fun": function, "arg": args, **patience}), ""
        for _ in range(2):  # the process may have gone with its machine
            if not hasattr(self.asking, "process"):
                command = ["exec", "master", "--", "/opt/salt/bin/python", "-c", ASK]
                self.asking.process = self.start(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            with contextlib.suppress(BrokenPipeError):
                print(question, file=self.asking.process.stdin, flush=True)
                answer = self.asking.process.stdout.readline()
            if answer:
                return json.loads(answer)
            del self.asking.process
        return pytest.fail(f"salt {target} {function}: no answer")

    def awake(self, *hosts):
        """Returns whether the minions of hosts answer within seconds."""
        answers = self.ask(",".join(hosts), "test.ping", tgt_type="list", timeout=3, gather_job_timeout=3)
        return answers == dict.fromkeys(hosts, True)

    def heal(self, wanted, site=""):
        """Has monitoring look after the servers, or leave them to the test; site (str) is more pillar of the site."""
        off = "beacons: {enabled: false}\nschedule:\n"
        off += "".join(f"  {name}: {{enabled: false}}\n" for name in ("globoapp-highstate", "globoapp-sync"))
        script = "mkdir -p /srv/pillar && cat > /srv/pillar/site.sls"
        self.exec("master", "sh", "-c", script, input=site + ("" if wanted else off) or "{}\n", check=True)
        self.ask("web*", "saltutil.refresh_pillar", "wait=True")

    def exec(self, host, *cmd, check=False, **kwargs):
        """Runs a command on a host and returns its CompletedProcess, whatever the exit code."""
        return self.run("exec", host, "--", *cmd, check=check, **kwargs)

    def cut(self, host):
        """Takes the power from a host."""
        self.run("cut", host)

    def boot(self, host):
        """Boots a host from the disk that it has, and returns when its minion answers (if the master is up)."""
        self.run("boot", host)

    def status(self):
        """Returns what `lab/fleet status --json` says."""
        return json.loads(self.run("status", "--json", check=False).stdout)

    def booted(self, host):
        """Returns when a host booted (str), in a clock that only tells boots apart; "" while it is off."""
        return self._told(host, "booted")

    def address(self, host):
        """Returns the address of a host."""
        return self._told(host, "address")

    def _told(self, host, key):
        return next(each[key] for each in self.status()["hosts"] if each["name"] == host)
