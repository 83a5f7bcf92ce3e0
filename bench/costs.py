#!/usr/bin/env python3
"""What `connect`, limits and the proxy cost per request, on one server of the demo's fleet: the same release with other
settings, round after round, so that what else the machine does hits all of them alike.

    bench/costs.py --rounds 9

One client asks one question after the other, on one connection where the server keeps it (nginx does, gunicorn here
does not), so the figure is the time of a request when nothing waits. Prints a table of medians over the rounds (of the
median request of each) and one JSON document.
"""

import argparse
import http.client
import json
import os
import pathlib
import ssl
import statistics
import sys
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT / name) for name in ("tests/fleet", "tests/support", "lab", "salt/_utils")]

import debs  # noqa: E402
from machines import Fleet  # noqa: E402
from server import Server  # noqa: E402

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
    server = Server(Fleet(os.environ.get("GLOBOAPP_LAB", "")), options.host)
    seen, deployed = {name: [] for name in VARIANTS}, None
    debs.offer(server, "nginx", "nginx-common")
    try:
        for _ in range(options.rounds):
            for name, (settings, way) in VARIANTS.items():
                if settings != deployed:
                    server.deploy(options.version, **settings)
                    deployed = settings
                requests(server.address, way, 200)  # what is warm is compared
                seen[name].append(statistics.median(requests(server.address, way, options.requests)) * 1000)
    finally:
        server.deploy(options.version)
        debs.take_away(server)
    base = statistics.median(seen["as it is"])
    for name, milliseconds in seen.items():
        middle = statistics.median(milliseconds)
        print(f"{name:18} {middle:6.3f} ms  ({min(milliseconds):.3f} to {max(milliseconds):.3f})  {middle - base:+.3f}")
    print(json.dumps({name: [round(each, 4) for each in values] for name, values in seen.items()}))
    return 0


sys.exit(main())
