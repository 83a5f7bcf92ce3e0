"""The runners of monitoring in Salt's own loader, with records in a cache of the test's own."""

import sys
from pathlib import Path

import salt.cache
import salt.config
import salt.loader
from globolib.monitor import store

TREE = Path(__file__).resolve().parents[2] / "salt"


class Master:
    """
    A master without daemons: `run(name, *args)` calls a runner; `told` is what minions were told to do, `accepted` the
    minions whose keys it has accepted; `store` its records.
    """

    def __init__(self, directory, **opts):
        for name in ("cache", "pillar", "states"):
            (directory / name).mkdir(exist_ok=True)
        self.directory, self.told = directory, []
        self.accepted = {f"web{number}" for number in range(100)}
        self.opts = salt.config.master_config("/dev/null")
        self.opts.update(
            root_dir=str(directory), cachedir=str(directory / "cache"), pki_dir=str(directory / "pki"),
            extension_modules=str(directory / "ext"), sock_dir=str(directory), conf_file=str(directory / "master"),
            module_dirs=[str(TREE)],
            pillar_roots={"base": [str(directory / "pillar")]}, file_roots={"base": [str(directory / "states")]},
            **opts,
        )  # fmt: skip
        self.load()

    def load(self):
        """Loads everything anew, as a master does that starts: only what is stored is left."""
        self.runners = salt.loader.runner(self.opts, context={})
        watch = self.module("globoapp_watch.tend")
        watch._tell = lambda *told: self.told.append(told)
        watch._accepted = lambda: self.accepted
        self.store = store.opened(self.opts, salt.cache.Cache)

    def module(self, function):
        """Returns the module that a runner function lives in."""
        return sys.modules[self.runners[function].func.__module__]

    def run(self, name, *args, **kwargs):
        """Calls a runner function."""
        return self.runners[name](*args, **kwargs)

    def pillar(self, text):
        """Gives every server this pillar (str, YAML)."""
        (self.directory / "pillar/top.sls").write_text("base:\n  '*':\n    - app\n")
        (self.directory / "pillar/app.sls").write_text(text)
        self.load()


def event(probe, state, message="m", time="2026-11-23T16:00:00.000Z", **more):
    """Returns the data of a beacon's event."""
    return {"probe": probe, "state": state, "message": message, "time": time, "since": time, "id": "web1", **more}


def report(time="2026-11-23T16:10:00.000Z", healthy=True, opened=None, deploys=(), **more):
    """Returns the data of a server's report."""
    health = {"healthy": healthy, "version": "1.0", "latency_ms": 2.5}
    if not healthy:
        health["problems"] = ["PACK1_0: api.py was changed"]
    return {
        "time": time, "health": health, "version": "1.0", "port": 8000, "disk": {"/": 40.0}, "cpu": 3.0,
        "memory": 70.0, "looked": 1.0,
        "open": opened or {}, "deploying": None, "deploys": list(deploys), **more,
    }  # fmt: skip


def line(identity, time="2026-11-23T15:00:00.000Z", version="1.0", result="success"):
    """Returns a ledger line."""
    return {"id": identity, "time": time, "version": version, "result": result, "action": "deploy", "host": "web1"}
