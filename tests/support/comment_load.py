#!/usr/bin/env python3
"""Writes comments without end and remembers which ones the API acknowledged; tells later which of them are gone.

As a program:  comment_load.py write --url http://web1:8000 --record acknowledged.json [--seconds 60]
               comment_load.py verify --url http://web1:8000 --record acknowledged.json
`write` ends at SIGINT, SIGTERM or after --seconds. `verify` exits with 1 where an acknowledged comment is gone.
"""

import argparse
import collections
import json
import signal
import sys
import threading
import uuid
from pathlib import Path

import requests


class CommentLoad:
    """Writers (threads) that post comments to url until stop(); acknowledged and failures say what came of it."""

    def __init__(self, url, writers=8, contents=10):
        """contents is the number of content_ids that the comments are spread over."""
        self.url = url.rstrip("/")
        self.run = uuid.uuid4().hex[:8]
        self.writers = writers
        self.contents = contents
        self.acknowledged = []  # (content_id, comment) of each comment that got its 200
        self.failures = collections.Counter()  # what came instead of an acknowledgement -> how often
        self.ended = threading.Event()
        self.threads = []

    def start(self):
        """Starts the writers; returns self."""
        self.threads = [threading.Thread(target=self.write, args=(number,)) for number in range(self.writers)]
        for thread in self.threads:
            thread.start()
        return self

    def write(self, number):
        """Posts comments until the end, each only once: a comment without an answer may or may not be stored."""
        count = 0
        while not self.ended.is_set():
            count += 1
            content_id = f"load-{self.run}-{count % self.contents}"
            comment = f"{number}-{count}"
            body = {"email": "load@example.com", "comment": comment, "content_id": content_id}
            try:
                answer = requests.post(f"{self.url}/api/comment/new", json=body, timeout=30)
            except requests.RequestException as error:
                self.failures[type(error).__name__] += 1
                self.ended.wait(0.01)  # a server that is away refuses thousands a second
                continue
            if answer.status_code == 200 and answer.json()["status"] == "SUCCESS":
                self.acknowledged.append((content_id, comment))
            else:
                self.failures[f"HTTP {answer.status_code}"] += 1

    def stop(self):
        """Ends the writers and waits for them; returns the acknowledged comments."""
        self.ended.set()
        for thread in self.threads:
            thread.join()
        return self.acknowledged


def lost(url, acknowledged):
    """Takes (content_id, comment) pairs; returns those that url does not list exactly once, as a list of pairs."""
    listed = collections.Counter()
    for content_id in {content_id for content_id, _ in acknowledged}:
        following = f"/api/comment/list/{content_id}"
        while following:  # from 3.0 on, a list has pages
            answer = requests.get(url.rstrip("/") + following, timeout=30)
            if answer.status_code == 404:
                break
            answer.raise_for_status()
            listed.update((content_id, entry["comment"]) for entry in answer.json())
            following = answer.links.get("next", {}).get("url")
    return [pair for pair in map(tuple, acknowledged) if listed[pair] != 1]


def main(argv=None):
    """Writes or verifies, as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["write", "verify"])
    parser.add_argument("--url", required=True, help="where the API answers")
    parser.add_argument("--record", type=Path, required=True, help="file with the acknowledged comments (JSON)")
    parser.add_argument("--seconds", type=float, help="how long to write")
    parser.add_argument("--writers", type=int, default=8)
    options = parser.parse_args(argv)
    if options.action == "verify":
        acknowledged = json.loads(options.record.read_text())
        gone = lost(options.url, acknowledged)
        print(f"{len(acknowledged)} acknowledged, {len(gone)} of them lost: {gone[:5]}")
        return 1 if gone or not acknowledged else 0
    load = CommentLoad(options.url, options.writers)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: load.ended.set())
    load.start()
    load.ended.wait(options.seconds)
    acknowledged = load.stop()
    options.record.write_text(json.dumps(acknowledged))
    print(f"{len(acknowledged)} acknowledged; failures: {dict(load.failures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
