"""Waiting for what comes by itself."""

import time


def until(check, timeout=60):
    """Polls until check() returns something true, which it returns; fails the test when it never does."""
    begin = time.monotonic()
    while True:
        asked = time.monotonic()
        if found := check():
            return found
        now = time.monotonic()
        assert now < begin + timeout, f"not within {timeout} s: {check}"
        time.sleep(max(0.05, now - asked))  # what is costly to ask is asked half of the time
