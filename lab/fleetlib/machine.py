"""One machine: its cgroups, its boot, its power cut, and commands that run in it."""

import contextlib
import os
import pathlib
import signal
import subprocess
from dataclasses import dataclass

from . import host, image, naming, steps

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SLICE = "globoapp-lab"


@dataclass(frozen=True)
class Machine:
    """A machine of a lab. name is "master", "webN", "db" or "lb", suite its Debian, address a str."""

    lab: naming.Lab
    name: str
    suite: str
    address: str

    @property
    def disk(self):
        """Returns the directory of the machine's disk and console log."""
        return self.lab.state / self.name

    @property
    def console(self):
        """Returns the log of the machine's boot."""
        return self.lab.state / f"{self.name}.console.log"

    @property
    def cgroups(self):
        """Returns the machine's own directory in each cgroup hierarchy that systemd uses."""
        return [mount / SLICE / self.lab.id / self.name for mount in host.cgroup_mounts()]

    def leader(self):
        """Returns the process id, on this side, of the machine's PID 1; None when the machine is off."""
        for pid in cgroup_processes(self.cgroups, "machine/payload/init.scope"):
            if _innermost_pid(pid) == 1:
                return pid
        return None

    def booted(self):
        """Returns when the machine's PID 1 began (str), in a clock that only tells boots apart; "" when it is off.

        Seen from outside: a command in a machine that goes down may be stopped by its systemd-shutdown while nsenter
        begins it; nsenter then stops itself, and both stay, with the machine, until somebody continues it.
        """
        with contextlib.suppress(OSError):
            return pathlib.Path(f"/proc/{self.leader()}/stat").read_text().rpartition(")")[2].split()[19]
        return ""

    def boot(self, provision):
        """Starts the machine and returns its systemd-nspawn (Popen) at once.

        Args:
            provision: command line (str) of a script in lab/provision, for the very first boot.
        """
        for name in ("upper", "work", "root"):
            (self.disk / name).mkdir(parents=True, exist_ok=True)
        lower = self.disk / "lower"
        if not lower.exists():
            # Written down, because the image that is current at a later boot may be another one.
            layers = image.layers(self.suite, naming.role(self.name))
            lower.write_text("\n".join(layer.key for layer in layers) + "\n")
        environ = {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "CGROUPS": " ".join(map(str, self.cgroups)),
            "LOWER": ":".join(str(naming.CACHE / key) for key in reversed(lower.read_text().split())),
            "DISK": str(self.disk),
            "MACHINE": self.lab.machine(self.name),
            "HOST": self.name,
            "BRIDGE": self.lab.bridge,
            "CHECKOUT": str(self.lab.checkout),
            "KEYS": str(self.lab.state / "keys"),
            "PROVISION": provision,
        }
        with open(self.console, "ab") as console:
            return subprocess.Popen(
                ["unshare", "--mount", "sh", str(image.LAB / "boot.sh")],
                env=environ,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def wait_booted(self, nspawn=None, timeout=90):
        """Returns when the machine's systemd has started all that it starts at boot.

        Args:
            nspawn: what `boot` returned, to see at once that it ended.
            timeout: seconds.

        Raises:
            Failure: with the state that systemd reports, the jobs it waits for or the units that failed.
        """
        seen = {"state": "no systemd yet"}

        def check():
            if nspawn is not None and nspawn.poll() is not None:
                tail = steps.last_lines(self.console.read_text(errors="replace"))
                raise steps.Failure(f"{self.name} ended with code {nspawn.returncode}\n{tail}", self.console)
            if self.leader() is None:
                return False
            seen["state"] = self.run(["systemctl", "is-system-running"]).stdout.strip() or "no answer"
            return seen["state"] in ("running", "degraded")

        if not steps.poll(check, timeout):
            jobs = self.run(["systemctl", "list-jobs", "--no-legend"]).stdout if self.leader() else ""
            why = f"{self.name} has not booted after {timeout} s ({seen['state']})"
            raise steps.Failure(f"{why}\n{steps.last_lines(jobs)}", self.console)
        if seen["state"] == "degraded":
            failed = self.run(["systemctl", "--failed", "--no-legend", "--plain"]).stdout
            raise steps.Failure(f"{self.name} booted with failed units\n{steps.last_lines(failed)}", self.console)

    def enter(self, argv):
        """Returns the argv that runs argv in the machine.

        Raises:
            Failure: when the machine is off.
        """
        leader = self.leader()
        if leader is None:
            raise steps.Failure(f"{self.name} is off. Boot it with: lab/fleet boot {self.name}")
        # Its root too: where we are in a chroot ourselves, that is another than its mount namespace's.
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
        return ["nsenter", "--target", str(leader), *namespaces, "--", *argv]

    def run(self, argv, **kwargs):
        """Runs a command in the machine and returns the CompletedProcess, with output as text."""
        kwargs = {"capture_output": True, "text": True, "env": environment(), **kwargs}
        return subprocess.run(self.enter(argv), **kwargs)

    def kill(self):
        """Ends the machine as a power cut does: every process at once by SIGKILL. The disk stays.

        Returns:
            Whether there was anything to end.

        Raises:
            Failure: when something is left after 20 s.
        """
        leader = self.leader()
        if leader is not None:
            # First PID 1: with it the kernel ends all of its namespace in one go.
            _kill(leader)

        def gone():
            pids = [pid for pid in cgroup_processes(self.cgroups) if _alive(pid)]
            for pid in pids:
                _kill(pid)
            return not pids

        found = not gone() or leader is not None
        if not steps.poll(gone, 20):
            raise steps.Failure(f"{self.name}: processes survive SIGKILL: {cgroup_processes(self.cgroups)}")
        for cgroup in self.cgroups:
            remove_cgroup(cgroup)
        # The kernel would do it too, but only when the last TCP connection without an owner has timed out.
        remove_interface(self.lab.interface(self.name))
        return found


def environment():
    """Returns the environment of a command in a machine: nothing of this side but the terminal's type."""
    return {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb")}


def cgroup_processes(cgroups, below=""):
    """Returns the process ids (sorted list) in some cgroup directories, or in one directory below them, all levels."""
    pids = set()
    for cgroup in cgroups:
        for directory, _, files in os.walk(cgroup / below):
            if "cgroup.procs" in files:
                try:
                    pids.update(int(pid) for pid in pathlib.Path(directory, "cgroup.procs").read_text().split())
                except OSError:
                    continue  # the cgroup went while we read: so did its processes
    return sorted(pids)


def remove_interface(name):
    """Removes a network interface, and with a veth its other end; one that is not there is fine.

    Raises:
        Failure: when it is still there afterwards.
    """
    path = pathlib.Path("/sys/class/net", name)
    if not path.exists():
        return
    done = subprocess.run(["ip", "link", "delete", name], capture_output=True, text=True)
    if path.exists():
        raise steps.Failure(f"interface {name} is still there: {done.stderr.strip()}")


def remove_cgroup(cgroup):
    """Removes a cgroup directory with all below; one that is not there is fine."""
    for directory, _, _ in os.walk(cgroup, topdown=False):
        steps.poll(lambda directory=directory: _rmdir(directory), 5)


def _rmdir(directory):
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # EBUSY: its last process is still being reaped
    return True


def _innermost_pid(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    ids = [line for line in status.splitlines() if line.startswith("NSpid:")][0].split()
    return int(ids[-1]) if len(ids) > 2 else None


def _alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
