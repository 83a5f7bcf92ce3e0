"""
The units of an app: instances of its template, its candidate. Its sockets are in :mod:`globoapp_socket`.

``<name>@PACKX_Y.service``
    one release; Sockets= hands it the listening socket that systemd holds.
``<name>-<address>:<port>.socket``
    the listening socket. It outlives every release.
``<name>-candidate@PACKX_Y.service``
    the same release on a private unix socket, to be proven before it may serve.
``<name>-activate.service``
    what a socket starts when a client comes and no release runs.
"""

import logging
import os
import re
import subprocess

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

UNITS = "/etc/systemd/system"
WANTS = f"{UNITS}/multi-user.target.wants"
PROPERTIES = "Id,ActiveState,SubState,MainPID,NRestarts,Result,UnitFileState,NeedDaemonReload,InvocationID"


def __virtual__():
    return "globoapp_systemd"


def _run(*command, check=True, timeout=120):
    """The finished process; raises CommandExecutionError with its words when ``check`` and it failed."""
    log.debug("running %s", command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise CommandExecutionError(f"{' '.join(command)}: no end after {timeout} s") from None
    if check and done.returncode:
        raise CommandExecutionError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done


def booted():
    """
    Whether systemd is this machine's init (sd_booted(3)).

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.booted
    """
    return os.path.isdir("/run/systemd/system")


def instance(name, release, candidate=False):
    """
    The unit of a release.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.instance globoapp PACK1_0
    """
    return f"{name}{'-candidate' if candidate else ''}@{release}.service"


def show(pattern):
    """
    The loaded units that match, by name: ``{"globoapp@PACK1_0.service": {"ActiveState": "active", ...}}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.show 'globoapp@*.service'
    """
    units = {}
    for block in _run("systemctl", "show", "--property", PROPERTIES, "--", pattern).stdout.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit:
            units[unit["Id"]] = unit
    return units


def running(name, candidate=False):
    """
    The releases whose instance is up or on its way up: ``["PACK1_0"]``. A unit that waits for its
    restart counts: systemd will start it again unless it is stopped.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.running globoapp
    """
    return [
        unit.partition("@")[2][: -len(".service")]
        for unit, state in show(instance(name, "*", candidate)).items()
        if state["ActiveState"] in ("active", "activating", "reloading", "deactivating")
    ]


def main_pid(unit):
    """
    The main process of a unit; 0 when it does not run.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.main_pid globoapp@PACK1_0.service
    """
    return int(show(unit).get(unit, {}).get("MainPID") or 0)


def systemctl(*arguments):
    """
    Run systemctl; raises CommandExecutionError with what it said when it fails.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.systemctl daemon-reload
    """
    return _run("systemctl", *arguments).stdout.strip()


def reload_if_needed(name):
    """
    Have systemd read its unit files again when those of this app changed on the disk.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.reload_if_needed globoapp
    """
    if any(unit.get("NeedDaemonReload") == "yes" for unit in show(f"{name}[@-]*").values()):
        systemctl("daemon-reload")
        return True
    return False


def stop(unit):
    """
    Stop a unit and forget its failures, so that the next start begins with a clean record.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.stop globoapp-candidate@PACK1_0.service
    """
    _run("systemctl", "stop", "--", unit, check=False)
    _run("systemctl", "reset-failed", "--", unit, check=False)


def journal(unit, lines=15, invocation=None):
    """
    The last lines that a unit wrote to the journal.

    invocation
        Only those of this run of the unit (InvocationID).

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.journal globoapp@PACK1_0.service lines=5
    """
    command = ["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines", str(lines)]
    command += [f"_SYSTEMD_INVOCATION_ID={invocation}"] if invocation else ["--unit", unit]
    return _run(*command, check=False).stdout.splitlines()


def vacuum(days):
    """
    Let the journal forget what is older than ``days``; only its closed files go. Returns what it said.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.vacuum 14
    """
    return _run("journalctl", "--quiet", f"--vacuum-time={int(days)}d", check=False).stdout.strip()


def enabled(name):
    """
    The releases that start at boot. More than one never is: see :func:`enable`.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.enabled globoapp
    """
    found = os.listdir(WANTS) if os.path.isdir(WANTS) else []
    return sorted(
        one[len(name) + 1 : -len(".service")]
        for one in found
        if one.startswith(f"{name}@") and one.endswith(".service")
    )


def enable(name, release):
    """
    Make this release the one that starts at boot.

    The link in multi-user.target.wants is renamed from the old instance to the new one: both are
    links to the same template, so that one rename(2) is the whole change, and a power cut leaves
    the one or the other, never both or none.

    release
        None: no release starts at boot any more.

    Returns True when something changed.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.enable globoapp PACK1_1
    """
    before = enabled(name)
    if release is None:
        for one in before:
            os.unlink(f"{WANTS}/{instance(name, one)}")
        return bool(before)
    link = f"{WANTS}/{instance(name, release)}"
    template = f"{UNITS}/{name}@.service"
    right = os.path.islink(link) and os.readlink(link) == template
    if before == [release] and right:
        return False
    os.makedirs(WANTS, exist_ok=True)
    if not right:
        fresh = f"{WANTS}/.{name}-enable"
        if os.path.lexists(fresh):
            os.unlink(fresh)
        old = next((one for one in before if one != release), None)
        if old and os.readlink(f"{WANTS}/{instance(name, old)}") == template:
            os.rename(f"{WANTS}/{instance(name, old)}", link)
            before.remove(old)
        else:
            os.symlink(template, fresh)
            os.rename(fresh, link)
    for other in before:
        if other != release:
            os.unlink(f"{WANTS}/{instance(name, other)}")
    __utils__["globoapp_files.sync_directory"](WANTS)
    return True


def temporary(name):
    """
    The paths of unit files that were being written when their writer was killed.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_systemd.temporary globoapp
    """
    # Beside ours, file.managed's: the target's name with eight characters more.
    unit = re.compile(rf"\.write-.*|\.{name}-enable|{name}(@|-candidate@|-activate)\.service[a-z0-9_]{{8}}")
    return [
        os.path.join(directory, one)
        for directory in (UNITS, WANTS, f"{UNITS}/{name}@.service.d")
        for one in (os.listdir(directory) if os.path.isdir(directory) else [])
        if unit.fullmatch(one)
    ]
