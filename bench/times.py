#!/usr/bin/env python3
"""Times what an operator types, on one server of the demo's fleet: each command in turn, round after round, so that
what else the machine does hits all of them alike. Prints a table of medians with their ranges, and one JSON document.

    bench/times.py --rounds 9

The commands run on the master itself, so that nothing of the lab is in the figures. Ratios are to an empty
`state.single test.nop` (highstates: to a highstate of one test.nop).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
TOP = CHECKOUT / "dist/bench"

# Runs on the master, takes [[name, [words]], ...] and rounds, gives back {name: [seconds]}.
TIMER = """
import json, subprocess, sys, time
commands, rounds = json.loads(sys.argv[1]), int(sys.argv[2])
seen = {name: [] for name, _, _ in commands}
for turn in range(rounds + 1):
    for name, words, counted in commands:
        begin = time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True)
        seconds = time.monotonic() - begin
        if done.returncode:
            sys.exit(f"{name}: exit code {done.returncode}: {done.stdout[-3000:]}{done.stderr[-1000:]}")
        if turn and counted:
            seen[name].append(round(seconds, 3))
print(json.dumps(seen))
"""


def commands(host):
    """Returns [(name, words, counted)]: the first of each pair of deploys goes there and back."""

    def deploy(version):
        pillar = {"version": version, "globoapp": {"prove": 0, "soak": 0}}
        return ["salt", host, "state.apply", "globoapp", f"pillar={json.dumps(pillar)}", "--out=json"]

    return [
        ("empty", ["salt", host, "state.single", "test.nop", "name=x", "--out=json"], True),
        ("nothing to do", ["salt", host, "state.apply", "globoapp", "--out=json"], True),
        ("test=True", ["salt", host, "state.apply", "globoapp", "test=True", "--out=json"], True),
        ("version change", deploy("1.1"), True),
        ("and back", deploy("1.0"), True),
        ("empty highstate", ["salt", host, "state.top", "bench/top.sls", "--out=json"], True),
        ("highstate", ["salt", host, "state.highstate", "--out=json"], True),
    ]


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="counted ones, after one that is not")
    parser.add_argument("--host", default="web1")
    options = parser.parse_args()
    TOP.mkdir(parents=True, exist_ok=True)
    (TOP / "top.sls").write_text("base:\n  '*':\n    - bench.nothing\n")
    (TOP / "nothing.sls").write_text("nothing:\n  test.nop\n")
    words = [str(CHECKOUT / "lab/fleet"), "exec", "master", "--", "/opt/salt/bin/python", "-c", TIMER]
    words += [json.dumps(commands(options.host)), str(options.rounds)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return done.returncode
    seen = json.loads(done.stdout)
    base = {name: statistics.median(seen["empty highstate" if "highstate" in name else "empty"]) for name in seen}
    for name, seconds in seen.items():
        middle = statistics.median(seconds)
        print(f"{name:16} {middle:6.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})  {middle / base[name]:.2f}x")
    print(json.dumps(seen))
    return 0


sys.exit(main())
