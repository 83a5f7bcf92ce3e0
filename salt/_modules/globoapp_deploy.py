"""
The course of a deploy, step by step, as the states call it: begin, prove, switch, check, finish.

What is going on is kept in ``__context__`` for the steps that follow in the same run, and in
``.globoapp/deploying.json`` for the next run, should this one be cut.
"""

import logging
import os
import shutil
import time

import salt.payload
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)


def __virtual__():
    return "globoapp_deploy"


def _course(settings):
    """What this run has done so far, shared by its steps."""
    return __context__.setdefault(f"globoapp.deploy.{settings['root']}", {})


def _own(settings, *names):
    return os.path.join(settings["root"], ".globoapp", *names)


def _entries(settings):
    return __utils__["globoapp_ledger.read"](settings["root"])


def standing(settings):
    """
    What is deployed on this host: the last good ledger line, or None.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_deploy.standing '{"root": "/opt/globoHUB/desafio"}'
    """
    return __utils__["globoapp_ledger.standing"](_entries(settings))


def job_id():
    """
    The id of the Salt job that runs in this process, or None (salt-call --local has none on some lines).

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_deploy.job_id
    """
    if __opts__.get("jid"):
        return str(__opts__["jid"])
    directory = os.path.join(__opts__["cachedir"], "proc")
    for jid in os.listdir(directory) if os.path.isdir(directory) else []:
        try:
            with open(os.path.join(directory, jid), "rb") as handle:
                if salt.payload.load(handle).get("pid") == os.getpid():
                    return jid
        except (OSError, ValueError, AttributeError):  # gone meanwhile, or half written
            continue
    return None


def lock(settings, what):
    """
    Be the only deploy on this host until :func:`unlock` or the end of this process. Raises
    CommandExecutionError, naming the holder, when another one does not end in ``lock_wait`` seconds.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_deploy.lock '{...}' 'deploy of 1.1'
    """
    os.makedirs(_own(settings), 0o755, exist_ok=True)
    who = {"what": what, "jid": job_id(), "pid": os.getpid(), "since": __utils__["globoapp_ledger.now"]()}
    holder = __utils__["globoapp_lock.acquire"](_own(settings, "lock"), settings["lock_wait"], who)
    if holder is not None:
        raise CommandExecutionError(
            f"another deploy is under way on this host: {holder.get('what', 'unknown')}, since "
            f"{holder.get('since', 'unknown')}, job id {holder.get('jid')}, process {holder.get('pid')}; waited "
            f"{settings['lock_wait']} s for it to end. Try again when it has ended (salt-run jobs.lookup_jid)"
        )


def unlock(settings):
    """
    Let the next deploy go on.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_deploy.unlock '{...}'
    """
    __utils__["globoapp_lock.release"](_own(settings, "lock"))


def leftovers(settings):
    """
    What a deploy that was cut has left on this host: paths, units, or a phrase.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_deploy.leftovers '{"root": "/opt/globoHUB/desafio", "name": "globoapp"}'
    """
    root, name = settings["root"], settings["name"]
    virtualenvs = os.path.join(root, "virtualenvs")
    found = []
    for directory in (
        root,
        virtualenvs,
        _own(settings),
        *(_own(settings, one) for one in ("releases", "artifacts", "failed")),
    ):
        for one in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
            if one.startswith((".incoming-", ".trash-", ".write-")) or one.endswith(".part"):
                found.append(os.path.join(directory, one))
    for one in sorted(os.listdir(virtualenvs)) if os.path.isdir(virtualenvs) else []:
        path = os.path.join(virtualenvs, one)
        if one.endswith(".lock") or (
            os.path.isdir(path) and not one.startswith(".") and not os.path.exists(f"{path}/.complete")
        ):
            found.append(path)
    found += [
        __salt__["globoapp_systemd.instance"](name, one, True)
        for one in __salt__["globoapp_systemd.running"](name, True)
    ]
    if os.path.exists(_own(settings, "deploying.json")):
        found.append("the note of a deploy that did not end")
    return found


