"""
What serves: the proof that the release which should answer is the one that does, and what has to be
done where it is not.
"""

import os
import time

from salt.exceptions import CommandExecutionError

# gunicorn's hooks (gunicorn.conf.py) leave ready-<pid> here once a worker has loaded the app:
# systemd's "active" and gunicorn's READY=1 both come before that and prove nothing.
RUNTIME = "/run/{name}{kind}/{release}"


def __virtual__():
    return "globoapp_serving"


def runtime(name, release, candidate=False):
    """
    The runtime directory of an instance.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_serving.runtime globoapp PACK1_0
    """
    return RUNTIME.format(name=name, kind="-candidate" if candidate else "", release=release)


def where(settings):
    """
    Where to ask the service from this host: ``("tcp", "127.0.0.1", 8000)``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_serving.where '{"address": "0.0.0.0", "port": 8000}'
    """
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return ("tcp", loopback.get(settings["address"], settings["address"]), settings["port"])


def workers(name, release, candidate=False):
    """
    The workers of an instance that have loaded the app: a sorted list of pids.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_serving.workers globoapp PACK1_0
    """
    directory = runtime(name, release, candidate)
    if not os.path.isdir(directory):
        return []
    ready = {one[6:] for one in os.listdir(directory) if one.startswith("ready-")}
    master = __salt__["globoapp_systemd.main_pid"](__salt__["globoapp_systemd.instance"](name, release, candidate))
    if not ready or not master:
        return []
    return sorted(one["pid"] for one in __utils__["globoapp_proc.children"](master) if str(one["pid"]) in ready)


def log(settings, release, candidate=False, lines=15):
    """
    The last words of a release in its present or latest run.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_serving.log '{"name": "globoapp"}' PACK1_0
    """
    unit = __salt__["globoapp_systemd.instance"](settings["name"], release, candidate)
    run = __salt__["globoapp_systemd.show"](unit).get(unit, {}).get("InvocationID")
    return __salt__["globoapp_systemd.journal"](unit, lines, run)


def wait(settings, candidate=False):
    """
    Wait until every worker of a release has loaded the app.

    Returns their pids. Raises CommandExecutionError as soon as the instance has ended or begun again,
    or when ``settings["deadline"]`` seconds have passed.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_serving.wait "$SETTINGS"
    """
    name, release = settings["name"], settings["release"]
    unit = __salt__["globoapp_systemd.instance"](name, release, candidate)
    wanted = __salt__["globoapp_release.record"](settings, release)["manifest"].get("workers", 1)
    until, first, pause = time.monotonic() + settings["deadline"], None, 0.05
    while True:
        ready = workers(name, release, candidate)
        if len(ready) >= wanted:
            return ready
        state = __salt__["globoapp_systemd.show"](unit).get(unit, {})
        master = state.get("MainPID")
        first = first or (master if master != "0" else None)
        ended = state.get("ActiveState") in ("failed", "inactive") or state.get("SubState") == "auto-restart"
        if ended or (first and master != first):
            raise CommandExecutionError(f"{unit} ended while it booted ({state.get('Result')})")
        if time.monotonic() > until:
            raise CommandExecutionError(
                f"{unit}: {len(ready)} of {wanted} workers have loaded the app after {settings['deadline']} s"
            )
        time.sleep(pause)
        pause = min(pause * 1.2, 0.5)


def inputs(settings, release):
    """
    The files that an instance reads when it starts.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_serving.inputs "$SETTINGS" PACK1_0
    """
    known = __salt__["globoapp_release.record"](settings, release)
    directory = __salt__["globoapp_release.directory"](settings, release)
    name, own = settings["name"], os.path.join(settings["root"], ".globoapp")
    return [
        f"/etc/systemd/system/{name}@.service",
        f"/etc/systemd/system/{name}@.service.d/sockets.conf",
        f"{own}/gunicorn.conf.py",
        f"{own}/{release}.env",
        *([f"{known['virtualenv']}/.complete"] if known else []),
        *(os.path.join(directory, one) for one in (known or {"contents": []})["contents"]),
    ]


def outdated(settings, release):
    """
    Why a running instance must start afresh: a file that it read at its start has changed since.
    None when there is no reason.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_serving.outdated "$SETTINGS" PACK1_0
    """
    unit = __salt__["globoapp_systemd.instance"](settings["name"], release)
    main = __utils__["globoapp_proc.process"](__salt__["globoapp_systemd.main_pid"](unit))
    if not main:
        return None
    for path in inputs(settings, release):
        # A process's start is known to one clock tick (10 ms), a file's change to about the same.
        if os.path.exists(path) and os.stat(path).st_ctime > main["started"] + 0.05:
            return f"{path} changed after it had started"
    return None


