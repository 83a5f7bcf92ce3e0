"""
The beginning and the end of a deploy, as the states call them: the lock, what a cut one left, the
ledger line. What happens between is in :mod:`globoapp_switch`.

What is going on is kept in ``__context__`` for the steps that follow in the same run, and in
``.globoapp/deploying.json`` for the next run, should this one be cut.
"""

import logging
import os
import re
import shutil
import time

import salt.payload
from salt.exceptions import CommandExecutionError

# What file.managed leaves beside its target when its process is killed.
SALTS_OWN = re.compile(r"gunicorn\.conf\.py[a-z0-9_]{8}\Z")

log = logging.getLogger(__name__)


def __virtual__():
    return "globoapp_deploy"


def course(settings):
    """
    What this run has done so far: a dict that its steps share and change.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_deploy.course '{"root": "/opt/globoHUB/desafio"}'
    """
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


def succeeded(settings):
    """
    Whether ``settings["version"]`` has ever been deployed here with success.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_deploy.succeeded '{"root": "/opt/globoHUB/desafio", "version": "1.0"}'
    """
    return any(one["result"] == "success" and one["version"] == settings["version"] for one in _entries(settings))


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

        salt-call globoapp_deploy.lock "$SETTINGS" 'deploy of 1.1'
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

        salt-call globoapp_deploy.unlock "$SETTINGS"
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
    found += __salt__["globoapp_systemd.temporary"](name)
    for one in os.listdir(_own(settings)) if os.path.isdir(_own(settings)) else []:
        found += [_own(settings, one)] if SALTS_OWN.match(one) else []
    for one in sorted(os.listdir(virtualenvs)) if os.path.isdir(virtualenvs) else []:
        path = os.path.join(virtualenvs, one)
        if one.endswith(".lock") or (
            os.path.isdir(path) and not one.startswith(".") and not os.path.exists(f"{path}/.complete")
        ):
            found.append(path)
    candidates = __salt__["globoapp_systemd.show"](__salt__["globoapp_systemd.instance"](name, "*", True))
    # One that was ended, and nobody was left to reset, is "failed": the machine would stay degraded by it.
    found += [unit for unit, state in candidates.items() if state["ActiveState"] != "inactive"]
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

        salt-call globoapp_deploy.begin "$SETTINGS"
    """
    before = standing(settings)
    lock(settings, f"deploy of {settings['version']}")
    __context__[f"globoapp.deploy.{settings['root']}"] = {
        "id": __utils__["globoapp_ledger.identity"](),
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
    # A run that was cut after its ledger line, which decides, had only its note left to take away.
    if note and note.get("id") not in [one.get("id") for one in _entries(settings)]:
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
    if is_move(settings, before):
        os.makedirs(_own(settings), 0o755, exist_ok=True)
        __utils__["globoapp_files.write_json"](_own(settings, "deploying.json"), _line(settings))
    return cleared


def is_move(settings, before):
    """
    Whether this run is to change what stands (``before``, a ledger line or None), not only to repair it.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_deploy.is_move '{"version": "1.1", "port": 8000, "bind": "0.0.0.0"}' None
    """
    return before is None or any(before.get(key) != settings[key] for key in ("version", "port", "bind"))


def _line(settings):
    """The fields of a ledger line that are known from the start."""
    before = course(settings).get("from") or {}
    action = course(settings)["action"] if is_move(settings, before or None) else "repair"
    return {
        "id": course(settings)["id"],
        "host": __opts__["id"],
        "name": settings["name"],
        "version": settings["version"],
        "port": settings["port"],
        "bind": settings["bind"],
        "action": action,
        "from": before.get("version"),
        "jid": job_id(),
    }


def repaired(settings, standing, changed, duration):
    """
    Write the ledger line of a repair that no state run made.

    standing
        The line of what stands (:func:`standing`).
    changed
        What was done, phrases.
    duration
        Seconds.

    Returns the line as a dict.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_deploy.repaired "$SETTINGS" "$STANDING" '["the unit was missing"]' 0.5
    """
    kept = ("host", "name", "version", "port", "bind", "address")
    entry = {
        **{key: standing[key] for key in kept},
        "id": __utils__["globoapp_ledger.identity"](),
        "action": "repair",
        "from": standing["version"],
        "jid": job_id(),
        "result": "success",
        "duration": duration,
        "changed": changed,
    }
    entry = __utils__["globoapp_ledger.append"](settings["root"], entry, __utils__["globoapp_files.append_line"])
    __salt__["event.send"](f"globoapp/deploy/{__opts__['id']}", entry)
    return entry


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

        salt-call globoapp_deploy.finish "$SETTINGS" '[]' '[]'
    """
    run = course(settings)
    if not __utils__["globoapp_lock.held"](_own(settings, "lock")):
        return None  # this run never began: what is noted there is another one's
    probe = run.pop("probe", None)
    entry = None
    if failures or changed or is_move(settings, standing(settings)):
        result = "failed" if failures else "success"
        entry = {
            **_line(settings),
            "address": settings["address"],
            "result": result,
            "duration": round(time.time() - run["started"], 3),
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
