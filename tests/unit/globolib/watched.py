"""A server as its beacon sees it, below the test's directory: a ledger, a release, workers, and a clock that waits."""

import json
import os

from globolib.layout import Layout
from globolib.monitor.probes import Memory

MANIFEST = {
    "name": "globoapp",
    "version": "1.0",
    "wsgi": "api:app",
    "health": {"path": "/", "status": 200, "json": {"status": "UP"}},
}


class Clock:
    """Stands in for the module `time`: it goes on when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        """Seconds."""
        return self.now


class Watched:
    """`memory` is what the beacon remembers of it."""

    def __init__(self, directory, port=1):
        self.layout = Layout("globoapp", str(directory / "root"), str(directory / "units"), str(directory / "run"))
        for path in (
            directory / "run",
            directory / "units",
            directory / "cache",
            directory / "root/.globoapp/releases",
        ):
            path.mkdir(parents=True, exist_ok=True)
        self.port = port
        self.memory = Memory(self.layout, str(directory / "cache"))

    def ledger(self, *ids, version="1.0", result="success"):
        """Writes the ledger anew: a line for each id."""
        fields = {"version": version, "result": result, "address": "127.0.0.1", "port": self.port}
        lines = [json.dumps({"id": name, "time": "2026-01-01T00:00:00.000Z", **fields}) for name in ids]
        with open(self.layout.ledger, "w") as handle:
            handle.writelines(f"{line}\n" for line in lines)

    def release(self):
        """Puts PACK1_0 on the server."""
        os.makedirs(self.layout.release("PACK1_0"))
        record = {"version": "1.0", "sha256": "", "lock": "", "virtualenv": "", "contents": {}, "manifest": MANIFEST}
        with open(self.layout.record("PACK1_0"), "w") as handle:
            json.dump(record, handle)

    def worker(self, pid):
        """Lets a process say that it has loaded the app."""
        os.makedirs(self.layout.runtime("PACK1_0"), exist_ok=True)
        open(os.path.join(self.layout.runtime("PACK1_0"), f"ready-{pid}"), "w").close()
