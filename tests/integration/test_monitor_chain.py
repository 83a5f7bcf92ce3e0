"""Beacon, event, reaction, runner, webhook: the whole chain with real daemons, configured as it is shipped."""

import functools
import json
import os
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polling
import pytest
import salt.loader
import yaml

ROOT = Path(__file__).resolve().parents[2]
NAME = "globoitest"

# In the copy of the tree that these daemons use. Healing would deploy to the machine that runs this test: here it only
# says that it was asked. And no systemd runs the release whose health is asked.
STUBS = {
    "heal.py": """

def heal(minion):
    answer = {"result": "failed", "comment": "a test"}
    minion.send(f"globoapp/heal/{minion.id}", answer)
    return answer


def tidy(minion, days):
    return {}
""",
    "answers.py": """

def health(minion, timeout=None, deadline=None):
    return {"healthy": True, "version": "1.0", "latency_ms": 1.0}
""",
}


# Daemons that start and reconnect.
until = functools.partial(polling.until, timeout=90)


def server(handle):
    """A server on loopback in a thread; handle(method, body) returns (status, body)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text = handle(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET

        def log_message(self, *args):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    return made


class Server:
    """A release that stands on this machine as far as monitoring can see: a ledger, a record, a worker, an answer."""

    def __init__(self, directory):
        self.well, self.told = True, []
        self.api = server(lambda body: (200, b'{"status": "UP"}') if self.well else (500, b"down"))
        self.hook = server(lambda body: self.told.append(json.loads(body)) or (200, b""))
        self.root, self.runtime = directory / "root", Path(f"/run/{NAME}/PACK1_0")
        (self.root / "PACK1_0").mkdir(parents=True)
        (self.root / ".globoapp/releases").mkdir(parents=True)
        health = {"path": "/", "status": 200, "json": {"status": "UP"}}
        manifest = {"name": NAME, "version": "1.0", "wsgi": "api:app", "health": health}
        record = {"version": "1.0", "sha256": "", "lock": "", "virtualenv": "", "contents": {}, "manifest": manifest}
        (self.root / ".globoapp/releases/PACK1_0.json").write_text(json.dumps(record))
        self._forget()  # what a run that was killed has left
        self.runtime.mkdir(parents=True)
        (self.runtime / f"ready-{os.getpid()}").touch()
        self.deploy("a" * 32, "1.0")

    def deploy(self, identity, version):
        line = {
            "id": identity, "time": f"2026-01-01T00:00:0{len(self.ledger())}.000Z", "result": "success",
            "action": "deploy", "version": version, "name": NAME, "bind": "127.0.0.1", "address": "127.0.0.1",
            "port": self.api.server_address[1], "host": "web1",
        }  # fmt: skip
        with (self.root / "deployments.jsonl").open("a") as ledger:
            ledger.write(json.dumps(line) + "\n")

    def ledger(self):
        path = self.root / "deployments.jsonl"
        return path.read_text().splitlines() if path.exists() else []

    def _forget(self):
        shutil.rmtree(self.runtime.parent, ignore_errors=True)
        Path(f"/run/{NAME}-looked").unlink(missing_ok=True)

    def close(self):
        self._forget()
        for each in (self.api, self.hook):
            each.shutdown()
            each.server_close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("a worker's mark is in /run: this needs root")
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tree with the stubs."""
    copy = tmp_path_factory.mktemp("tree") / "salt"
    shutil.copytree(ROOT / "salt", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in STUBS.items():
        with (copy / "_utils/globolib" / name).open("a") as module:
            module.write(text)
    return copy


def shipped_pillar():
    """Pillar as it is shipped, without what only a master's renderer can fill in."""
    text = (ROOT / "pillar/globoapp.sls").read_text()
    return yaml.safe_load(re.sub(r"{{.*?}}", "x", re.sub(r"(?s){%.*?%}", "", text)))


@pytest.fixture(scope="module")
def master(salt_factories, watched, tree, tmp_path_factory):
    """A master with the reactors and the engine as they are shipped; pillar as it is shipped, and faster."""
    shipped = yaml.safe_load((ROOT / "etc/master.d/reactor.conf").read_text())
    directory = tmp_path_factory.mktemp("pillar")
    pillar = shipped_pillar()
    assert pillar["beacons"]["globoapp"] == [{"interval": 1}]
    del pillar["globoapp_code"]
    pillar["globoapp"].update(
        name=NAME, root=str(watched.root), notify={"url": f"http://127.0.0.1:{watched.hook.server_address[1]}/"}
    )
    pillar["globoapp"]["monitor"] = {"cpu": False, "memory": False, "disk": False, "api": {"samples": 2}}
    assert pillar["schedule"]["globoapp-health"]["function"] == "globoapp.health"
    pillar["schedule"] = {"globoapp-health": {**pillar["schedule"]["globoapp-health"], "seconds": 3}}
    (directory / "top.sls").write_text("base:\n  '*':\n    - app\n")
    (directory / "app.sls").write_text(yaml.safe_dump(pillar))
    loaded = yaml.safe_load((ROOT / "etc/master.d/globoapp.conf").read_text())["module_dirs"]
    assert loaded == ["/srv/globoapp/salt"], "that alone brings runners, engine and package"
    shipped.update(
        interface="127.0.0.1", module_dirs=[str(tree)], file_roots={"base": [str(tree)]},
        pillar_roots={"base": [str(directory)]}, worker_threads=3,
    )  # fmt: skip
    factory = salt_factories.salt_master_daemon("globoapp-master", defaults={}, overrides=shipped)
    with factory.started():
        yield factory


@pytest.fixture(scope="module")
def minion(master, watched, tree):
    overrides = {
        "module_dirs": [str(tree)], "loop_interval": 1, "enable_fqdns_grains": False,
        # A beacon of the machine's own: pillar's stands beside it or in its place, and works.
        "beacons": {"status": [{"interval": 3600}]},
    }  # fmt: skip
    factory = master.salt_minion_daemon("web1", defaults={}, overrides=overrides)
    with factory.started():
        yield factory


@pytest.fixture(scope="module")
def run(master, minion):
    """Calls a runner with the master's configuration and records; in this process, as a reactor does."""
    opts = master.config.copy()
    runners = salt.loader.runner(opts, context={})
    return lambda name, *args, **kwargs: runners[name](*args, **kwargs)


def state(run, probe):
    return {one["probe"]: one for one in run("globoapp.alerts")["open"]}.get(probe)


def test_this_is_the_salt_that_is_meant(master, minion):
    import salt.version

    assert master.salt_cli().run("test.version", minion_tgt="web1").data == salt.version.__version__


def test_from_a_dead_api_to_the_webhook_and_back(run, watched):
    until(lambda: run("globoapp.inventory"))
    assert run("globoapp.alerts") == {"open": []}
    watched.well = False
    until(lambda: any("[ALERT] web1 api" in one["text"] for one in watched.told))
    alert = state(run, "api")
    assert "status 500 instead of 200" in alert["message"]
    watched.well = True
    until(lambda: any("[clear] web1 api" in one["text"] for one in watched.told))
    assert run("globoapp.alerts")["open"] == []
    history = run("globoapp.alerts", **{"from": "2026-01-01"})["history"]
    assert [(one["probe"], one["id"]) for one in history] == [("api", alert["id"])]
    alerts = [one["text"] for one in watched.told if "[ALERT] web1 api" in one["text"]]
    assert len(alerts) == 1, "people are told once"


def test_the_server_was_told_to_heal_and_its_answer_came_back(run, watched):
    watched.well = False
    until(lambda: state(run, "api"))
    assert run("globoapp.heal", "web1", again=True) == "now"
    answered = until(lambda: (seen := run("globoapp_watch.healing", "web1"))["last"] and seen)
    assert answered["last"] == "failed: a test"
    watched.well = True
    until(lambda: state(run, "api") is None)


def test_deploys_arrive_once_also_those_made_while_the_master_was_down(run, master, watched):
    until(lambda: len(run("globoapp.history")) == 1)
    master.terminate()
    watched.deploy("b" * 32, "1.0")
    watched.deploy("c" * 32, "1.0")
    master.start()
    until(lambda: len(run("globoapp.history")) >= 3)
    assert [one["id"][0] for one in run("globoapp.history")] == ["c", "b", "a"]
    acknowledged = watched.root / ".globoapp/acknowledged.json"
    until(lambda: json.loads(acknowledged.read_text())["through"] == "c" * 32)
    assert len(run("globoapp.history")) == 3


def test_an_alert_that_cleared_while_the_master_was_down_is_closed(run, master, minion, watched):
    seen = Path(minion.config["cachedir"]) / "globoapp_monitor.json"
    watched.well = False
    until(lambda: state(run, "api"))
    master.terminate()
    watched.well = True
    until(lambda: json.loads(seen.read_text()) == {})  # the minion saw it, with nobody to tell
    master.start()
    until(lambda: state(run, "api") is None)


def test_inventory_as_a_person_gets_it(master, minion, watched):
    done = master.salt_run_cli(timeout=120).run("globoapp.inventory")
    assert done.returncode == 0, done
    (server,) = done.data.values()
    assert (server["version"], server["healthy"], server["silent"]) == ("1.0", True, False)
    assert server["port"] == watched.api.server_address[1]
    assert 0 <= server["cpu"] <= 100 and 0 < server["memory"] < 100
    assert server["last_deploy"]["version"] == "1.0"


def test_nothing_that_a_real_server_sends_is_refused(run):
    """Last: beacon, reports, deploys and answers of healing have all come in by now."""
    assert run("globoapp.refused") == {}
