"""Hosts as values: one where 1.0 serves as it should, to be made different by a test."""

import dataclasses

from globolib import units
from globolib.address import Address
from globolib.host import Host, Listener, Owner, Process, Record, Unit
from globolib.ledger import Entry
from globolib.manifest import Health, Manifest
from globolib.plan import Target
from globolib.settings import Settings

SETTINGS = Settings(version="1.0", root="/opt/x/y")
LAYOUT = SETTINGS.layout
VIRTUALENV = "/opt/x/y/virtualenvs/aaaa-cp311"
TARGET = Target(VIRTUALENV, "api:app")
SOCKET = LAYOUT.socket(Address("0.0.0.0", 8000))
PYTHON = "/usr/bin/python3.11"


def entry(version="1.0", port=8000, bind="0.0.0.0", result="success", action="deploy", came_from=None, **more):
    """A line of the ledger."""
    data = {"version": version, "port": port, "bind": bind, "address": bind, "result": result, "action": action}
    return Entry.parsed({**data, "id": f"id-{version}", "time": "2026-01-01T00:00:00.000Z", "from": came_from, **more})


def record(version="1.0", **more):
    """What is known of a release; ``workers`` and ``single_process`` go to its manifest."""
    numbers = {key: more.pop(key) for key in ("workers", "single_process") if key in more}
    manifest = Manifest("globoapp", version, "api:app", health=Health("/status/"), **numbers)
    return Record(version, "0" * 64, {"api.py": "1" * 64}, manifest, "a==1", VIRTUALENV, **more)


def unit(name, active="active", pid=0, **more):
    """A unit that is up."""
    return Unit(name, active, "running" if active == "active" else "dead", pid, **more)


def process(pid=100, release="PACK1_0", **more):
    """A process of a release, as it should be."""
    values = {"exe": PYTHON, "cwd": f"/opt/x/y/{release}", "command": (f"{VIRTUALENV}/bin/python", "gunicorn"), **more}
    return Process(pid, **values)


def texts(settings=SETTINGS, target=TARGET):
    """What the files of an app hold when all is as it should be."""
    layout = settings.layout
    socket = layout.socket(settings.listen)
    return {
        **units.unit_files(settings),
        layout.environment(settings.release): units.environment_text(settings, target.wsgi),
        layout.handed: units.handed_text([socket]),
        layout.unit_file(socket): units.socket_unit(settings),
    }


HOST = Host(
    entries=(entry(),),
    units={
        SOCKET: unit(SOCKET),
        "globoapp@PACK1_0.service": unit("globoapp@PACK1_0.service", pid=100, invocation="i"),
    },
    enabled=("PACK1_0",),
    handed=(SOCKET,),
    texts=texts(),
    workers={"PACK1_0": (101,)},
    processes={"PACK1_0": (process(100), process(101))},
    listeners=(Listener("0.0.0.0", 8000, "7", owners=(Owner(1, "systemd"), Owner(100, "gunicorn"))),),
    releases={"PACK1_0": record()},
    differences={"PACK1_0": ()},
    virtualenv_differences={VIRTUALENV: ()},
    real={f"{VIRTUALENV}/bin/python": PYTHON},
)


def but(host=HOST, **changes):
    """The same host with other values; a dict is laid over the one that is there, None takes a key away."""
    laid = {}
    for name, value in changes.items():
        if isinstance(value, dict):
            merged = {**getattr(host, name), **value}
            value = {key: kept for key, kept in merged.items() if kept is not None or name == "texts"}
        laid[name] = value
    return dataclasses.replace(host, **laid)


BARE = Host()  # a server that has seen nothing
