#!/usr/bin/env python3
"""Deploys back and forth between two versions under load, and counts what the clients lost.

Each switch is the operator's own command, `salt web1 state.apply globoapp`; between two there is quiet of about the
same length. Prints one JSON document; the exit code is 1 when a request was lost, or a deploy failed.

    bench/switches.py                     20 switches and at least 200,000 requests on web1 of the demo's fleet
    bench/switches.py --switches 4 --requests 0
"""

import argparse
import json
import pathlib
import signal
import subprocess
import sys
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
FLEET = str(CHECKOUT / "lab/fleet")


def deploy(host, version, extra):
    """Deploys version on host; returns (begin, end, states): CLOCK_MONOTONIC and Salt's own data (dict)."""
    pillar = json.dumps({"version": version, "globoapp": extra})
    begin = time.monotonic()
    done = subprocess.run(
        [FLEET, "salt", "--out=json", "--static", host, "state.apply", "globoapp", f"pillar={pillar}"],
        capture_output=True,
        text=True,
    )
    end = time.monotonic()
    if done.returncode:
        sys.exit(f"the deploy of {version} failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    return begin, end, json.loads(done.stdout)[host]


def recorded(states):
    """Returns what the deploy itself said of its switch (str), with its own probe's figures."""
    return next(state["comment"] for key, state in states.items() if key.endswith("|-recorded"))


def summary(load, windows):
    """Returns the figures: what the clients saw in quiet and during a deploy (any part of a request inside counts)."""
    during, quiet = [], []
    for start, seconds in load["samples"]:
        hit = any(start <= end and start + seconds >= begin for begin, end in windows)
        (during if hit else quiet).append(seconds * 1000)
    slowest = {"quiet": max(quiet, default=0), "switch": max(during, default=0)}
    return {
        "requests": load["requests"],
        "failed": load["failed"],
        "kinds": load["kinds"],
        "requests_during_deploys": len(during),
        "slowest_quiet_ms": round(slowest["quiet"], 1),
        "slowest_switch_ms": round(slowest["switch"], 1),
        "slower_by_ms": round(slowest["switch"] - slowest["quiet"], 1),
        "p99.9_quiet_ms": _share(quiet, 0.999),
        "p99.9_switch_ms": _share(during, 0.999),
        "median_quiet_ms": _share(quiet, 0.5),
        "median_switch_ms": _share(during, 0.5),
    }


def _share(values, share):
    return round(sorted(values)[int(len(values) * share)], 1) if values else None


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="web1")
    parser.add_argument("--versions", nargs=2, default=["1.0", "1.1"])
    parser.add_argument("--switches", type=int, default=20)
    parser.add_argument("--requests", type=int, default=200_000, help="go on in quiet until so many were sent")
    parser.add_argument("--rate", type=float, default=0, help="requests per second; 0 is as many as possible")
    parser.add_argument("--prove", type=float, default=1, help="pillar prove, seconds")
    parser.add_argument("--soak", type=float, default=1, help="pillar soak, seconds")
    args = parser.parse_args()
    status = json.loads(subprocess.run([FLEET, "status", "--json"], capture_output=True, check=True).stdout)
    address = next((one["address"] for one in status["hosts"] if one["name"] == args.host and one["up"]), None)
    if address is None:
        sys.exit(f"{args.host} is not up: make demo first")
    extra = {"prove": args.prove, "soak": args.soak}
    for version in reversed(args.versions):  # both are on the host then: what is measured is the switch
        deploy(args.host, version, extra)
    command = [sys.executable, str(CHECKOUT / "bench/load.py"), f"http://{address}:8000", "--announce", "--samples"]
    command += [f"--rate={args.rate}", f"--at-least={args.requests}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        load.stdout.readline()
        windows = []
        for number in range(args.switches):
            began, ended, states = deploy(args.host, args.versions[(number + 1) % 2], extra)
            windows.append((began, ended))
            print(f"switch {number + 1} of {args.switches}: {ended - began:.1f} s; {recorded(states)}", file=sys.stderr)
            load_pause(load, ended - began)
        load.send_signal(signal.SIGTERM)
        seen = json.loads(load.stdout.read())
    result = {"switches": args.switches, **summary(seen, windows), "seconds": seen["seconds"]}
    print(json.dumps(result, indent=1))
    return 1 if seen["failed"] else 0


def load_pause(load, seconds):
    """Lets the load go on for some seconds; ends the program when the load has ended by itself."""
    try:
        load.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    sys.exit(f"the load ended with code {load.returncode}")


if __name__ == "__main__":
    sys.exit(main())
