"""Rollouts of a fleet, as a person on its master starts and breaks them."""

import json
import re

import pytest
from polling import until


def site(**settings):
    """The pillar of a site in which trial and soak take a moment."""
    return f"globoapp: {json.dumps({'prove': 0, 'soak': 0.5, **settings})}\n"


class Rolling:
    """`salt-run globoapp.rollout` in a process of its own; `lines` is what it has said."""

    def __init__(self, fleet, *words):
        self.fleet, self.lines = fleet, []
        self.process = fleet.start("salt-run", "globoapp." + words[0], *words[1:], stdout=-1, stderr=-2, text=True)

    def until(self, pattern):
        """Reads on to the line that matches, and returns the match; fails the test where there is none."""
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if found := re.search(pattern, line):
                return found
        return pytest.fail(f"no line like {pattern}:\n" + "\n".join(self.lines))

    def begun(self, server):
        """Waits until a server is in its deploy; returns itself."""
        self.until("rolling:")
        until(lambda: deploying(server))
        return self

    def end(self):
        """The exit code; `text` is all that was said."""
        self.lines += self.process.stdout.read().splitlines()
        return self.process.wait(120)

    @property
    def text(self):
        return "\n".join(self.lines)

    @property
    def id(self):
        return re.search(r"\[(\S+)\]", self.text)[1]


def rollout(fleet, version="1.1", *words):
    """A rollout to all web servers that has begun."""
    return Rolling(fleet, "rollout", f"version={version}", "target=web*", *words)


def whole(fleet, *words):
    """A rollout that is at its end: (exit code, what it said)."""
    rolling = Rolling(fleet, *words)
    return rolling.end(), rolling


def deploying(server):
    """Whether a server is in its deploy."""
    return server.call("globoapp.deploying") is not None


def drivers(fleet, number):
    """Sends a signal to who drives a rollout, on the master."""
    fleet.exec("master", "pkill", f"-{int(number)}", "-f", "salt-run.*globoapp.r", check=True)
