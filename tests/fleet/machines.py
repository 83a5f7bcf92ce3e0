"""A lab for tests: by its command line, but for commands in its machines, which need no Python to begin there."""

import contextlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
import threading

import pytest
from fleetlib import fleet as fleets
from fleetlib import machine, naming, steps

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

# Runs on the master: a command line of `salt` or `salt-run` a line. Each is run by its program in a process of its own,
# which finds Python begun and Salt imported: most of what such a command takes.
RUN = """
import json, os, sys, tempfile, salt.cli.run, salt.cli.salt, salt.runner, salt.scripts
programs = {"salt": salt.scripts.salt_main, "salt-run": salt.scripts.salt_run}
for line in sys.stdin:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        if not (child := os.fork()):
            for number, opened in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out.fileno()), (2, err.fileno())):
                os.dup2(opened, number)
            sys.argv = json.loads(line)
            sys.exit(programs[sys.argv[0]]())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for said in (out, err):
            said.seek(0)
        print(json.dumps([code, out.read().decode(errors="replace"), err.read().decode(errors="replace")]), flush=True)
"""


class Fleet:
    """One lab. `lab` is its name, as in GLOBOAPP_LAB."""

    def __init__(self, lab):
        self.lab = lab
        self.env = {**os.environ, "GLOBOAPP_LAB": lab}
        self.begun = threading.local()  # the programs on the master: for each thread their own

    def run(self, *argv, check=True, **kwargs):
        """Runs lab/fleet and returns its CompletedProcess, output as text; fails the test when it fails."""
        return self._run([*LAB, *map(str, argv)], check, env=self.env, cwd=CHECKOUT, **kwargs)

    def _run(self, command, check, **kwargs):
        kwargs = {"capture_output": True, "text": True, "timeout": 900, **kwargs}
        return self._checked(subprocess.run(command, **kwargs), check)

    def _checked(self, done, check=True):
        if check and done.returncode:
            pytest.fail(f"{shlex.join(done.args)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, *argv, **kwargs):
        """Starts lab/fleet and returns the Popen."""
        return subprocess.Popen([*LAB, *map(str, argv)], env=self.env, cwd=CHECKOUT, **kwargs)

    def salt(self, *args, check=False):
        """Runs salt on the master and returns its CompletedProcess, whatever the exit code."""
        return self._checked(self._master("salt", *args), check)

    def runner(self, *words):
        """Runs a runner on the master and returns its data."""
        done = self._master("salt-run", "--out=json", "--log-level=quiet", *words)
        return json.loads(self._checked(done).stdout)

    def _master(self, *words):
        """Runs a command line of `salt` or `salt-run` on the master: the CompletedProcess."""
        words = [*map(str, words)]
        return subprocess.CompletedProcess(words, *json.loads(self._say(RUN, words)))

    def ask(self, target, function, *args, **patience):
        """Has the master ask minions as `salt` does, and returns what they returned: {minion: data}."""
        return json.loads(self._say(ASK, {"tgt": target, "fun": function, "arg": args, **patience}))

    def _say(self, program, question):
        """The line (str) with which a program on the master answers a question; begins the program where need be."""
        begun, line = self.begun.__dict__, ""
        for _ in range(2):  # the process may have gone with its machine
            if program not in begun:
                command = ["exec", "master", "--", "/opt/salt/bin/python", "-c", program]
                begun[program] = self.start(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(question), file=begun[program].stdin, flush=True)
                line = begun[program].stdout.readline()
            if line:
                return line
            del begun[program]
        return pytest.fail(f"no answer from the master: {question}")

    def awake(self, *hosts):
        """Returns whether the minions of hosts answer within seconds."""
        try:
            listening = self._machines().listening(hosts)
        except steps.Failure:  # the master is off
            return False
        if not listening:
            return False  # a ping would wait for seconds
        answers = self.ask(",".join(hosts), "test.ping", tgt_type="list", timeout=3, gather_job_timeout=3)
        return answers == dict.fromkeys(hosts, True)

    def heal(self, wanted, site=""):
        """Has monitoring look after the servers, or leave them to the test; site (str) is more pillar of the site."""
        off = "beacons: {enabled: false}\nschedule:\n"
        off += "".join(f"  {name}: {{enabled: false}}\n" for name in ("globoapp-highstate", "globoapp-sync"))
        script = "mkdir -p /srv/pillar && cat > /srv/pillar/site.sls"
        self.exec("master", "sh", "-c", script, input=site + ("" if wanted else off) or "{}\n", check=True)
        these = self._machines()
        names = [each.name for each in these.machines() if each.name.startswith("web") and each.leader()]
        steps.poll(lambda: these.listening(names), 20)  # Salt's patience with one that is on its way here is longer
        self.ask("web*", "saltutil.refresh_pillar", "wait=True")

    def exec(self, host, *cmd, check=False, **kwargs):
        """Runs a command on a host and returns its CompletedProcess, whatever the exit code.

        As `lab/fleet exec` does: tests do this a thousand times.
        """
        command = [*map(str, cmd)]
        try:
            entered = self._machines().machine(host).enter(command)
        except steps.Failure as off:
            return self._checked(subprocess.CompletedProcess(command, 1, "", str(off)), check)
        return self._run(entered, check, env=machine.environment(), **kwargs)

    def _machines(self):
        return fleets.Fleet(naming.Lab(CHECKOUT, self.lab))

    def cut(self, host):
        """Takes the power from a host."""
        self.run("cut", host)

    def boot(self, host):
        """Boots a host from the disk that it has, and returns when its minion answers (if the master is up)."""
        self.run("boot", host)

    def status(self):
        """Returns what `lab/fleet status --json` says."""
        return self._machines().status()

    def booted(self, host):
        """Returns when a host booted (str), in a clock that only tells boots apart; "" while it is off."""
        return self._machines().machine(host).booted()

    def address(self, host):
        """Returns the address of a host."""
        return self._machines().machine(host).address
