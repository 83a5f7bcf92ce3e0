#!/usr/bin/env python3
"""Where the time of a deploy goes: each row of the comparison by phase, on the same machines, round after round.

    bench/phases.py --rounds 5

Salt itself notes when it publishes a job, begins it, gathers the pillar, renders, applies states and returns
(bench/marks.py); the clock is one for all machines. Without trial and soak time, and without clients.
"""

import argparse
import json
import sys
import time

import ground  # first: it finds the others

# isort: split
import compare
import deployers
import plan
import results
from polling import until
from say import say

MARKS = (ground.CHECKOUT / "bench/marks.py").read_text()
SITE = "/opt/salt/lib/python3.*/site-packages"
INSTALL = f"cd {SITE} && cat > bench_marks.py && echo 'import bench_marks' > bench_marks.pth"
REMOVE = f"cd {SITE} && rm -f bench_marks.py bench_marks.pth /run/bench-marks.jsonl"
TAKE = "cat /run/bench-marks.jsonl 2>/dev/null; rm -f /run/bench-marks.jsonl"
HOSTS = {"master": "salt-master", "web1": "salt-minion"}


def marks(bench):
    """Returns what was noted since the last time (list of dict), the master's and the server's."""
    said = [bench.fleet.exec(host, "sh", "-c", TAKE).stdout for host in HOSTS]
    return [json.loads(line) for text in said for line in text.splitlines()]


def install(bench, script, **more):
    """Runs a script on the machines, and starts Salt anew."""
    for host, service in HOSTS.items():
        bench.fleet.exec(host, "sh", "-c", f"{script}\nsystemctl restart {service}", check=True, **more)
    until(lambda: bench.fleet.awake("web1"), 120)


def once(bench, tool):
    """One life of the server; returns [(row, {phase: seconds}, {function of a state: seconds})]."""
    found = []
    tool.begin()
    try:
        steps = [("empty", *deployers.Empty(bench).command(), 0)]
        steps += [(row, *getattr(tool, how)(version, port), port) for row, how, version, port in plan.ROWS]
        for row, argv, directory, port in steps:
            marks(bench)
            states = bench.measured(tool, argv, directory, [port], False).get("states", {})
            found.append((row, plan.phases(*bench.window, marks(bench)), states))
    finally:
        tool.remove()
    return found


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="counted ones, after one that is not (default 5)")
    parser.add_argument("--keep", action="store_true", help="leave the machines up, for the next run")
    parser.add_argument("--no-warm-up", action="store_true", help="count from the first round on, to try things out")
    parser.add_argument("--dry", action="store_true", help="write no file")
    options = parser.parse_args()
    seen, states = {}, {}
    with compare.booted(options.keep) as bench:
        try:
            bench.fleet.heal(False)
            install(bench, INSTALL, input=MARKS)
            for number in range(1 if options.no_warm_up else 0, options.rounds + 1):
                for row, phases, took in once(bench, deployers.Product(bench)):
                    told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in phases.items())
                    say(f"round {number}: {row}: {told}")
                    if number:
                        seen.setdefault(row, []).append(phases)
                        states.setdefault(row, []).append(took)
                if number and not options.dry:
                    results.store("phases", {"when": time.strftime("%Y-%m-%d"), "seen": seen, "states": states})
        finally:
            install(bench, REMOVE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
