"""
What stands in the way of a deploy on this host, found before anything is touched.
"""

import re

from salt.exceptions import CommandExecutionError

MIB = 1 << 20


def __virtual__():
    return "globoapp_preflight"


def artifact(settings):
    """
    What ``settings["version"]`` is made of: from the host's own copy where it has the release, else
    from the source.

    Returns ``{"path", "sha256", "manifest", "lock", "size"}``. Raises CommandExecutionError when neither has
    it, or it is not what it should be.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_preflight.artifact "$SETTINGS"
    """
    known = __salt__["globoapp_release.record"](settings, settings["release"])
    stored = __salt__["globoapp_artifact.stored"](settings)
    if known:
        try:
            if __utils__["globoapp_files.sha256"](stored) == known["sha256"]:
                own = __salt__["globoapp_artifact.read"](stored, settings)
                return {"path": stored, "sha256": known["sha256"], **own}
        except FileNotFoundError:
            pass
        if not __salt__["globoapp_release.differences"](settings, settings["release"]):
            return {"path": None, "size": 0, **{key: known[key] for key in ("sha256", "manifest", "lock")}}
    found = __salt__["globoapp_artifact.fetch"](settings)
    if known and known["sha256"] != found["sha256"]:
        raise CommandExecutionError(
            f"{settings['source']} is not what this host has as {settings['release']}: SHA-256 {found['sha256']}, here "
            f"{known['sha256']}. A version never changes: publish the new content under a new version"
        )
    return found


def problems(settings):
    """
    Everything on this host that is in the way, one line each; empty when a deploy may begin. What a
    setting is needed for that is itself wrong is not looked at.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_preflight.problems "$SETTINGS"
    """
    invalid = set(settings["invalid"])
    found = [] if invalid & {"port", "bind", "name"} else _port(settings)
    if not settings["release"] or invalid & {
        "name",
        "root",
        "source",
        "checksum",
        "python",
        "wheels",
        "credentials",
        "ca",
    }:
        return found
    made = python = None
    needed = 0 if "reserve" in invalid else settings["reserve"] * MIB
    try:
        python = __salt__["globoapp_virtualenv.interpreter"](settings["python"])
    except CommandExecutionError as error:
        found.append(str(error))
    try:
        made = artifact(settings)
    except CommandExecutionError as error:
        found.append(_unknown(settings, str(error)))
    if made and not __salt__["globoapp_release.record"](settings, settings["release"]):
        needed += 3 * made["size"]
    if made and python:
        found += _python(settings, made, python)
        path = __salt__["globoapp_virtualenv.location"](settings, made["lock"])
        if not __salt__["globoapp_virtualenv.complete"](path):
            needed += 100 * MIB  # a virtualenv of the 2020 pins is 25 MB, uv beside it 60
            try:
                __salt__["globoapp_virtualenv.installer"](settings)
            except CommandExecutionError as error:
                found.append(str(error))
    return found + _room(settings, needed)


def _room(settings, needed):
    """Whether so many bytes are free where the releases are."""
    free = __utils__["globoapp_files.free_bytes"](settings["root"])
    if free >= needed:
        return []
    return [
        f"no room on the disk of {settings['root']}: {free // MIB} MiB free, {needed // MIB} MiB wanted "
        f"(of these {settings['reserve']} MiB to stay free, pillar reserve); make room: "
        f"salt '{__opts__['id']}' globoapp.prune keep=2"
    ]


def _unknown(settings, error):
    """An error of the artifact; where it is just not there, with the versions that are."""
    if not error.endswith("is not there"):
        return error
    offered = __salt__["globoapp_artifact.available"](settings)
    here = [
        __salt__["globoapp_release.record"](settings, one)["version"]
        for one in __salt__["globoapp_release.names"](settings)
    ]
    return (
        f"version {settings['version']} is unknown: {error}. The source has {', '.join(offered) or 'no version'}; "
        f"on this host there is {', '.join(here) or 'none'}"
    )


def _port(settings):
    """The programs that already listen on the address and are not this app."""
    name = settings["name"]
    ours = {1}
    for release in __salt__["globoapp_systemd.running"](name):
        main = __salt__["globoapp_systemd.main_pid"](__salt__["globoapp_systemd.instance"](name, release))
        ours |= {main, *(one["pid"] for one in __utils__["globoapp_proc.children"](main))}
    sockets = __salt__["globoapp_socket.found"](name)
    own = [unit for unit, state in sockets.items() if state == "active"]
    found = set()
    for one in __utils__["globoapp_proc.listeners"](settings["port"]):
        if not __utils__["globoapp_proc.overlap"](one["address"], settings["address"]):
            continue
        if __salt__["globoapp_socket.unit"](name, one["address"], settings["port"]) in own:
            continue
        unseen = [{"pid": "unknown", "program": "a program of another container"}]
        for owner in __utils__["globoapp_proc.owners"](one["inode"]) or unseen:
            if owner["pid"] not in ours:
                found.add(
                    f"port {settings['port']} is taken: {owner['program']} (process {owner['pid']}) listens on "
                    f"{one['address']}:{settings['port']}; stop it or choose another port"
                )
            elif owner["pid"] == 1:
                found.add(
                    f"port {settings['port']} is taken: another socket unit of systemd listens on {one['address']}:"
                    f"{settings['port']} (systemctl list-sockets); stop it or choose another port"
                )
    return sorted(found)


def _python(settings, made, python):
    """Whether the host's Python is one that the release says it runs on: ``">=3.9,<3.14"``."""
    wanted = made["manifest"].get("python", "")
    have = tuple(map(int, python["version"].split(".")[:2]))
    tests = {">=": have.__ge__, "<": have.__lt__, "<=": have.__le__, ">": have.__gt__, "==": have.__eq__}
    for sign, number in re.findall(r"(>=|<=|==|<|>)\s*(\d+\.\d+)", wanted):
        if not tests[sign](tuple(map(int, number.split(".")))):
            return [f"{settings['version']} wants Python {wanted}, {settings['python']} is {python['version']}"]
    return []