def proof(settings, release):
    """
    Everything that speaks against ``release`` being what serves: its processes' executable,
    directory and age, its workers, its files, and who else listens on its address.

    Returns a list of phrases, empty when it is proven.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_serving.proof "$SETTINGS" PACK1_0
    """
    known = __salt__["globoapp_release.record"](settings, release)
    if known is None:
        return [f"{release} is not on this host"]
    unit = __salt__["globoapp_systemd.instance"](settings["name"], release)
    main = __utils__["globoapp_proc.process"](__salt__["globoapp_systemd.main_pid"](unit))
    if not main:
        return [f"{unit} does not run"]
    wrong = []
    processes = [main, *__utils__["globoapp_proc.children"](main["pid"])]
    directory, python = __salt__["globoapp_release.directory"](settings, release), f"{known['virtualenv']}/bin"
    real = os.path.realpath(f"{python}/python")
    for one in processes:
        what = f"process {one['pid']}"
        if one["cwd"] != directory:
            wrong.append(f"{what} runs in {one['cwd']} in place of {directory}")
        if one["exe"] != real or os.path.dirname((one["command"] or [""])[0]) != python:
            wrong.append(f"{what} runs {' '.join(one['command'][:1])} ({one['exe']}) in place of {python}/python")
    wanted, ready = known["manifest"].get("workers", 1), workers(settings["name"], release)
    if len(ready) < wanted:
        wrong.append(f"{len(ready)} of {wanted} workers have loaded the app")
    old = outdated(settings, release)
    wrong += [f"{unit}: {old}"] if old else []
    wrong += [f"{release}: {one}" for one in __salt__["globoapp_release.differences"](settings, release)]
    wrong += __salt__["globoapp_virtualenv.differences"](known["virtualenv"])
    return wrong + _strangers(settings, {1, *(one["pid"] for one in processes)})


def _strangers(settings, ours):
    """Who listens on the address and is neither systemd nor one of ``ours``."""
    listening = [
        one
        for one in __utils__["globoapp_proc.listeners"](settings["port"])
        if __utils__["globoapp_proc.overlap"](one["address"], settings["address"])
    ]
    if not listening:
        return [f"nothing listens on {settings['address']}:{settings['port']}"]
    return sorted(
        {
            f"process {owner['pid']} ({owner['program']}) also takes requests on port {settings['port']}"
            for one in listening
            for owner in __utils__["globoapp_proc.owners"](one["inode"])
            if owner["pid"] not in ours
        }
    )


def plan(settings):
    """
    What separates this host from serving ``settings["release"]`` on its address, in the order in
    which it will be done.

    Returns ``{step: phrase}``; empty when nothing has to be done. Steps: ``unmask``, ``open`` or ``define``,
    ``start`` or ``restart``, ``enable``, ``stop``, ``close``.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_serving.plan "$SETTINGS"
    """
    name, release = settings["name"], settings["release"]
    systemd = {key: __salt__[f"globoapp_systemd.{key}"] for key in ("show", "running", "enabled")}
    unit = __salt__["globoapp_systemd.instance"](name, release)
    wanted = __salt__["globoapp_socket.unit"](name, settings["address"], settings["port"])
    running, sockets = systemd["running"](name), __salt__["globoapp_socket.found"](name)
    steps = {}
    if systemd["show"](unit).get(unit, {}).get("UnitFileState") in ("masked", "masked-runtime"):
        steps["unmask"] = f"{unit} is masked"
    if sockets.get(wanted) != "active" or not os.path.exists(f"/etc/systemd/system/{wanted}"):
        steps["open"] = f"{wanted} is not open"
    elif not __utils__["globoapp_proc.listens"](1, settings["address"], settings["port"]):
        # Its unit file was gone when systemd read them: active by name, with no descriptor to hand over.
        steps["open"] = f"{wanted} is active, yet systemd does not listen there"
    elif not __salt__["globoapp_socket.written"](name, settings["address"], settings["port"]):
        # What was edited counts from the next boot on; the socket that is open needs no closing for it.
        steps["define"] = f"{wanted} was changed"
    handed = __salt__["globoapp_socket.handed"](name)
    if release not in running or not workers(name, release):
        steps["start"] = f"{unit} does not run"
    elif "open" in steps or handed != [wanted]:
        steps["restart"] = f"{unit} does not have {wanted} alone"
    elif old := outdated(settings, release):
        steps["restart"] = old
    if systemd["enabled"](name) != [release]:
        steps["enable"] = f"{release} does not start at boot"
    others = [one for one in running if one != release]
    if others:
        steps["stop"] = f"{', '.join(others)} runs"
    if set(sockets) - {wanted}:
        steps["close"] = f"{', '.join(sorted(set(sockets) - {wanted}))} is left"
    return steps
