#!/usr/bin/env python3
"""What `connect`, limits and the proxy cost per request, on one server of the demo's fleet: the same release with other
settings, round after round, so that what else the machine does hits all of them alike.

    bench/costs.py --rounds 9

One client asks one question after the other on one connection (keep-alive), so the figure is the time of a request
when nothing waits. Prints a table of medians over the rounds (of the median request of each) and one JSON document.
"""

import argparse
import http.client
import json
import pathlib
import ssl
import statistics
import subprocess
import sys
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
PATH = "/api/comment/list/nobody-commented"
PROXY = {"self_signed": True, "connections": 0, "access_log": False}
# The settings of a deploy, and how it is asked: straight, or by its proxy.
VARIANTS = {
    "as it is": ({}, "direct"),
    "connect": ({"connect": ["10.255.255.1/32"]}, "direct"),
    "limits": ({"memory_max": "512M", "cpu_quota": "200%", "tasks_max": 200}, "direct"),
    "beside its proxy": ({"proxy": PROXY}, "direct"),
    "by its proxy": ({"proxy": PROXY}, "proxy"),
}


def fleet(*words):
    """Runs lab/fleet and returns what it printed; raises CalledProcessError where it failed."""
    return subprocess.run([CHECKOUT / "lab/fleet", *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def deploy(host, version, settings):
    """Deploys a version with these settings."""
    pillar = {"version": version, "globoapp": {"prove": 0, "soak": 0, **settings}}
    fleet("salt", "--out=json", host, "state.apply", "globoapp", f"pillar={json.dumps(pillar)}")


def connection(address, way):
    """Returns an open connection to the service."""
    if way == "direct":
        made = http.client.HTTPConnection(address, 8000, timeout=10)
    else:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its own signature
        made = http.client.HTTPSConnection(address, 443, timeout=10, context=context)
    made.connect()
    return made


def requests(address, way, count):
    """Asks `count` times; returns the seconds of each."""
    client, seen = connection(address, way), []
    for _ in range(count):
        begin = time.perf_counter()
        client.request("GET", PATH)
        answer = client.getresponse()
        body = answer.read()
        seen.append(time.perf_counter() - begin)
        if answer.status not in (200, 404) or b"NOT-FOUND" not in body:
            raise RuntimeError(f"{way}: {answer.status} {body[:200]!r}")
    client.close()
    return seen


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=2000, help="of each variant in each round")
    parser.add_argument("--host", default="web1")
    parser.add_argument("--version", default="1.1")
    options = parser.parse_args()
    hosts = json.loads(fleet("status", "--json"))["hosts"]
    address = next(host["address"] for host in hosts if host["name"] == options.host)
    seen, deployed = {name: [] for name in VARIANTS}, None
    for _ in range(options.rounds):
        for name, (settings, way) in VARIANTS.items():
            if settings != deployed:
                deploy(options.host, options.version, settings)
                deployed = settings
            requests(address, way, 200)  # what is warm is compared
            seen[name].append(statistics.median(requests(address, way, options.requests)) * 1000)
    deploy(options.host, options.version, {})
    base = statistics.median(seen["as it is"])
    for name, milliseconds in seen.items():
        middle = statistics.median(milliseconds)
        print(f"{name:18} {middle:6.3f} ms  ({min(milliseconds):.3f} to {max(milliseconds):.3f})  {middle - base:+.3f}")
    print(json.dumps({name: [round(each, 4) for each in values] for name, values in seen.items()}))
    return 0


sys.exit(main())