def begin(settings):
    """
    Take the lock, see that the settings still hold, and clear away what a cut deploy left; a deploy
    that was cut gets its line in the ledger.

    Returns what was cleared: a list of phrases.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_deploy.begin '{...}'
    """
    before = standing(settings)
    lock(settings, f"deploy of {settings['version']}")
    __context__[f"globoapp.deploy.{settings['root']}"] = {
        "started": time.time(),
        "from": before,
        "action": "rollback" if __pillar__.get("globoapp_rollback") else "deploy",
    }
    now = __salt__["globoapp.settings"]()
    if any(now[key] != settings[key] for key in ("version", "port", "bind")):
        unlock(settings)
        raise CommandExecutionError(
            f"while this deploy of {settings['version']} to {settings['bind']}:{settings['port']} began, another one "
            f"put {now['version']} to {now['bind']}:{now['port']}: look at globoapp.history, and deploy again"
        )
    cleared = leftovers(settings)
    note = __utils__["globoapp_files.read_json"](_own(settings, "deploying.json"))
    if note:
        cut = "the deploy was cut before it ended: its process or the machine went down"
        entry = {**note, "result": "interrupted", "failed": [cut]}
        __utils__["globoapp_ledger.append"](settings["root"], entry, __utils__["globoapp_files.append_line"])
    for one in cleared:
        if os.path.isdir(one) and not os.path.islink(one):
            shutil.rmtree(one)
        elif one.startswith("/"):
            os.unlink(one)
        elif one.endswith(".service"):
            __salt__["globoapp_systemd.stop"](one)
    if note:
        os.unlink(_own(settings, "deploying.json"))
    if _is_move(settings, before):
        os.makedirs(_own(settings), 0o755, exist_ok=True)
        __utils__["globoapp_files.write_json"](_own(settings, "deploying.json"), _line(settings))
    return cleared


def _is_move(settings, before):
    """Whether this run is to change what stands, not only to repair it."""
    return before is None or any(before.get(key) != settings[key] for key in ("version", "port", "bind"))


def _line(settings):
    """The fields of a ledger line that are known from the start."""
    before = _course(settings).get("from") or {}
    action = _course(settings)["action"] if _is_move(settings, before or None) else "repair"
    return {
        "host": __opts__["id"],
        "name": settings["name"],
        "version": settings["version"],
        "port": settings["port"],
        "bind": settings["bind"],
        "action": action,
        "from": before.get("version"),
        "jid": job_id(),
    }


def prove(settings):
    """
    Run the release beside what serves, on a private unix socket, and look at it: it boots, it
    answers as its manifest says, and for ``prove`` seconds it goes on doing so with the same workers.

    Returns what was seen, a phrase. Raises CommandExecutionError with the release's own words; the
    release is marked as failed and its log kept.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_deploy.prove '{...}'
    """
    name, release = settings["name"], settings["release"]
    unit = __salt__["globoapp_systemd.instance"](name, release, True)
    health = __salt__["globoapp_release.record"](settings, release)["manifest"]["health"]
    socket = f"{__salt__['globoapp_serving.runtime'](name, release, True)}/gunicorn.sock"
    hold = settings["prove"] if settings["version"] != (standing(settings) or {}).get("version") else 0
    __salt__["globoapp_systemd.reload_if_needed"](name)
    began = time.monotonic()
    try:
        __salt__["globoapp_systemd.systemctl"]("start", unit)
        pids = __salt__["globoapp_serving.wait"](settings, True)
        booted = time.monotonic() - began
        _answers(settings, ("unix", socket), health)
        until = time.monotonic() + hold
        while time.monotonic() < until:
            time.sleep(min(0.2, hold))
            _steady(settings, pids, True)
            problem, _ = __utils__["globoapp_http.once"](("unix", socket), health, settings["timeout"])
            if problem:
                raise CommandExecutionError(f"GET {health['path']}: {problem}")
        _steady(settings, pids, True)
    except CommandExecutionError as error:
        raise _failed(settings, f"{settings['version']} was not let in: {error}", True) from error
    finally:
        __salt__["globoapp_systemd.stop"](unit)
    return f"{release} booted in {booted:.2f} s, answered as it should, and went on for {hold} s"


def _answers(settings, where, health):
    """Ask until the answer is right; raises with the last one at the deadline."""
    until, pause = time.monotonic() + settings["deadline"], 0.05
    while True:
        problem, answer = __utils__["globoapp_http.once"](where, health, settings["timeout"])
        if not problem:
            return answer
        if time.monotonic() > until:
            raise CommandExecutionError(f"GET {health['path']} for {settings['deadline']} s: {problem}")
        time.sleep(pause)
        pause = min(pause * 1.5, 1)


