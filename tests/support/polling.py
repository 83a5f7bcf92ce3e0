"""Waiting for what comes by itself."""

import time


def until(check, timeout=60):
    """Polls until check() returns something true, which it returns; fails the test when it never does."""
    deadline = time.monotonic() + timeout
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {check}"
        time.sleep(0.05)
    return found
