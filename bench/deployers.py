"""The tools that bench/compare.py compares, each with the commands that a person would type."""

import json
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
RIVALS = CHECKOUT / "bench/rivals"
VENV = CHECKOUT / ".venv-bench"
HERE = "/srv/bench"  # on the server: what the shell script and pip install from
SALT_ENV = "/etc/salt/master.d/bench.conf"  # on the master: the plain formula, as an environment of its own


class Deployer:
    """One tool. `name` is how it is called."""

    counts_as_server = False  # whether the command itself runs on the server

    def __init__(self, bench):
        """bench has the machines (`master`, `web`: fleetlib's), `server` (Server), `directory` (Path) of the run."""
        self.bench = bench

    def begin(self):
        """What is done before the tool's turn."""
        self.remove()

    def command(self, version, port):
        """Returns (argv, working directory) that deploys a version (str) at a port (int)."""
        raise NotImplementedError

    def rollback(self, version, port):
        """Returns the same for the way back to a version that was there before."""
        return self.command(version, port)

    def nothing(self, version, port):
        """Returns the same for what is deployed already."""
        return self.command(version, port)

    def remove(self):
        """Makes the server one that has seen no deploy."""
        self.bench.server.sh((RIVALS / "remove.sh").read_text())


class Shell(Deployer):
    """A script on the server itself."""

    name, counts_as_server = "shell", True

    def command(self, version, port):
        wanted = answer(version)
        words = [f"{HERE}/deploy.sh", version, port, wanted["path"], wanted["status"], wanted["text"]]
        return self.bench.web.enter(list(map(str, words))), "/"


class Product(Deployer):
    """This tree, without the seconds in which it only looks (prove and soak)."""

    name, site = "globoapp", "globoapp: {prove: 0, soak: 0}\n"

    def begin(self):
        self.bench.fleet.heal(False, self.site)
        self.remove()

    def command(self, version=None, port=None):
        pillar = json.dumps({key: value for key, value in {"version": version, "port": port}.items() if value})
        return self.salt("state.apply", "globoapp", f"pillar={pillar}")

    def nothing(self, version, port):
        return self.command()

    def rollback(self, version, port):
        return self.salt("globoapp.rollback")

    def salt(self, *words):
        return self.bench.master.enter(["salt", "--out=json", "--timeout=120", self.bench.server.name, *words]), "/"

    def remove(self):
        self.bench.server.wipe()
        self.bench.server.sh("rm -rf /var/cache/salt/minion/files")


class ProductAsItIs(Product):
    """This tree with its defaults: three seconds of trial, five of looking after the switch."""

    name, site = "globoapp, 8 s of checks", ""


class Formula(Product):
    """A formula of Salt's core states."""

    name = "Salt formula"

    def command(self, version, port):
        pillar = json.dumps({"comments": {"version": version, "port": port, **answer(version)}})
        return self.salt("state.apply", "comments", "saltenv=bench", f"pillar={pillar}")

    nothing = rollback = command

    def remove(self):
        Deployer.remove(self)
        self.bench.server.sh("rm -rf /var/cache/salt/minion/files /var/cache/salt/minion/extrn_files")


class Empty(Product):
    """What Salt takes for a state that does nothing."""

    name = "empty"

    def command(self, version=None, port=None):
        return self.salt("state.single", "test.nop", "name=x")


class EmptyApply(Product):
    """What Salt takes for an sls file with such a state."""

    name = "empty state.apply"

    def command(self, version=None, port=None):
        return self.salt("state.apply", "nothing", "saltenv=bench")


class Ansible(Deployer):
    """ansible-core with pipelining, over a connection that stays."""

    name = "Ansible"

    def command(self, version, port):
        extra = {"version": version, "bind_port": port, "dist": str(CHECKOUT / "dist"), **answer(version)}
        words = [f"--private-key={self.bench.ssh.key}", f"--inventory={self.bench.ssh.inventory}"]
        words += [f"--extra-vars={json.dumps(extra)}", "deploy.yml"]
        return [str(VENV / "bin/ansible-playbook"), *words], str(RIVALS / "ansible")


class Pyinfra(Deployer):
    """pyinfra."""

    name = "pyinfra"

    def command(self, version, port):
        data = {"version": version, "port": port, "dist": str(CHECKOUT / "dist"), **answer(version)}
        words = ["-y", f"--key={self.bench.ssh.key}", "--user=root", f"--chdir={RIVALS}/pyinfra"]
        data["ssh_known_hosts_file"] = self.bench.ssh.known_hosts
        words += [word for key, value in data.items() for word in ("--data", f"{key}={value}")]
        return [str(VENV / "bin/pyinfra"), *words, self.bench.server.address, "deploy.py"], str(RIVALS / "pyinfra")


# By what they are called in the figures; report.EMPTY has the words for them.
EMPTY = {"empty": Empty, "empty_apply": EmptyApply}
ALL = {each.name: each for each in (Shell, Product, ProductAsItIs, Ansible, Pyinfra, Formula)}


def answer(version):
    """Returns what a version answers when it is well: {"path", "status", "text"}, as its manifest says."""
    health = json.loads((CHECKOUT / "app" / version / "manifest.json").read_text())["health"]
    return {"path": health["path"], "status": health["status"], "text": health["json"].get("version", "NOT-FOUND")}
