#!/usr/bin/env python3
"""What a server costs while nothing happens: its minion with beacon and schedules and without, and the master.

    bench/rest.py --rounds 3 --seconds 60

The minion starts afresh before each; processor time is that of its service's cgroup, with all jobs that it ran, memory
the proportional share (PSS) of its processes. The highstate of every 30 minutes is not in it: it is the row `nothing
to do` of the comparison.
"""

import argparse
import sys
import time

import ground  # noqa: F401  first: it finds the others

# isort: split
import compare
import deployers
import measure
import results
from polling import until
from say import say

SERVICE = "machine/payload/system.slice/salt-minion.service"
# Variant: whether the minion runs, and whether it has beacon and schedules.
VARIANTS = {"no minion": (False, False), "bare minion": (True, False), "with beacon and schedules": (True, True)}
SETTLE = 20  # seconds after a start: what a minion does then is no rest


def once(bench, seconds, runs, watches):
    """Returns {"minion": % of a core, "memory": MiB, "master": % of a core} of one variant."""
    bench.server.sh("systemctl start salt-minion")
    until(lambda: bench.fleet.awake("web1"), 120)
    bench.fleet.heal(watches)
    bench.server.sh(f"systemctl {'restart' if runs else 'stop'} salt-minion")
    if runs:
        until(lambda: bench.fleet.awake("web1"), 120)
    time.sleep(SETTLE)
    master = measure.of_machine(bench.master)
    minion = measure.Cgroup(measure.of_machine(bench.web).path / SERVICE)
    before, begun = (master.cpu(), minion.cpu() if runs else 0), time.monotonic()
    time.sleep(seconds)
    share = 100 / (time.monotonic() - begun)
    found = {"master": (master.cpu() - before[0]) * share}
    if runs:
        found |= {"minion": (minion.cpu() - before[1]) * share, "memory": minion.memory_of_processes() / 2**20}
    return {name: round(value, 3) for name, value in found.items()}


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60, help="of each measurement (default 60)")
    parser.add_argument("--keep", action="store_true", help="leave the machines up, for the next run")
    parser.add_argument("--dry", action="store_true", help="print figures, write no file")
    options = parser.parse_args()
    seen = {name: [] for name in VARIANTS}
    with compare.booted(options.keep) as bench:
        tool = deployers.Product(bench)
        try:
            tool.begin()
            bench.server.deploy("1.0")
            for number in range(1, options.rounds + 1):
                for name, (runs, watches) in VARIANTS.items():
                    seen[name].append(once(bench, options.seconds, runs, watches))
                    say(f"round {number}: {name}: {seen[name][-1]}")
                if not options.dry:
                    data = {"when": time.strftime("%Y-%m-%d"), "seconds": options.seconds, "seen": seen}
                    results.store("rest", data)
        finally:
            bench.server.sh("systemctl start salt-minion")
            until(lambda: bench.fleet.awake("web1"), 120)
            tool.remove()
            bench.fleet.heal(False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
