"""One web server of a fleet: deploys by the operator's own commands, and what it is like before and after."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field

from polling import until

ROOT = "/opt/globoHUB/desafio"
# No time for trial and soak, where a test is about something else.
QUICK = {"prove": 0, "soak": 0}

# A minion that is told to end takes some seven seconds for it.
MINION_OFF = "systemctl kill --signal=KILL salt-minion; systemctl stop salt-minion"

# All that the tree puts on a server, so that a test begins with a server that has seen nothing.
WIPE = f"""
systemctl stop 'globoapp*.socket' 'globoapp*.service' 2>/dev/null
mountpoint -q {ROOT} && umount -l {ROOT}
rm -rf {ROOT} /etc/systemd/system/globoapp* /etc/systemd/system/multi-user.target.wants/globoapp@* /var/lib/globoapp
systemctl daemon-reload
systemctl reset-failed
userdel globoapp 2>/dev/null
true"""

# What a deploy could touch: files with owner, mode, size, time of change and target; units. Not the lock, where each
# run writes its name.
LISTING = f"""
find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /usr -o -path /opt/salt \\
    -o -path /var/cache -o -path /var/log -o -path /var/tmp -o -path /var/lib/systemd -o -path /etc/salt/minion.d \\
    -o -path {ROOT}/.globoapp/lock \\) -prune \\
    -o -not -path / -printf '%p %u:%g %m %s %C@ %l\\n' | sort
systemctl list-units --all --no-legend --plain 'globoapp*'
systemctl list-unit-files --no-legend 'globoapp*' || true
"""

# What a deploy leaves while it is under way, and must not leave for ever.
LEFT = f"""
cd {ROOT} && find . -xdev \\( -name '.incoming-*' -o -name '.trash-*' -o -name '.build-*' -o -name '.old-*' \\
    -o -name '*.part' -o -name '.write-*' -o -name deploying.json -o -path './virtualenvs/*.lock' \\) \\
    -not -path './virtualenvs/[0-9a-f]*/*'
