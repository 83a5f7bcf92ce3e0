"""Clients that hammer a server (bench/load.py)."""

import json
import select
import signal
import subprocess
import sys

import pytest
from machines import CHECKOUT


class Load:
    """Clients of some addresses while a `with` block runs; afterwards `seen` is the report."""

    def __init__(self, *urls, rate=100, connections=32, at_least=0):
        self.command = [sys.executable, str(CHECKOUT / "bench/load.py"), *urls, "--announce"]
        self.command += [f"--rate={rate}", f"--connections={connections}", "--samples"]
        self.command += [f"--at-least={at_least}"]
        self.urls, self.seen = urls, None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        if not select.select([self.process.stdout], [], [], 60)[0]:
            self.process.kill()
            self.process.communicate()
            pytest.fail(f"nothing answers at {' or '.join(self.urls)}")
        assert self.process.stdout.readline() == "started\n"
        return self

    def __exit__(self, kind, error, trace):
        self.process.send_signal(signal.SIGTERM)
        self.seen = json.loads(self.process.communicate(timeout=600)[0])

    def assert_nothing_lost(self):
        """Fails the test when a request was lost, or when there were none."""
        assert self.seen["requests"] > 0
        assert self.seen["failed"] == 0, self.seen["kinds"]
