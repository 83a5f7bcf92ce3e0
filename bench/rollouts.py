#!/usr/bin/env python3
"""What a rollout costs the process that drives it, by the number of servers: stand-ins that answer at once on the event
bus, a real store on the disk, everything else is the product's.

    bench/rollouts.py --rounds 5 1 10 100 1000

Prints a table of medians (seconds of processor, peak of memory, jobs sent) and one JSON document; the last column is
the time for each server, which must not grow with their number.
"""

import argparse
import io
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT / name) for name in ("tests/support", "salt/_utils")]


def once(servers: int) -> dict[str, float]:
    """One rollout over so many servers, in this process."""
    import salt.cache
    import salt.config
    from globolib.monitor.store import Store
    from globolib.rollout import book as books
    from globolib.rollout import command
    from standins import Servers

    with tempfile.TemporaryDirectory() as directory:
        opts = salt.config.master_config("/dev/null")
        opts.update(cachedir=directory, extension_modules=directory)
        book = books.Book(Store(salt.cache.Cache(opts), directory), directory)
        fleet = Servers({f"web{number}": "" for number in range(servers)})
        master = command.Master(book, lambda: fleet, fleet, lambda data, tag: None, io.StringIO())
        began, wall = time.process_time(), time.monotonic()
        answer = command.begin(master, "1.1", list(fleet.plan), books.Meant("web*", "bench"), {})
        seconds, wall = time.process_time() - began, time.monotonic() - wall
    assert answer["servers"] == {"done": servers}, answer
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu": seconds, "wall": wall, "memory": peak, "jobs": len(fleet.sent)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", type=int, default=[1, 10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--once", type=int, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.once:
        print(json.dumps(once(wanted.once)))
        return
    # Each in a process of its own: a peak of memory is that of the process.
    seen: dict[int, list[dict[str, float]]] = {count: [] for count in wanted.servers}
    for _ in range(wanted.rounds):
        for count, rounds in seen.items():
            done = subprocess.run([sys.executable, __file__, "--once", str(count)], capture_output=True, check=True)
            rounds.append(json.loads(done.stdout))
    print("| servers | CPU s | wall s | peak MiB | jobs | CPU ms a server |\n| --- | --- | --- | --- | --- | --- |")
    for count, rounds in seen.items():
        cpu, wall, memory, jobs = (statistics.median(one[key] for one in rounds) for key in rounds[0])
        print(f"| {count} | {cpu:.3f} | {wall:.3f} | {memory:.0f} | {jobs:.0f} | {1000 * cpu / count:.1f} |")
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
