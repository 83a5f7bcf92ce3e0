#!/usr/bin/env python3
"""How long a fault lasts: from the break to the alert on the master, and to the first good answer.

    bench/faults.py --rounds 20 --faults "gunicorn killed"

The faults are those of tests/fleet/breaking.py; in each round each of them is there once.
"""

import argparse
import os
import sys
import time

import ground  # noqa: F401  first: it finds the others

# isort: split
import results
from breaking import BREAKS, Master, outlast
from machines import Fleet
from polling import until
from say import say
from server import Server


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--faults", nargs="+", choices=list(BREAKS), default=list(BREAKS))
    parser.add_argument("--keep", action="store_true", help="leave the machines up, for the next run")
    parser.add_argument("--dry", action="store_true", help="print figures, write no file")
    options = parser.parse_args()
    fleet, seen = Fleet(os.environ.get("GLOBOAPP_LAB", "bench")), {fault: [] for fault in options.faults}
    fleet.run("up", "--web", "1", capture_output=False)
    web, master = Server(fleet, "web1"), Master(fleet)
    try:
        fleet.heal(True)
        web.wipe()
        web.deploy("1.0")
        until(lambda: master.run("globoapp.inventory").get("web1", {}).get("version") == "1.0", 120)
        for number in range(1, options.rounds + 1):
            for fault in options.faults:
                took = outlast(web, master, fault)
                seen[fault].append({key: value and round(value, 2) for key, value in took.items()})
                say(f"round {number}: {fault}: {seen[fault][-1]}")
            if not options.dry:
                results.store("faults", {"when": time.strftime("%Y-%m-%d"), "seen": seen})
    finally:
        fleet.heal(False)
        web.wipe()
        if not options.keep:
            fleet.run("down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
