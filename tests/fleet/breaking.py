"""Ways to break a server, what its master then knows, and how long it lasts: for tests and for bench/faults.py."""

import time
from datetime import datetime

from polling import until
from server import ROOT

UNIT, SOCKET = "globoapp@PACK1_0.service", "globoapp-0.0.0.0:8000.socket"
BREAKS = {
    "gunicorn killed": f"systemctl kill --signal=KILL {UNIT}",
    "unit stopped": f"systemctl stop {UNIT}",
    "unit masked": f"systemctl mask {UNIT}; systemctl kill --signal=KILL {UNIT}; systemctl stop {UNIT}",
    "unit masked until the next boot": f"systemctl mask --runtime --now {UNIT}",
    "unit file deleted": f"rm /etc/systemd/system/globoapp@.service; systemctl stop {UNIT}; systemctl daemon-reload",
    "socket gone": f"systemctl stop {SOCKET} {UNIT}; rm /etc/systemd/system/{SOCKET}; systemctl daemon-reload",
    "flask removed": f"rm -r {ROOT}/virtualenvs/*/lib/*/site-packages/flask; systemctl kill --signal=KILL {UNIT}",
    "api.py removed": f"rm {ROOT}/PACK1_0/api.py; systemctl kill --signal=KILL {UNIT}",
}


class Master:
    """The master of the fleet."""

    def __init__(self, fleet):
        self.fleet = fleet

    def run(self, *words):
        """Runs a runner and returns its data."""
        return self.fleet.runner(*words)

    def sh(self, script):
        return self.fleet.exec("master", "sh", "-c", script, check=True).stdout.strip()

    def open(self, host):
        """Returns the open alerts of a host: {probe: alert}."""
        return {one["probe"]: one for one in self.run("globoapp.alerts", f"host={host}")["open"]}

    def past(self, host, since):
        """Returns the alerts of a host that were open at or after a time (seconds), oldest first."""
        found = self.run("globoapp.alerts", f"host={host}", "from=2026-01-01")["history"]
        return [one for one in found if seconds(one["since"]) >= since]


def seconds(text):
    """Returns a time of a record as seconds since the epoch."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def outlast(web, master, fault):
    """
    Breaks a server (Server) that serves and waits until it is as it was.

    Returns {"alert", "healed"}: seconds from the break to the alert, None where systemd was quicker than the probes,
    and to the first good answer.
    """
    until(lambda: "api" not in master.open(web.name))
    # The states of the healing before end after it serves again; until then the beacon is silent.
    until(lambda: web.call("globoapp.deploying") is None)
    master.run("globoapp.heal", web.name, "again=True")
    broken = float(web.sh(f"{{ {BREAKS[fault]}; }} >/dev/null 2>&1; date +%s.%N").splitlines()[-1])
    until(web.answers, 120)
    healed = time.time() - broken
    until(lambda: web.call("globoapp.status")["differences"] == [], 120)
    alerts = [seconds(one["since"]) - broken for one in master.past(web.name, broken) if one["probe"] == "api"]
    return {"alert": alerts[0] if alerts else None, "healed": healed}
