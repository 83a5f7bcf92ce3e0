"""Notes when Salt does what, for bench/phases.py, which puts this into Salt's Python on the machines of a bench.

A line of JSON for each call of some functions: its begin, by a clock that all machines of this host share, and its
seconds. Salt's modules are wrapped as they are imported; all else is as it was.
"""

import functools
import importlib.abc
import importlib.util
import json
import os
import sys
import time

NOTES = "/run/bench-marks.jsonl"
# Module, class, function, name.
WRAPPED = (
    ("salt.master", "ClearFuncs", "publish", "publish"),
    ("salt.minion", "Minion", "_thread_return", "job"),
    ("salt.minion", "Minion", "_return_pub", "return"),
    ("salt.state", "State", "_gather_pillar", "pillar"),
    ("salt.state", "BaseHighState", "render_highstate", "render"),
    ("salt.state", "State", "call_high", "states"),
    ("salt.loader.lazy", "LoadedFunc", "__call__", None),
)
# What the sls files call before the first state.
CALLED = {"globoapp_minion.is_current": "sync", "globoapp_minion.rendered": "settings"}
CALLED.update({f"saltutil.sync_{kind}": "sync" for kind in ("utils", "modules", "states", "beacons", "output")})
CALLED["saltutil.refresh_modules"] = CALLED["saltutil.refresh_beacons"] = "sync"


def note(name, begin, seconds):
    with open(NOTES, "a") as file:
        file.write(json.dumps({"name": name, "pid": os.getpid(), "begin": begin, "seconds": seconds}) + "\n")


def wrapped(function, name):
    """Returns the function as one that notes its calls. Of a name that is None the loader's function tells it."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        said = name or CALLED.get(args[0].name)
        if said is None:
            return function(*args, **kwargs)
        begin = time.monotonic()
        if said in ("publish", "job", "return"):  # the begin is what matters, and a job never comes back
            note(said, begin, 0)
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        finally:
            note(said, begin, time.monotonic() - begin)

    return call


class Finder(importlib.abc.MetaPathFinder):
    """Finds a module as the others do, and wraps what is in it once it is loaded."""

    def find_spec(self, name, path, target=None):
        if name not in {module for module, *_ in WRAPPED}:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        execute = spec.loader.exec_module

        def load(module):
            execute(module)
            for own, kind, function, said in WRAPPED:
                if own == name:
                    holder = getattr(module, kind)
                    before = holder.__dict__[function]
                    if isinstance(before, classmethod):
                        setattr(holder, function, classmethod(wrapped(before.__func__, said)))
                    else:
                        setattr(holder, function, wrapped(before, said))

        spec.loader.exec_module = load
        return spec


sys.meta_path.insert(0, Finder())
