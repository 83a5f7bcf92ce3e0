#!/usr/bin/env python3
"""What more servers cost, and a long history: a version change on 1, 2, 4, 8 and 16 servers by state.apply and by a
rollout, and with 10,000 deploys in the ledger.

    bench/growth.py --rounds 3 --servers 1 2 4 8 16

Without trial and soak time. All machines share the processors of this one.
"""

import argparse
import contextlib
import json
import os
import sys
import threading
import time

import ground  # noqa: F401  first: it finds the others

# isort: split
import compare
import deployers
import measure
import results
from say import say
from server import ROOT, all_green, apply

LEDGERS = (10, 10_000)
# On the server: so many copies of a deploy that was, older than all that are real.
FILL = """
import json, sys
path, wanted = sys.argv[1], int(sys.argv[2])
real = [line for line in map(json.loads, open(path)) if not line["id"].startswith("bench")]
first = min(real, key=lambda line: line["time"])
old = {**first, "time": "2020-01-01T00:00:00.000Z"}
copies = [{**old, "id": f"bench{number:05}"} for number in range(wanted)]
open(path, "w").writelines(json.dumps(line) + "\\n" for line in copies + real)
"""


@contextlib.contextmanager
def peak(cgroup):
    """The most memory (PSS in bytes, [int]) that a cgroup has while the block runs, as seen twice a second."""
    seen, over = [cgroup.memory_of_processes()], threading.Event()

    def look():
        while not over.wait(0.5):
            seen[0] = max(seen[0], cgroup.memory_of_processes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


# What brings a version to servers (comma-separated): all at once, or in batches.
WAYS = {
    "state.apply": lambda names, version: [
        *("salt", "--out=json", "--static", "--timeout=120", "--list", names, "state.apply", "globoapp"),
        f"pillar={json.dumps({'version': version})}",
    ],
    "rollout": lambda names, version: [
        *("salt-run", "globoapp.rollout", f"version='{version}'", f"target={names}", "tgt_type=list"),
        *("first=1", "batch=25%"),
    ],
}


def servers(bench, counts, rounds, store):
    """Version changes on some of the servers (list of int); store(data) is called after each number of them."""
    seen = {way: {} for way in WAYS}
    for count in counts:
        bench.fleet.run("up", "--web", str(count))
        bench.fleet.heal(False, deployers.Product.site)
        names = ",".join(f"web{number}" for number in range(1, count + 1))
        for version in ("1.1", "1.0"):
            all_green(apply(bench.fleet, "web*", version))
        for number in range(rounds):
            # There by one, back by the other, and the next time round.
            ways = list(WAYS.items())[:: -1 if number % 2 else 1]
            for version, (way, words) in zip(("1.1", "1.0"), ways, strict=True):
                argv = bench.master.enter(words(names, version))
                with peak(measure.of_machine(bench.web)) as server, peak(measure.of_machine(bench.master)) as master:
                    figures = bench.measured(deployers.Product(bench), argv, "/", [8000], False)
                figures.pop("states", None)
                figures |= {"memory": round(server[0] / 2**20, 1), "master": round(master[0] / 2**20, 1)}
                seen[way].setdefault(str(count), []).append(figures)
                say(f"{count} servers by {way}: {figures}")
        store(seen)


def ledger(bench, rounds):
    """Status, history and a version change with a short ledger and with a long one: {words: {lines: [seconds]}}."""
    tool, seen = deployers.Product(bench), {}
    tool.begin()
    bench.server.deploy("1.1")
    bench.server.deploy("1.0")
    for number in range(rounds + 1):
        # There and back in each round, with another ledger first: each has both ways.
        for version, lines in zip(("1.1", "1.0"), LEDGERS[:: 1 if number % 2 else -1], strict=True):
            fill = ["python3", "-c", FILL, f"{ROOT}/deployments.jsonl", str(lines)]
            bench.fleet.exec("web1", *fill, check=True)
            asked = {"globoapp.status": tool.salt("globoapp.status"), "version change": tool.command(version)}
            asked["globoapp.history"] = tool.salt("globoapp.history")
            for words, command in asked.items():
                figures = bench.measured(tool, *command, [8000], False)
                if number:  # the first round warms up
                    seen.setdefault(words, {}).setdefault(str(lines), []).append(figures["wall"])
        say(f"ledger, round {number}: " + ", ".join(f"{words} {each}" for words, each in seen.items()))
    tool.remove()
    return seen


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="for each number of servers (default 3)")
    parser.add_argument("--ledger-rounds", type=int, default=9, help="with each ledger (default 9)")
    parser.add_argument("--servers", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    parser.add_argument("--keep", action="store_true", help="leave the machines up, for the next run")
    parser.add_argument("--dry", action="store_true", help="print figures, write no file")
    options = parser.parse_args()

    def store(part, seen):
        if not options.dry and seen:
            data = {"when": time.strftime("%Y-%m-%d"), "processors": os.cpu_count(), "seen": seen}
            results.store(part, data)

    with compare.booted(options.keep) as bench:
        if options.ledger_rounds:
            store("ledger", ledger(bench, options.ledger_rounds))
        servers(bench, options.servers, options.rounds, lambda seen: store("growth", seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
