#!/usr/bin/env python3
"""The same deploys on the same server by several tools, in turn, round after round: what each takes, uses and loses.

    bench/compare.py --rounds 9 --rows "version change"

Needs root, and boots machines of its own (GLOBOAPP_LAB=bench): a master and web1. In each round each tool gets the
server bare, and takes it through all rows; what differs from round to round is who comes first. The first round is not
counted. After each round bench/results.json and bench/RESULTS.md are written anew.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import ground  # first: it finds the others

# isort: split
import debs
import deployers
import measure
import plan
import report
import results
import sshd
from fleetlib import fleet as fleets
from fleetlib import naming
from load import Load
from machines import Fleet
from polling import until
from say import say
from server import Server

# Packages of Debian that modules of Ansible want on the server.
MODULES = ("python3-packaging", "unzip")
# Two clients that ask 40 times a second: what is longer than 25 ms without an answer is seen.
CLIENTS, RATE = 2, 40


class Failed(Exception):
    """A tool has not done what it was told."""


class Bench:
    """The machines, and what is measured on them."""

    def __init__(self, fleet, directory, ours):
        self.fleet, self.directory, self.ours = fleet, directory, ours
        self.server = Server(fleet, "web1")
        known = fleets.Fleet(naming.Lab(ground.CHECKOUT, fleet.lab))
        self.master, self.web = known.machine("master"), known.machine("web1")
        self.window = (0, 0)  # when the last measured command began and ended
        names = ("key", "inventory", "known_hosts")
        self.ssh = SimpleNamespace(**{name: directory / name for name in names})

    def prepare(self):
        """Puts on the machines what the tools need beside themselves."""
        self.fleet.heal(False)
        self.server.wipe()
        sshd.install(self.server, self.directory, *MODULES)
        debs.take_away(self.server)
        self.ssh.inventory.write_text(
            f"[web]\n{self.server.address} ansible_user=root ansible_ssh_common_args="
            f"'-o UserKnownHostsFile={self.ssh.known_hosts}'\n"
        )
        self._fill()
        env = {"file_roots": {"bench": [f"/srv/globoapp/bench/rivals{part}" for part in ("/salt", "")]}}
        env["file_roots"]["bench"].append("/srv/globoapp/dist")
        script = f"echo '{json.dumps(env)}' > {deployers.SALT_ENV}; systemctl restart salt-master"
        self.fleet.exec("master", "sh", "-c", script, check=True)
        until(lambda: self.fleet.awake("web1"), 120)

    def _fill(self):
        """The wheels and artifacts that the script on the server and pip install from."""
        names = [f"dist/globoapp-{version}.zip" for version in (plan.OLD, plan.NEW, plan.OTHER_LOCK)]
        names += ["dist/wheels", *(f"bench/rivals/{name}" for name in ("deploy.sh", "comments.service"))]
        names += ["bench/rivals/gunicorn.conf.py"]
        self.server.sh(f"rm -rf {deployers.HERE}; mkdir -p {deployers.HERE}")
        tar = ["tar", "-C", str(ground.CHECKOUT), "--transform=s,^dist/,,;s,^bench/rivals/,,", "-c", *names]
        with subprocess.Popen(tar, stdout=subprocess.PIPE) as made:
            unpack = self.web.enter(["tar", "-C", deployers.HERE, "-x", "--no-same-owner"])
            subprocess.run(unpack, stdin=made.stdout, check=True)
        # uv by itself, out of the wheel that globoapp takes it from.
        self.server.sh(
            f"cd {deployers.HERE} && python3 -m zipfile -e wheels/uv-*.whl uv.wheel && "
            "install uv.wheel/uv-*.data/scripts/uv uv && rm -r uv.wheel"
        )

    def clean(self):
        """Takes that away again."""
        self.server.sh(f"{sshd.PURGE}\ndpkg --purge {' '.join(MODULES)}; rm -rf {deployers.HERE}", check=False)
        self.fleet.exec("master", "sh", "-c", f"rm -f {deployers.SALT_ENV}; systemctl restart salt-master")

    def measured(self, tool, argv, directory, port, loaded):
        """Runs one command of a tool; returns its figures.

        Args:
            tool: the Deployer.
            argv, directory: the command, and where it runs.
            port: the ports (list) that clients ask meanwhile.
            loaded: whether there are clients.
        """
        master, web = measure.of_machine(self.master), measure.of_machine(self.web)
        urls = [self.server.url(each) for each in port]
        load = Load(*urls, rate=RATE, connections=CLIENTS) if loaded else contextlib.nullcontext()
        with load:
            before = [each.cpu() for each in (master, web, self.ours)]
            begin = time.monotonic()
            done = self.ours.run(argv, cwd=directory)
            end = time.monotonic()
            self.window = (begin, end)
            used = [each.cpu() - was for each, was in zip((master, web, self.ours), before, strict=True)]
            if loaded:
                time.sleep(0.3)  # the answers after it, for the longest time without one
        if done.returncode:
            say(f"{argv}\n{done.stdout[-6000:]}{done.stderr[-3000:]}")
            raise Failed(f"{tool.name} ended with exit code {done.returncode}")
        own, states = used[2], plan.durations(done.stdout)
        figures = {"wall": end - begin, "server": used[1], "control": used[0] + own}
        if tool.counts_as_server:
            figures.update(server=used[1] + own, control=0)
        if loaded:
            figures |= {"lost": load.seen["failed"], "requests": load.seen["requests"]}
            figures["silence"] = plan.silence(load.seen["samples"], begin, end)
        figures = {key: round(value, 4) for key, value in figures.items()}
        return figures | ({"states": states} if states else {})

    def lives(self, tool, wanted):
        """Has one tool take the bare server through its rows.

        Returns ({row: figures} of the wanted ones (set), {name of an empty run: figures (list)} before some of
        globoapp's).
        """
        seen, empty, port = {}, {name: [] for name in deployers.EMPTY}, plan.PORT
        tool.begin()
        try:
            for row, how, version, new_port in plan.life(wanted):
                argv, directory = getattr(tool, how)(version, new_port)
                ports = list(dict.fromkeys((port, new_port)))
                if row in wanted and row in plan.BESIDE_EMPTY and tool.name == report.US:
                    for name, deployer in deployers.EMPTY.items():
                        run = deployer(self)
                        empty[name].append(self.measured(run, *run.command(), [port], True))
                figures = self.measured(tool, argv, directory, ports, row in wanted and row != "first deploy")
                port = new_port
                self.server.assert_answers(version, port)
                if row in wanted:
                    seen[row] = figures
                    lost = f", {figures['lost']} of {figures['requests']} lost" if "lost" in figures else ""
                    say(f"{tool.name}: {row} {figures['wall']:.2f} s{lost}")
        finally:
            tool.remove()
        return seen, empty


def virtualenv():
    """Makes the virtualenv of the rivals that are Python programs; returns their versions {name: str}."""
    wanted = ground.CHECKOUT / "bench/rivals/requirements.txt"
    if not (deployers.VENV / "complete").exists() or (deployers.VENV / "complete").read_text() != wanted.read_text():
        say("making .venv-bench")
        subprocess.run([sys.executable, "-m", "venv", "--clear", deployers.VENV], check=True)
        pip = [deployers.VENV / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", wanted], check=True)
        (deployers.VENV / "complete").write_text(wanted.read_text())
    code = "import importlib.metadata as m; print(m.version('ansible-core'), m.version('pyinfra'))"
    said = subprocess.run([deployers.VENV / "bin/python", "-c", code], capture_output=True, text=True, check=True)
    return dict(zip(("Ansible", "pyinfra"), said.stdout.split(), strict=True))


@contextlib.contextmanager
def booted(keep):
    """A Bench for as long as the block runs, on machines that are taken down afterwards unless they are to be kept."""
    fleet = Fleet(os.environ.get("GLOBOAPP_LAB", "bench"))
    fleet.run("up", "--web", "1", capture_output=False)
    try:
        with tempfile.TemporaryDirectory() as directory, measure.of_our_own() as ours:
            yield Bench(fleet, Path(directory), ours)
    finally:
        if not keep:
            fleet.run("down")


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="counted ones, after one that is not (default 9)")
    names = [row for row, *_ in plan.ROWS]
    parser.add_argument("--rows", nargs="+", choices=names, default=names)
    tools = list(deployers.ALL)
    parser.add_argument("--tools", nargs="+", choices=tools, default=tools)
    parser.add_argument("--keep", action="store_true", help="leave the machines up, for the next run")
    parser.add_argument("--no-warm-up", action="store_true", help="count from the first round on, to try things out")
    parser.add_argument("--dry", action="store_true", help="print figures, write no file")
    options = parser.parse_args()
    part = {"when": time.strftime("%Y-%m-%d"), "versions": virtualenv(), "processors": os.cpu_count(), "load": []}
    seen = {name: {row: [] for row in options.rows} for name in options.tools}
    with booted(options.keep) as bench:
        part |= {"salt": bench.fleet.salt("--version").stdout.split()[1], "seen": seen, "failed": []}
        part |= {name: [] for name in deployers.EMPTY}
        try:
            bench.prepare()
            rounds(bench, options, part)
        finally:
            bench.clean()
    return 0


def rounds(bench, options, part):
    """All rounds; part (dict) is filled, and written after each."""
    for number in range(1 if options.no_warm_up else 0, options.rounds + 1):
        begun = time.monotonic()
        for name in plan.turns(options.tools, number):
            try:
                seen, empty = bench.lives(deployers.ALL[name](bench), set(options.rows))
            except (Failed, AssertionError) as error:
                say(f"{name} failed, and its round is not counted: {error}")
                part["failed"].append(f"{name}, round {number}: {error}"[:300])
                continue
            if number:
                for what, figures in empty.items():
                    part[what] += figures
                for row, figures in seen.items():
                    part["seen"][name][row].append(figures)
        part["load"].append(round(os.getloadavg()[0], 2))
        took = time.monotonic() - begun
        say(f"round {number} of {options.rounds}: {took:.0f} s")
        if number and not options.dry:
            results.store("compare", part)


if __name__ == "__main__":
    sys.exit(main())