for v in virtualenvs/[0-9a-f]*; do [ -d "$v" ] && [ ! -e "$v/.complete" ] && echo "$v is not complete"; done
for r in PACK*; do [ -e .globoapp/releases/$r.json ] || echo "$r has no record"; done
find /etc/systemd/system -name '.globoapp*' -o -name '.write-*'
systemctl list-units --plain --no-legend 'globoapp-candidate@*'
true"""


@dataclass
class Run:
    """A run of states on one server: the command's exit code, the states' returns in their order, all that was said."""

    code: int
    states: list = field(repr=False)
    text: str

    @property
    def changed(self):
        """The IDs of the states that changed something, or would."""
        return [one["__id__"] for one in self.states if one["changes"]]

    @property
    def changes(self):
        """All changes as one text."""
        return str([one["changes"] for one in self.states])

    @property
    def failed(self):
        """The comments of the states that failed by themselves, as one text."""
        return "\n".join(
            str(one["comment"])
            for one in self.states
            if one["result"] is False and "requisite failed" not in str(one["comment"])
        )

    @property
    def results(self):
        """The set of results: {True}, {None, True} ..."""
        return {one["result"] for one in self.states}

    @property
    def ids(self):
        """The IDs of the states in their order, each once."""
        return list(dict.fromkeys(one["__id__"] for one in self.states))

    def green(self):
        """Fails the test unless every state succeeded; returns the Run."""
        assert (self.code, self.results) == (0, {True}), self.failed or self.text
        return self


def all_green(runs):
    """Fails the test unless every state of each {minion: Run} succeeded, saying what each server said; returns them."""
    said = "\n".join(f"{minion}: exit code {run.code}\n{run.failed or run.text}" for minion, run in runs.items())
    assert {(run.code, *sorted(run.results, key=str)) for run in runs.values()} == {(0, True)}, said
    return runs


def release_of(version):
    """The release of a version: 1.0 is PACK1_0."""
    return "PACK" + version.replace(".", "_")


def pillar_of(version=None, port=None, app=None, pillar=None, **settings):
    """The pillar of a deploy: QUICK, other settings, and more pillar. Without a version, the deployed one stays."""
    said = {"globoapp": {**QUICK, **settings}, "app": app, "version": version, "port": port}
    return {key: value for key, value in said.items() if value is not None} | (pillar or {})


def words(target, version=None, **wanted):
    """The words of `lab/fleet` that deploy, as a person types them."""
    pillar = json.dumps(pillar_of(version, **wanted))
    return ["salt", "--out=json", "--timeout=120", target, "state.apply", "globoapp", f"pillar={pillar}"]


def run_of(code, answer):
    """The Run of what a minion returned: states, or words."""
    states = answer.values() if isinstance(answer, dict) else []
    comments = [str(one["comment"]) for one in states] or [str(answer)]
    return Run(code, sorted(states, key=lambda one: one["__run_num__"]), "\n".join(comments))


def runs(done):
    """{minion: Run} of a finished command with --out=json; its exit code is that of all minions."""
    found, rest, text = {}, done.stdout.strip(), done.stdout + done.stderr
    # One document for each minion, one after the other: with --static the exit code is always 0.
    while rest:
        try:
            answers, end = json.JSONDecoder().raw_decode(rest)
        except ValueError:
            raise AssertionError(f"no JSON: {text}") from None
        rest = rest[end:].strip()
        found |= {minion: run_of(done.returncode, answer) for minion, answer in answers.items()}
    return found


def ask(fleet, target, function, *args, test=False, **kwargs):
    """Has the master run states, without a second for `salt` to begin: {minion: Run}, each with its own exit code."""
    kwargs |= {"test": True} if test else {}
    answers = fleet.ask(target, function, *args, kwarg=kwargs, timeout=120, full_return=True)
    return {minion: run_of(one.get("retcode", 1), one.get("ret")) for minion, one in answers.items()}


def apply(fleet, target, version=None, test=False, **wanted):
    """state.apply globoapp on several servers: {minion: Run}."""
    return ask(fleet, target, "state.apply", "globoapp", test=test, pillar=pillar_of(version, **wanted))


def highstate(fleet, target, **more):
    """state.highstate, as the schedule runs it: {minion: Run}."""
    return ask(fleet, target, "state.highstate", **more)


class Server:
    """One web server."""

    def __init__(self, fleet, name):
        self.fleet, self.name = fleet, name
        self.address = fleet.address(name)

    # What an operator does.

    def apply(self, version=None, **settings):
        """Deploys, and returns the Run, whatever came of it."""
        return apply(self.fleet, self.name, version, **settings).get(self.name) or Run(1, [], "no answer")

    def deploy(self, version, **settings):
        """Deploys and fails the test when that fails; returns the Run."""
        return self.apply(version, **settings).green()

    def highstate(self, **more):
        """state.highstate: the Run."""
        return highstate(self.fleet, self.name, **more)[self.name]

    def call(self, function, *args):
        """Runs a function by salt and returns its data, None when there was no answer; the exit code is left aside."""
        return self.fleet.ask(self.name, function, *args).get(self.name)

    def code(self, function, *args):
        """Runs a function by salt and returns the exit code of the command."""
        return self.fleet.salt(self.name, function, *args).returncode

    def sh(self, script, check=True):
        """Runs a shell script on the server and returns its output."""
        return self.fleet.exec(self.name, "sh", "-c", script, check=check).stdout.strip()

    def wipe(self):
        """Makes the server one that has seen no deploy."""
        self.sh(WIPE)
        # By the minion itself: one that goes on believing in a grain which is gone from its file does not set it again.
        if self.call("grains.get", "globoapp"):
            self.call("grains.delkey", "globoapp", "force=True")
            until(lambda: not self.call("grains.get", "globoapp"))

    def restart_minion(self, between="", timeout=60):
        """Ends the minion, runs a shell script, and starts it again; returns when it answers."""
        self.sh(f"{MINION_OFF}\n{between}\nsystemctl start salt-minion")
        until(lambda: self.fleet.awake(self.name), timeout)

    # What a client sees.

    def url(self, port=8000):
        """Where the service is, from this side."""
        return f"http://{self.address}:{port}"

    def listeners(self):
        """The addresses at which anything of the app listens, sorted."""
        return sorted(self.sh("ss -Hltn 'sport >= 8000 and sport < 8100' | awk '{print $4}'").splitlines())

    def get(self, path="/api/comment/list/nobody-commented", port=8000):
        """(status, body) of a GET from outside; (None, why) where there is no answer."""
        try:
            with urllib.request.urlopen(self.url(port) + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return None, str(error)

    def answers(self, port=8000):
        """Whether the API answers as it does for a content that nobody commented."""
        status, body = self.get(port=port)
        return status == 200 or (status == 404 and json.loads(body)["status"] == "NOT-FOUND")

    def version(self, port=8000):
        """The version that answers; 1.0 cannot tell its own."""
        status, body = self.get("/status/", port)
        assert status in (200, 404), body
        return json.loads(body)["version"] if status == 200 else "1.0"

    # What is on it.

    def ledger(self):
        """The lines of the ledger, oldest first."""
        return [json.loads(line) for line in self.sh(f"cat {ROOT}/deployments.jsonl", check=False).splitlines()]

    def listing(self):
        """All that a deploy could touch: a set of lines, each a file or a unit."""
        return set(self.sh(LISTING).splitlines())

    def main_pid(self, version):
        """The main process of a version's release (str); "0" when it does not run."""
        return self.sh(f"systemctl show -P MainPID globoapp@{release_of(version)}.service")

    def left(self):
        """What a deploy leaves while it is under way, and must not leave for ever: a list of names."""
        return self.sh(LEFT).splitlines()

    def assert_answers(self, version, port=8000):
        """Fails the test unless the network is answered as that version does."""
        assert self.answers(port)
        assert self.version(port) == version

    def assert_serves(self, version, but=()):
        """Fails the test unless `version` is what is deployed, serves and is recorded, and nothing is left about.

        but: the differences that `status` may tell all the same.
        """
        status = self.call("globoapp.status")
        assert (status["version"], set(status["differences"]) - set(but)) == (version, set()), status
        assert status["current"] == release_of(version)
        assert status["running"] == status["at_boot"] == [release_of(version)]
        left = self.left()
        assert left == [], left