def _steady(settings, pids, candidate=False):
    """Raises when the workers are not those that were there before."""
    now = __salt__["globoapp_serving.workers"](settings["name"], settings["release"], candidate)
    if now != pids:
        raise CommandExecutionError(f"its workers did not stay: {pids} were there, now {now or 'none'}")


def _failed(settings, why, candidate=False):
    """Mark the release, keep its log as evidence; the error to raise, with its last lines."""
    release = settings["release"]
    words = __salt__["globoapp_serving.log"](settings, release, candidate, 200)
    now = __utils__["globoapp_ledger.now"]()
    evidence = _own(settings, "failed", f"{release}-{now}.log")
    os.makedirs(os.path.dirname(evidence), 0o750, exist_ok=True)
    __utils__["globoapp_files.write"](evidence, "\n".join([why, *words]) + "\n", 0o640)
    __salt__["globoapp_release.annotate"](settings, release, failed={"time": now, "why": why, "log": evidence})
    tail = "\n".join(f"    | {line}" for line in words[-15:]) or "    | (it wrote nothing)"
    return CommandExecutionError(f"{why}\nIts last lines (all of them in {evidence}):\n{tail}")


def switch(settings):
    """
    Make ``settings["release"]`` what serves on its address: it starts beside what is there, on the
    same accept queue, and only when it takes requests the other one ends.

    Returns ``{step: phrase}`` of what was done. Raises CommandExecutionError when it does not
    come up; what was serving then goes on, on the address that it had.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_deploy.switch '{...}'
    """
    name, release = settings["name"], settings["release"]
    steps = __salt__["globoapp_serving.plan"](settings)
    course, systemd = _course(settings), "globoapp_systemd."
    if not steps:
        return steps
    unit = __salt__[systemd + "instance"](name, release)
    wanted = __salt__[systemd + "socket_unit"](name, settings["address"], settings["port"])
    running, sockets = __salt__[systemd + "running"](name), __salt__[systemd + "sockets"](name)
    others = [one for one in sockets if one != wanted]
    handed = __salt__[systemd + "handed"](name)
    _watch(settings, running)
    course.setdefault("switched", {"running": running})
    __salt__[systemd + "reload_if_needed"](name)
    try:
        if "unmask" in steps:
            __salt__[systemd + "systemctl"]("unmask", unit)
        if "open" in steps:
            __salt__[systemd + "write_socket"](name, settings["address"], settings["port"])
            __salt__[systemd + "systemctl"]("daemon-reload")
            __salt__[systemd + "systemctl"]("start", wanted)
        if __salt__[systemd + "hand_over"](name, [wanted, *(one for one in others if sockets[one] == "active")]):
            __salt__[systemd + "systemctl"]("daemon-reload")
        if "start" in steps or "restart" in steps:
            __salt__[systemd + "systemctl"]("restart" if release in running else "start", unit)
        __salt__["globoapp_serving.wait"](settings)
    except CommandExecutionError as error:
        if release not in running:
            __salt__[systemd + "stop"](unit)
        if handed:
            __salt__[systemd + "hand_over"](name, handed)
        if "open" in steps and wanted not in handed:
            __salt__[systemd + "remove_socket"](wanted)
        __salt__[systemd + "systemctl"]("daemon-reload")
        raise _failed(settings, f"{settings['version']} did not start: {error}") from error
    __salt__[systemd + "enable"](name, release)
    for one in running:
        if one != release:
            __salt__[systemd + "stop"](__salt__[systemd + "instance"](name, one))
    if others:
        # Both addresses answer now. The release lets go of the old socket by starting again; the
        # new one waits in systemd's hands meanwhile, and nobody is refused.
        if __salt__[systemd + "hand_over"](name, [wanted]):
            __salt__[systemd + "systemctl"]("daemon-reload")
            __salt__[systemd + "systemctl"]("restart", unit)
            __salt__["globoapp_serving.wait"](settings)
        for one in others:
            __salt__[systemd + "remove_socket"](one)
    return steps


def _watch(settings, running):
    """Ask the service every 20 ms from now on, where something serves on an address that stays."""
    before = standing(settings)
    course = _course(settings)
    if not running or not before or "probe" in course:
        return
    health = (__salt__["globoapp_release.record"](settings, running[0]) or {}).get("manifest", {}).get("health")
    same = (before.get("bind"), before.get("port")) == (settings["bind"], settings["port"])
    if health and same:
        course["probe"] = __utils__["globoapp_http.probe"](__salt__["globoapp_serving.where"](settings), health["path"])


