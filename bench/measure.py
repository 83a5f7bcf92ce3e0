"""Seconds of processor, by cgroup: all that ran in a machine of the lab, and all that a command started here.

Read from cpu.stat of the unified hierarchy (usage_usec counts every process that was in the group or below it, also
those that have ended or went on in the background), so nothing is sampled and nothing is in the way.
"""

import contextlib
import os
import pathlib
import subprocess

from fleetlib import host, machine


def unified():
    """Returns the mount (Path) of the unified hierarchy. Raises RuntimeError where there is none."""
    for mount in host.cgroup_mounts():
        if (mount / "cgroup.controllers").exists():
            return mount
    raise RuntimeError("no unified cgroup hierarchy (cgroup2) is mounted here: seconds of processor cannot be told")


class Cgroup:
    """A cgroup by its directory (Path)."""

    def __init__(self, path):
        self.path = path

    def cpu(self):
        """Returns the seconds (float) of processor that it has used, user and system."""
        fields = dict(line.split() for line in (self.path / "cpu.stat").read_text().splitlines())
        return int(fields["usage_usec"]) / 1e6

    def memory_of_processes(self):
        """Returns the bytes that its processes have by themselves and their share of what they share (PSS)."""
        total = 0
        for pid in machine.cgroup_processes([self.path]):
            with contextlib.suppress(OSError):
                text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
        return total

    def run(self, argv, **kwargs):
        """Runs a command in it and returns the CompletedProcess, output as text."""

        def enter():
            (self.path / "cgroup.procs").write_text("0")

        return subprocess.run(argv, preexec_fn=enter, capture_output=True, text=True, **kwargs)


def of_machine(each):
    """Returns the Cgroup of a machine (fleetlib's Machine)."""
    return Cgroup(unified() / each.cgroups[0].relative_to(host.cgroup_mounts()[0]))


@contextlib.contextmanager
def of_our_own():
    """A new Cgroup for commands of this side, as long as the block runs; what is left in it then is ended."""
    path = unified() / f"globoapp-bench-{os.getpid()}"
    path.mkdir()
    try:
        yield Cgroup(path)
    finally:
        with contextlib.suppress(OSError):
            (path / "cgroup.kill").write_text("1")  # such as the connection that ssh keeps
        machine.remove_cgroup(path)
