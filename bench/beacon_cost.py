#!/usr/bin/env python3
"""What the beacon costs: processor time of a minion's main process with it and without it, on a server of the fleet.

    lab/fleet up && lab/fleet salt 'web*' state.apply globoapp pillar='{"version": "1.0"}'
    bench/beacon_cost.py --host web1 --seconds 180

Read from /proc/<pid>/stat (utime and stime) over the same time, the minion started afresh before each.
"""

import argparse
import pathlib
import subprocess
import sys
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
CONF, EXTRA = "/etc/salt/master.d/beacon-cost.conf", "/etc/salt/beacon-cost.yaml"


def fleet(*words, check=True):
    """Runs lab/fleet and returns its output (str)."""
    done = subprocess.run(["lab/fleet", *words], cwd=CHECKOUT, capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(f"lab/fleet {' '.join(words)}: {done.stderr or done.stdout}")
    return done.stdout.strip()


def shell(host, script, check=True):
    """Runs a shell script on a host and returns its output."""
    return fleet("exec", host, "--", "sh", "-c", script, check=check)


def ticks(host):
    """Returns the clock ticks (1/100 s) that the minion's processes have used, those of ended jobs left out."""
    script = (
        "systemctl show --property MainPID --value salt-minion | { read m; echo $m; cat /proc/$m/task/$m/children; }"
    )
    pids = shell(host, script).split()
    # The main process, and below it the one that does the work; jobs come and go below that one.
    used = shell(host, f"cat {' '.join(f'/proc/{pid}/stat' for pid in pids[:2])}").splitlines()
    return sum(sum(map(int, line.rpartition(")")[2].split()[11:13])) for line in used)


def measure(host, seconds, with_beacon):
    """Returns percent of one core."""
    shell("master", f"echo '{'{}' if with_beacon else '{beacons: {enabled: false}}'}' > {EXTRA}")
    shell(host, "systemctl restart salt-minion")
    deadline = time.monotonic() + 120
    while not fleet("salt", "--out=txt", host, "test.ping", check=False).endswith("True"):
        if time.monotonic() > deadline:
            sys.exit(f"{host} does not come back")
    fleet("salt", host, "saltutil.refresh_pillar", "wait=True")
    before, began = ticks(host), time.monotonic()
    time.sleep(seconds)
    return (ticks(host) - before) / (time.monotonic() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="web1")
    parser.add_argument("--seconds", type=int, default=180, help="of each of the two measurements (default 180)")
    args = parser.parse_args()
    shell(
        "master",
        f"echo '{{}}' > {EXTRA}; echo 'ext_pillar: [cmd_yaml: cat {EXTRA}]' > {CONF}; systemctl restart salt-master",
    )
    try:
        found = [measure(args.host, args.seconds, with_beacon) for with_beacon in (True, False)]
    finally:
        shell("master", f"rm -f {EXTRA} {CONF}; systemctl restart salt-master")
        shell(args.host, "systemctl restart salt-minion")
    print(
        f"with the beacon {found[0]:.2f} %, without {found[1]:.2f} %: it costs {found[0] - found[1]:.2f} % of one core"
    )


main()
