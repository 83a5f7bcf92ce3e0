"""
Between the beginning and the end of a deploy: prove the release, switch to it, look at it, and when
it fails put back what stood before.
"""

import logging
import os
import time

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)


def __virtual__():
    return "globoapp_switch"


def prove(settings):
    """
    Run the release beside what serves, on a private unix socket, and look at it: it boots, it
    answers as its manifest says, and for ``prove`` seconds it goes on doing so with the same workers.

    Returns what was seen, a phrase. Raises CommandExecutionError with the release's own words; the
    release is marked as failed and its log kept.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_switch.prove "$SETTINGS"
    """
    name, release = settings["name"], settings["release"]
    unit = __salt__["globoapp_systemd.instance"](name, release, True)
    record = __salt__["globoapp_release.record"](settings, release)
    health = record["manifest"]["health"]
    socket = f"{__salt__['globoapp_serving.runtime'](name, release, True)}/gunicorn.sock"
    # One that has stood here before has shown that it lasts: a way back should not wait.
    lasts = __salt__["globoapp_deploy.succeeded"](settings) and not record.get("failed")
    hold = 0 if lasts else settings["prove"]
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
    evidence = os.path.join(settings["root"], ".globoapp", "failed", f"{release}-{now}.log")
    try:
        os.makedirs(os.path.dirname(evidence), 0o750, exist_ok=True)
        __utils__["globoapp_files.write"](evidence, "\n".join([why, *words]) + "\n", 0o640)
        __salt__["globoapp_release.annotate"](settings, release, failed={"time": now, "why": why, "log": evidence})
    except OSError as error:  # a full disk must not hide why the release failed
        why += f"\n(its log could not be kept: {error})"
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

        salt-call globoapp_switch.switch "$SETTINGS"
    """
    name, release = settings["name"], settings["release"]
    steps = __salt__["globoapp_serving.plan"](settings)
    course, systemd = __salt__["globoapp_deploy.course"](settings), "globoapp_systemd."
    if not steps:
        return steps
    unit = __salt__[systemd + "instance"](name, release)
    wanted = __salt__["globoapp_socket.unit"](name, settings["address"], settings["port"])
    running, sockets = __salt__[systemd + "running"](name), __salt__["globoapp_socket.found"](name)
    others = [one for one in sockets if one != wanted]
    handed = __salt__["globoapp_socket.handed"](name)
    _watch(settings, running)
    course.setdefault("switched", {"running": running})
    __salt__[systemd + "reload_if_needed"](name)
    if "open" in steps:
        _open(settings, wanted, wanted in handed)
    if "define" in steps:
        __salt__["globoapp_socket.write"](name, settings["address"], settings["port"])
        __salt__[systemd + "systemctl"]("daemon-reload")
    try:
        if "unmask" in steps:
            __salt__[systemd + "systemctl"]("unmask", unit)
            __salt__[systemd + "systemctl"]("unmask", "--runtime", unit)
        if __salt__["globoapp_socket.hand_over"](name, [wanted, *(one for one in others if sockets[one] == "active")]):
            __salt__[systemd + "systemctl"]("daemon-reload")
        if "start" in steps or "restart" in steps:
            __salt__[systemd + "systemctl"]("restart" if release in running else "start", unit)
        __salt__["globoapp_serving.wait"](settings)
    except CommandExecutionError as error:
        if release not in running:
            __salt__[systemd + "stop"](unit)
        if handed:
            __salt__["globoapp_socket.hand_over"](name, handed)
        if "open" in steps and wanted not in handed:
            __salt__["globoapp_socket.remove"](wanted)
        __salt__[systemd + "systemctl"]("daemon-reload")
        raise _failed(settings, f"{settings['version']} did not start: {error}") from error
    __salt__[systemd + "enable"](name, release)
    for one in running:
        if one != release:
            __salt__[systemd + "stop"](__salt__[systemd + "instance"](name, one))
    if others:
        # Both addresses answer now. systemd lets go of the old one first: were this run cut here, the
        # release would go on with both, and the next run would put it right.
        for one in others:
            __salt__["globoapp_socket.remove"](one)
        if __salt__["globoapp_socket.hand_over"](name, [wanted]):
            __salt__[systemd + "systemctl"]("daemon-reload")
        # The release lets go of the old one by starting again, when nobody waits there any more; on the
        # new one clients wait in systemd's hands meanwhile.
        _drain(unit)
        __salt__[systemd + "systemctl"]("restart", unit)
        __salt__["globoapp_serving.wait"](settings)
    return steps


def _drain(unit):
    """Let nobody new come to the sockets that only the instance holds any more, and see those off that came."""
    main = __salt__["globoapp_systemd.main_pid"](unit)
    # Handed to drain as it is: one of ours that utils called back would find no __utils__ there.
    listeners = __utils__["globoapp_proc.listeners"]
    for one in listeners():
        holders = [owner["pid"] for owner in __utils__["globoapp_proc.owners"](one["inode"])]
        if main not in holders or 1 in holders:
            continue
        try:
            left = __utils__["globoapp_drain.drain"](main, one["inode"], listeners)
        except OSError as error:
            log.warning("%s: clients that wait on the old address are lost: %s", unit, error)
        else:
            if left:
                log.warning("%s: %s clients that wait on the old address are lost", unit, left)


def _open(settings, unit, known):
    """Have systemd listen on the address; where it cannot, nothing is left of it. The release has no part in that."""
    try:
        __salt__["globoapp_socket.write"](settings["name"], settings["address"], settings["port"])
        __salt__["globoapp_systemd.systemctl"]("daemon-reload")
        # One that is active lacks its descriptor (see plan), and start would leave it so. The release holds its own.
        __salt__["globoapp_systemd.systemctl"]("restart", unit)
    except CommandExecutionError as error:
        said = "\n".join(f"    | {line}" for line in __salt__["globoapp_systemd.journal"](unit, 5))
        if not known:
            __salt__["globoapp_socket.remove"](unit)
        raise CommandExecutionError(
            f"{settings['bind']}:{settings['port']} cannot be listened on; nothing was changed: {error}\n{said}"
        ) from error


def _watch(settings, running):
    """Ask the service every 20 ms from now on, where something serves on an address that stays."""
    before = __salt__["globoapp_deploy.standing"](settings)
    course = __salt__["globoapp_deploy.course"](settings)
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

        salt-call globoapp_switch.check "$SETTINGS"
    """
    name, release, course = settings["name"], settings["release"], __salt__["globoapp_deploy.course"](settings)
    health = __salt__["globoapp_release.record"](settings, release)["manifest"]["health"]
    where = __salt__["globoapp_serving.where"](settings)
    soak = (
        settings["soak"]
        if "switched" in course and __salt__["globoapp_deploy.is_move"](settings, course.get("from"))
        else 0
    )
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
    before = __salt__["globoapp_deploy.course"](settings).get("from")
    if "switched" not in __salt__["globoapp_deploy.course"](settings) or not __salt__["globoapp_deploy.is_move"](
        settings, before
    ):
        return error
    if before is None:
        # The socket first: a client that comes would have the release started again.
        for one in __salt__["globoapp_socket.found"](settings["name"]):
            __salt__["globoapp_socket.remove"](one)
        __salt__["globoapp_systemd.enable"](settings["name"], None)
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
