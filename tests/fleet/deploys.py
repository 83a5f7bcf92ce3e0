"""Deploys by the operator's own commands, for tests: what was said, and what a host is like before and after."""

import json
import urllib.error
import urllib.request

# No time for proof and soak, where a test is about something else.
QUICK = {"prove": 0, "soak": 0}

# What a deploy could touch: files with owner, mode, size, time of change and target; units. Not the lock, where each
# run writes its name.
LISTING = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /usr -o -path /opt/salt \
    -o -path /var/cache -o -path /var/log -o -path /var/tmp -o -path /var/lib/systemd -o -path /etc/salt/minion.d \
    -o -path /opt/globoHUB/desafio/.globoapp/lock \) -prune \
    -o -not -path / -printf '%p %u:%g %m %s %C@ %l\n' | sort
systemctl list-units --all --no-legend --plain 'globoapp*'
systemctl list-unit-files --no-legend 'globoapp*' || true
"""


class Run:
    """One state run: `code` (exit code), `states` ({minion: [state returns in their order]}), `text` (all it said)."""

    def __init__(self, done):
        self.code = done.returncode
        self.text = done.stdout + done.stderr
        self.states = {}
        # One document for each minion, one after the other: with --static the exit code is always 0.
        rest = done.stdout.strip()
        while rest:
            try:
                answers, end = json.JSONDecoder().raw_decode(rest)
            except ValueError:
                raise AssertionError(f"no JSON: {self.text}") from None
            rest = rest[end:].strip()
            for minion, answer in answers.items():
                assert isinstance(answer, dict), f"{minion}: {answer}"
                self.states[minion] = sorted(answer.values(), key=lambda one: one["__run_num__"])

    def changed(self, minion):
        """The IDs of the states that changed something, or would."""
        return [one["__id__"] for one in self.states[minion] if one["changes"]]

    def failed(self, minion):
        """{ID: comment} of the states that are red."""
        return {one["__id__"]: one["comment"] for one in self.states[minion] if one["result"] is False}

    def results(self, minion):
        """The set of results: {True}, {None, True} ..."""
        return {one["result"] for one in self.states[minion]}

    def green(self):
        """Fails the test unless every state of every minion succeeded."""
        assert self.code == 0, {minion: self.failed(minion) for minion in self.states}
        assert all(self.results(minion) == {True} for minion in self.states), self.states
        return self


def apply(fleet, target, *args, timeout=120, **pillar):
    """state.apply globoapp with a pillar of the command line; `globoapp` in it is QUICK unless told otherwise."""
    pillar = {"globoapp": QUICK, **pillar}
    command = ["state.apply", "globoapp", *args, f"pillar={json.dumps(pillar)}"]
    return Run(fleet.salt("--out=json", f"--timeout={timeout}", target, *command))


def highstate(fleet, target, *args, timeout=120):
    """state.highstate, as the schedule runs it."""
    return Run(fleet.salt("--out=json", f"--timeout={timeout}", target, "state.highstate", *args))


def listing(fleet, host):
    """What is on a host: a set of lines, each a file or a unit."""
    return set(fleet.exec(host, "sh", "-c", LISTING, check=True).stdout.splitlines())


def get(fleet, host, path="/api/comment/list/globoapp-health-check", port=8000):
    """(status, body) of a GET from outside the host; (None, why) where there is no answer."""
    try:
        with urllib.request.urlopen(f"http://{fleet.address(host)}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return None, str(error)


def serves(fleet, host, version, port=8000):
    """Fails the test unless the host answers as that version does."""
    status, body = get(fleet, host, port=port)
    assert (status, json.loads(body)["status"]) == (404, "NOT-FOUND")
    status, body = get(fleet, host, "/status/", port)
    seen = json.loads(body)["version"] if status == 200 else "1.0"
    assert seen == version


def ledger(fleet, host):
    """The lines of a host's ledger, oldest first."""
    text = fleet.exec(host, "cat", "/opt/globoHUB/desafio/deployments.jsonl", check=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def main_pid(fleet, host, release):
    """The main process of a release (str); "0" when it does not run."""
    unit = f"globoapp@{release}.service"
    return fleet.exec(host, "systemctl", "show", "-P", "MainPID", unit, check=True).stdout.strip()
