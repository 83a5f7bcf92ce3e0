"""The fleet: what is written down about it, and how it goes up and down as a whole."""

import concurrent.futures
import contextlib
import fcntl
import ipaddress
import json
import os
import pathlib
import shutil
import subprocess

from . import host, image, machine, naming, steps

ANSWER_TIMEOUT = 120


class Fleet:
    """The machines of one lab, as its state directory knows them."""

    def __init__(self, lab):
        self.lab = lab
        self.subnet = None
        self.suites = {}
        with contextlib.suppress(FileNotFoundError):
            known = json.loads((lab.state / "lab.json").read_text())
            self.subnet = ipaddress.ip_network(known["subnet"])
            self.suites = known["hosts"]

    def machine(self, name):
        """Returns the Machine called name.

        Raises:
            Failure: when the fleet has none of that name.
        """
        if name not in self.suites:
            known = ", ".join(self.suites) or "none: lab/fleet up makes them"
            raise steps.Failure(f"no host {name!r} in this fleet. Hosts: {known}")
        return machine.Machine(self.lab, name, self.suites[name], naming.address(name, self.subnet))

    def machines(self):
        """Returns all machines (list of Machine), the master first."""
        return [self.machine(name) for name in sorted(self.suites, key=naming.number)]

    def addresses(self):
        """Returns {name: address} of all machines."""
        return {each.name: each.address for each in self.machines()}

    def status(self):
        """Returns {"lab", "checkout", "bridge", "subnet", "hosts": [{"name", "address", "suite", "up", "booted"}]}."""
        return {
            "lab": self.lab.id,
            "checkout": str(self.lab.checkout),
            "bridge": self.lab.bridge,
            "subnet": str(self.subnet) if self.subnet else None,
            "hosts": [
                {"name": each.name, "address": each.address, "suite": each.suite, "up": bool(booted), "booted": booted}
                for each, booted in ((each, each.booted()) for each in self.machines())
            ],
        }

    def up(self, wanted):
        """Makes sure that the wanted hosts run and that their minions answer the master.

        Hosts that the fleet has beside them stay as they are.

        Args:
            wanted: {name: suite}.

        Raises:
            Failure: naming the step.
        """
        for name, suite in wanted.items():
            if self.suites.get(name, suite) != suite:
                raise steps.Failure(f"{name} runs {self.suites[name]}, not {suite}. First: lab/fleet down")
        host.install_tools()
        image.build({(suite, naming.role(name)) for name, suite in wanted.items()})
        self._network()
        self.suites = {**self.suites, **wanted}
        self._write()
        with steps.step("keys"):
            names = [each.name for each in self.machines()]
            steps.run(["sh", image.LAB / "provision/keys.sh", self.lab.state / "keys", *names])
        off = [each for each in self.machines() if each.name in wanted and each.leader() is None]
        # First: a master that hears of a minion before it has the key keeps it waiting.
        self._introduce([each for each in self.machines() if each not in off and each.leader()])
        if off:
            with steps.step(f"booting {', '.join(each.name for each in off)}"):
                self._boot(off)
        self._wait_answers(self._running_minions())

    def boot(self, name):
        """Boots one machine from the disk that it has, and waits for its minion, or on the master for all of them.

        A machine that runs is left alone. Where the master is off, nobody is waited for.
        """
        each = self.machine(name)
        if each.leader() is None:
            self._network()
            with steps.step(f"booting {name}"):
                self._boot([each])
        if self.machine("master").leader():
            self._wait_answers(self._running_minions() if name == "master" else [name])

    def listening(self, names):
        """Returns whether the minions of these hosts are connected to where the master publishes jobs."""
        seen = self.machine("master").run(["ss", "-Htn", "state", "established", "sport", "=", ":4505"]).stdout.split()
        peers = {word.rpartition(":")[0].rpartition(":")[2].strip("[]") for word in seen}
        return {self.machine(name).address for name in names} <= peers

    def cut(self, name):
        """Takes the power from one machine."""
        self.machine(name).kill()

    def down(self):
        """Removes all of this lab: machines, disks, bridge; also what an earlier crash left, known only by its name.

        Returns:
            Whether anything was there.
        """
        names = set(self.suites)
        for mount in host.cgroup_mounts():
            with contextlib.suppress(FileNotFoundError):
                names.update(entry.name for entry in (mount / machine.SLICE / self.lab.id).iterdir() if entry.is_dir())
        found = bool(names) or self.lab.state.exists()
        machines = [machine.Machine(self.lab, name, "", "") for name in names]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(machine.Machine.kill, machines))
        for mount in host.cgroup_mounts():
            machine.remove_cgroup(mount / machine.SLICE / self.lab.id)
            with contextlib.suppress(OSError):
                (mount / machine.SLICE).rmdir()  # another lab's machines may be in it
        found |= pathlib.Path("/sys/class/net", self.lab.bridge).exists()
        machine.remove_interface(self.lab.bridge)
        if self.lab.state.exists():
            shutil.rmtree(self.lab.state)
        return found

    def _write(self):
        self.lab.state.mkdir(parents=True, exist_ok=True)
        known = {
            "checkout": str(self.lab.checkout),
            "name": self.lab.name,
            "subnet": str(self.subnet),
            "hosts": self.suites,
        }
        new = self.lab.state / "lab.json.new"
        new.write_text(json.dumps(known, indent=2) + "\n")
        new.rename(self.lab.state / "lab.json")

    def _network(self):
        """Sets the bridge up; no route leads out of it, and no firewall rule is needed."""
        if self.subnet is None:
            self.subnet = naming.free_subnet(self.lab.subnets(), host.networks())
        bridge = self.lab.bridge
        if pathlib.Path("/sys/class/net", bridge).exists():
            return
        with steps.step(f"bridge {bridge}, {self.subnet}"):
            steps.run(["ip", "link", "add", bridge, "type", "bridge"])
            steps.run(["ip", "address", "add", f"{naming.gateway(self.subnet)}/24", "dev", bridge])
            steps.run(["ip", "link", "set", bridge, "up"])

    def _boot(self, machines):
        for each in machines:
            each.kill()  # what an earlier crash may have left half alive
        minions = " ".join(name for name in self.suites if name != "master")
        started = []
        for each in machines:
            script = f"db.sh {each.address} {self.subnet}" if each.name == naming.DATABASE else "minion.sh"
            provision = f"{script} /run/lab/checkout /run/lab/keys {each.name} {self.addresses()['master']}"
            if each.name == "master":
                provision = f"master.sh /run/lab/checkout /run/lab/keys {minions}"
            if not (each.disk / "provisioned").exists():
                self._write_disk(each)
            started.append((each, each.boot(provision)))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda pair: pair[0].wait_booted(pair[1]), started))

    def _write_disk(self, each):
        etc = each.disk / "upper/etc"
        (etc / "systemd/network").mkdir(parents=True, exist_ok=True)
        (etc / "hostname").write_text(f"{each.name}\n")
        (etc / "hosts").write_text(naming.hosts_file(each.name, self.addresses()))
        (etc / "systemd/network/10-host0.network").write_text(
            f"[Match]\nName=host0\n\n[Network]\nAddress={each.address}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        )

    def _introduce(self, running):
        """Tells machines that were up before about hosts that are new: names to all, keys to the master."""
        for each in running:
            each.run(["tee", "/etc/hosts"], input=naming.hosts_file(each.name, self.addresses()))
            if each.name == "master":
                for name in self.suites:
                    if name != "master":
                        key = (self.lab.state / "keys" / f"{name}.pub").read_text()
                        each.run(["tee", f"/etc/salt/pki/master/minions/{name}"], input=key)

    def _running_minions(self):
        return [each.name for each in self.machines() if each.name != "master" and each.leader()]

    @steps.step("waiting for the minions to answer")
    def _wait_answers(self, names):
        master = self.machine("master")
        silent = set(names)

        def check():
            # A ping before a minion listens costs Salt's patience, some 15 s; a look at the sockets is free.
            if not self.listening(names):
                return False
            ping = ["salt", "--static", "--out=json", "--timeout=5", "--list", ",".join(sorted(silent)), "test.ping"]
            try:
                answers = json.loads(master.run(ping, timeout=60).stdout or "{}")
            except (ValueError, subprocess.TimeoutExpired):
                return False  # the master is not yet listening
            silent.difference_update(name for name, answer in answers.items() if answer is True)
            return not silent

        if not steps.poll(check, ANSWER_TIMEOUT):
            raise steps.Failure(_why_silent(master, sorted(silent)))


def _why_silent(master, silent):
    log = master.run(["journalctl", "-u", "salt-master", "-n", "5", "--no-pager", "-o", "cat"]).stdout
    text = f"no answer from {', '.join(silent)} after {ANSWER_TIMEOUT} s; the master's log ends\n"
    text += steps.last_lines(log)
    filtered = pathlib.Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if filtered.exists() and filtered.read_text().strip() == "1":
        text += f"\n  {filtered} is 1: this machine's firewall sees the bridge's traffic and may drop it"
    return text


def abandoned(lab):
    """Returns the other labs (list of Lab) of this lab's checkout, and those of checkouts that are gone."""
    found = []
    for path in naming.STATE.glob("*/lab.json"):
        known = json.loads(path.read_text())
        each = naming.Lab(pathlib.Path(known["checkout"]), known["name"])
        if each != lab and (each.checkout == lab.checkout or not each.checkout.exists()):
            found.append(each)
    return found


@contextlib.contextmanager
def exclusive(lab):
    """Holds the lab's lock: one `up`, `down`, `cut` or `boot` at a time. The kernel lets go of it when we end."""
    naming.LOCKS.mkdir(parents=True, exist_ok=True)
    with open(naming.LOCKS / f"{lab.id}.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            steps.say(f"waiting for another lab/fleet of this checkout (process {lock.read() or 'unknown'})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