def check(settings):
    """
    Ask the service on its address until it answers as the release should, and prove that this release
    is what answered; after a switch, go on looking for ``soak`` seconds. When it fails after a
    switch, what stood before is put back.

    Returns a phrase. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_deploy.check '{...}'
    """
    name, release, course = settings["name"], settings["release"], _course(settings)
    health = __salt__["globoapp_release.record"](settings, release)["manifest"]["health"]
    where = __salt__["globoapp_serving.where"](settings)
    soak = settings["soak"] if "switched" in course and _is_move(settings, course.get("from")) else 0
    try:
        answer = _answers(settings, where, health)
        wrong = __salt__["globoapp_serving.proof"](settings, release)
        if wrong:
            raise CommandExecutionError("; ".join(wrong))
        pids = __salt__["globoapp_serving.workers"](name, release)
        until = time.monotonic() + soak
        while time.monotonic() < until:
            time.sleep(min(0.2, soak))
            _steady(settings, pids)
            problem, answer = __utils__["globoapp_http.once"](where, health, settings["timeout"])
            if problem:
                raise CommandExecutionError(f"GET {health['path']}: {problem}")
    except CommandExecutionError as error:
        if "switched" not in course and not course.get("again"):
            # Nothing was changed, and it does not answer: what is wedged gets one fresh start.
            course["again"] = str(error)
            __salt__["globoapp_systemd.systemctl"]("restart", __salt__["globoapp_systemd.instance"](name, release))
            return f"it did not answer ({error}) and was started afresh; " + check(settings)
        raise _back(settings, _failed(settings, f"{settings['version']} is not healthy: {error}")) from error
    asked = f"GET http://{where[1]}:{where[2]}{health['path']}"
    return f"{asked}: {answer['status']} in {answer['seconds'] * 1000:.0f} ms, from {release}" + (
        f"; it stayed so for {soak} s" if soak else ""
    )


def _back(settings, error):
    """Put back what stood before this run's switch; the error to raise, with what came of it."""
    before = _course(settings).get("from")
    if "switched" not in _course(settings) or not _is_move(settings, before):
        return error
    if before is None:
        __salt__["globoapp_systemd.stop"](__salt__["globoapp_systemd.instance"](settings["name"], settings["release"]))
        return CommandExecutionError(f"{error}\nNothing stood here before: it was stopped.")
    old = {**settings, **{key: before[key] for key in ("version", "port", "bind", "address")}}
    old["release"] = __utils__["globoapp_settings.release"](before["version"])
    try:
        switch(old)
        _answers(
            old,
            __salt__["globoapp_serving.where"](old),
            __salt__["globoapp_release.record"](old, old["release"])["manifest"]["health"],
        )
    except CommandExecutionError as worse:
        return CommandExecutionError(f"{error}\nAnd {before['version']} could not be put back: {worse}")
    return CommandExecutionError(f"{error}\nSwitched back: {before['version']} serves again.")


def finish(settings, failures, changed):
    """
    Write the ledger line of this run, if it did or tried anything, and let the next deploy go on.

    failures
        What failed, phrases; empty for a success.
    changed
        The IDs of the states that changed something.

    Returns the line as a dict, or None when there was nothing to record.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_deploy.finish '{...}' '[]' '[]'
    """
    course = _course(settings)
    if not __utils__["globoapp_lock.held"](_own(settings, "lock")):
        return None  # this run never began: what is noted there is another one's
    probe = course.pop("probe", None)
    entry = None
    if failures or changed or _is_move(settings, standing(settings)):
        result = "failed" if failures else "success"
        entry = {
            **_line(settings),
            "address": settings["address"],
            "result": result,
            "duration": round(time.time() - course["started"], 3),
            "changed": changed,
            **({"failed": failures} if failures else {}),
            **({"probe": probe.finish()} if probe else {}),
        }
        entry = __utils__["globoapp_ledger.append"](settings["root"], entry, __utils__["globoapp_files.append_line"])
        if not failures:
            __salt__["globoapp_release.annotate"](settings, settings["release"], failed=None)
        __salt__["event.send"](f"globoapp/deploy/{__opts__['id']}", entry)
    elif probe:
        probe.finish()
    note = _own(settings, "deploying.json")
    if os.path.exists(note):
        os.unlink(note)
        __utils__["globoapp_files.sync_directory"](_own(settings))
    unlock(settings)
    return entry
