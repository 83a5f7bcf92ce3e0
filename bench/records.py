#!/usr/bin/env python3
"""The master's records for many simulated servers with a day behind them: what people ask for, in seconds.

    bench/records.py --servers 1000 --rounds 9

The runners are the product's, in Salt's own loader, on files in a directory; servers are names. Of a day each server
brings 10 deploys and 4 alerts that opened and cleared; one in a hundred has an alert open. Then the reports of some
minutes: what they add to the disk is what a day's 1,440 would not add either.
"""

import argparse
import datetime
import logging
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import ground  # noqa: F401  first: it finds the others

# isort: split
import results
from say import say
from watchmaster import Master, event, line, report

DEPLOYS, ALERTS, MINUTES = 10, 4, 3
PROBES = ("api", "cpu", "disk", "memory")
QUESTIONS = ("inventory", "alerts", "alerts of the day", "metrics")


def moment(hours):
    """Returns a time (str) so many hours ago, as records have it."""
    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours)
    return now.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def disk(directory):
    """Returns (bytes that a directory takes on the disk, number of its files)."""
    files = [os.lstat(os.path.join(top, name)) for top, _, names in os.walk(directory) for name in names]
    return sum(each.st_blocks * 512 for each in files), len(files)


def day(master, servers):
    """What a day of all servers brings to the master; returns the seconds that a report took, each (list)."""
    took = []
    for number in range(servers):
        name = f"web{number}"
        for each in range(ALERTS):
            for state, hours in (("bad", 20 - each), ("clear", 19.9 - each)):
                data = event(PROBES[each], state, time=moment(hours), id=name)
                master.run("globoapp_watch.alert", name, data)
        if number % 100 == 0:
            master.run("globoapp_watch.alert", name, event("disk", "bad", time=moment(1), id=name))
        deploys = [line(f"{name}-{each}", time=moment(23 - each)) for each in range(DEPLOYS)]
        begin = time.perf_counter()
        master.run("globoapp_watch.report", name, report(moment(0.1), deploys=deploys, id=name))
        took.append(time.perf_counter() - begin)
    return took


def minutes(master, servers):
    """Three reports of each server; returns the seconds of each (list)."""
    took = []
    for number in range(servers * MINUTES):
        begin = time.perf_counter()
        master.run("globoapp_watch.report", f"web{number % servers}", report(moment(0.05), id=f"web{number % servers}"))
        took.append(time.perf_counter() - begin)
    return took


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9, help="of the questions")
    parser.add_argument("--dry", action="store_true", help="print figures, write no file")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    seen = {name: [] for name in QUESTIONS}
    with tempfile.TemporaryDirectory() as directory:
        master = Master(Path(directory))
        master.accepted = {f"web{number}" for number in range(options.servers)}
        master.pillar("{}\n")
        first = day(master, options.servers)
        size, files = disk(master.directory / "cache")
        say(f"a day of {options.servers} servers: {size / 2**20:.0f} MiB in {files} files")
        later = minutes(master, options.servers)
        grown = disk(master.directory / "cache")[0] - size
        for number in range(options.rounds + 1):
            for name in QUESTIONS:
                words = [f"{directory}/globoapp.prom"] if name == "metrics" else []
                more = {"from": moment(24)[:16]} if name == "alerts of the day" else {}
                begin = time.perf_counter()
                answer = master.run(f"globoapp.{name.split()[0]}", *words, **more)
                if number:
                    seen[name].append(round(time.perf_counter() - begin, 4))
                if more and len(answer["history"]) < options.servers:
                    raise RuntimeError(f"{len(answer['history'])} alerts are known of the day")
            if number:
                say(f"round {number}: " + ", ".join(f"{name} {values[-1]:.2f} s" for name, values in seen.items()))
    data = {"when": time.strftime("%Y-%m-%d"), "servers": options.servers, "seen": seen, "files": files, "bytes": size}
    data |= {"grown": grown, "reports": [round(each, 5) for each in sorted(later)], "minutes": MINUTES}
    data |= {"first": [round(each, 5) for each in sorted(first)], "deploys": DEPLOYS, "alerts": ALERTS}
    data["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for key in ("reports", "first"):  # some of them tell as much
        data[key] = data[key][:: max(len(data[key]) // 100, 1)]
    if not options.dry:
        results.store("records", data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
