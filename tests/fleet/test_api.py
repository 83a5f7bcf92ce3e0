"""salt-api as the way in for CI: real rest_cherrypy and TLS on the master; one account, and only rollouts."""

import json
import os
import secrets
import ssl
import subprocess
import urllib.error
import urllib.request

import pytest
from machines import CHECKOUT
from polling import until
from server import Server

PASSWORD = secrets.token_hex(16)
CONFIG = "/etc/salt/master.d/globoapp-api.conf"
ON = f"""
mkdir -p -m 700 /etc/salt/api
printf 'deploy:%s\\n' $(printf %s {PASSWORD} | sha256sum | cut -d ' ' -f 1) > /etc/salt/api/accounts
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=master \\
    -addext subjectAltName=IP:$(hostname -I | cut -d ' ' -f 1) \\
    -keyout /etc/salt/api/key.pem -out /etc/salt/api/cert.pem 2>/dev/null
cp /srv/globoapp/etc/api/globoapp-api.conf {CONFIG}
systemctl restart salt-master
systemd-run --unit=salt-api --collect /opt/salt/bin/salt-api
"""
OFF = f"systemctl stop salt-api; rm -rf {CONFIG} /etc/salt/api; systemctl restart salt-master; true"


class Api:
    """What CI does: one account, its token, and runner functions by https."""

    def __init__(self, address):
        self.url, self.token = f"https://{address}:8443", ""
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def post(self, path, **body):
        """(status, data) of a POST."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", "X-Auth-Token": self.token}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=120, context=self.context) as answer:
                return answer.status, json.loads(answer.read())["return"][0]
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8", "replace")

    def login(self):
        status, answer = self.post("/login", username="deploy", password=PASSWORD, eauth="file")
        if status == 200:
            self.token = answer["token"]
        return status == 200

    def runner(self, function, client="runner", **kwarg):
        """What a runner function answers: (status, data)."""
        return self.post("/", client=client, fun=function, kwarg=kwarg)

    def ended(self, jid):
        """The summary of the rollout that a job began, once it has ended."""
        return until(lambda: self._phase(jid), 120)

    def _phase(self, jid):
        _, answer = self.runner("globoapp.watch", rollout=jid)
        return answer if isinstance(answer, dict) and "phase" in answer else None


@pytest.fixture(scope="module")
def api(fleet, serving_1_0):
    """An Api of the master, logged in; web1 and web2 serve 1.0."""
    fleet.heal(False, 'globoapp: {"prove": 0, "soak": 0.5}\n')
    fleet.exec("master", "sh", "-ec", ON, check=True)
    made = Api(fleet.address("master"))

    def up():
        try:
            return made.login()
        except OSError:
            return False

    until(up, 60)
    until(lambda: fleet.awake("web1", "web2"), 60)
    yield made
    fleet.exec("master", "sh", "-c", OFF)
    fleet.heal(False)
    until(lambda: fleet.awake("web1", "web2"), 120)
    for name in ("web1", "web2"):
        Server(fleet, name).deploy("1.0")


def test_ci_rolls_out_looks_and_goes_back(api, fleet):
    status, answer = api.runner("globoapp.rollout", "runner_async", version="1.1", target="web*")
    assert (status, set(answer)) == (200, {"jid", "tag"}), answer
    summary = api.ended(answer["jid"])
    assert (summary["phase"], summary["retcode"]) == ("finished", 0), summary
    for name in ("web1", "web2"):
        Server(fleet, name).assert_serves("1.1")
    shown = api.runner("globoapp.rollouts", limit=1)[1][0]
    assert (shown["who"], shown["servers"]) == ("deploy", "2 of 2 have it")
    assert {"web1", "web2"} <= set(api.runner("globoapp.inventory")[1])
    status, back = api.runner("globoapp.revert", rollout=summary["rollout"])
    assert back["phase"] == "went back", back
    Server(fleet, "web1").assert_serves("1.0")


@pytest.mark.parametrize(
    "asked",
    [
        {"client": "runner", "fun": "salt.cmd", "kwarg": {"fun": "test.ping"}},
        {"client": "runner", "fun": "globoapp.heal", "kwarg": {"minion": "web1"}},
        {"client": "runner", "fun": "globoapp.forget", "kwarg": {"host": "web1"}},
        {"client": "runner", "fun": "globoapp_watch.tend"},
        {"client": "runner", "fun": "state.orchestrate", "kwarg": {"mods": "x"}},
        {"client": "runner_async", "fun": "saltutil.kill_all_jobs"},
        {"client": "local", "tgt": "*", "fun": "test.ping"},
        {"client": "local_async", "tgt": "*", "fun": "state.apply", "arg": ["globoapp"]},
        {"client": "wheel", "fun": "key.list_all"},
        {"client": "ssh", "tgt": "*", "fun": "test.ping"},
    ],
    ids=lambda asked: f"{asked['client']} {asked['fun']}",
)
def test_the_account_can_run_nothing_else(api, asked):
    status, answer = api.post("/", **asked)
    assert status in (400, 401, 403, 500) or "not authorized" in str(answer).lower(), (status, answer)


@pytest.mark.parametrize(
    ("kwarg", "said"),
    [
        ({"target": "*"}, "deploy may roll out to web* only"),
        ({"target": "web*", "pillar": {"user": "root"}}, "pillar is unknown"),
        ({"target": "web*", "version": "../1"}, "version"),
        ({"target": "web*", "version": {"a": 1}}, "version"),
        ({"target": "web*", "app": "nope"}, "nope"),
    ],
    ids=["another target", "pillar", "a path", "a mapping", "an app that is none"],
)
def test_and_reach_nothing_else(api, fleet, kwarg, said):
    fleet.exec("master", "sh", "-c", "touch /etc/salt/pki/master/minions/db1")  # one more that is accepted
    before = [len(Server(fleet, name).ledger()) for name in ("web1", "web2")]
    try:
        status, answer = api.runner("globoapp.rollout", **{"version": "1.1", **kwarg})
    finally:
        fleet.exec("master", "rm", "-f", "/etc/salt/pki/master/minions/db1")
    assert said in str(answer), (status, answer)
    assert [len(Server(fleet, name).ledger()) for name in ("web1", "web2")] == before


def test_the_events_of_the_master_are_not_shown(api):
    request = urllib.request.Request(f"{api.url}/events", headers={"X-Auth-Token": api.token})
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=10, context=api.context)


def test_the_script_of_ci(api, fleet, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text(fleet.exec("master", "cat", "/etc/salt/api/cert.pem").stdout)
    environment = {**os.environ, "SALT_API": api.url, "SALT_API_PASSWORD": PASSWORD, "SALT_API_CA": str(ca)}
    script = CHECKOUT / "etc/api/rollout.py"

    def run(*words):
        done = subprocess.run([script, *words], env=environment, capture_output=True, text=True, timeout=300)
        assert PASSWORD not in done.stdout + done.stderr
        return done

    done = run("1.1", "web*", "batch=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"finished"' in done.stdout
    for name in ("web1", "web2"):
        Server(fleet, name).assert_serves("1.1")
    refused = run("7.7", "web*")
    assert refused.returncode == 1
    assert "not begun" in refused.stdout and "salt://globoapp-7.7.zip" in refused.stdout, refused.stdout


def test_who_has_no_token_has_no_way_in(api):
    stranger = Api(api.url.split("/")[2].split(":")[0])
    assert stranger.runner("globoapp.rollouts")[0] == 401
    assert stranger.post("/login", username="deploy", password="wrong", eauth="file")[0] == 401
