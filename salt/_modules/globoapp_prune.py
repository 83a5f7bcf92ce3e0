"""
History without a full disk: which releases may go, and their going.

Pillar ``keep`` is how many releases stay. Whatever it says, these stay: the live one, the one that a
rollback would go to, any that a process runs out of, and as many failed ones (evidence) as good ones.
"""

import glob
import os
import shutil

from salt.exceptions import CommandExecutionError


def __virtual__():
    return "globoapp_prune"


def plan(settings, keep=None):
    """
    What would go, once ``settings["version"]`` stands here.

    keep
        How many releases stay, or ``"all"`` (pillar ``keep``).

    Returns ``{"releases": ["PACK1_0"], "virtualenvs": [names]}``, both empty when nothing is to go.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_prune.plan "$SETTINGS" keep=3
    """
    keep = settings["keep"] if keep is None else keep
    if keep == "all":
        return {"releases": [], "virtualenvs": []}
    here = _records(settings)
    staying = _staying(settings, here, keep)
    going = [one for one in here if one not in staying]
    base = os.path.join(settings["root"], "virtualenvs")
    used = {here[one]["virtualenv"] for one in here if one not in going} | set(_wanted(settings))
    virtualenvs = [
        one
        for one in (sorted(os.listdir(base)) if os.path.isdir(base) else [])
        if not one.startswith(".")
        and os.path.join(base, one) not in used
        and not __utils__["globoapp_proc.holds_file_below"](os.path.join(base, one))
    ]
    return {"releases": going, "virtualenvs": virtualenvs}


def _records(settings):
    """``{release: record}`` of what is on the host, oldest version first."""
    return {
        one: __salt__["globoapp_release.record"](settings, one) for one in __salt__["globoapp_release.names"](settings)
    }


def _wanted(settings):
    """The virtualenv of the version that is to stand, where it is not on the host yet."""
    if settings["release"] is None or __salt__["globoapp_release.record"](settings, settings["release"]):
        return []
    lock = __salt__["globoapp_preflight.artifact"](settings)["lock"]
    return [__salt__["globoapp_virtualenv.location"](settings, lock)]


def _staying(settings, here, keep):
    """The names of the releases that stay."""
    entries = __utils__["globoapp_ledger.read"](settings["root"])
    version, present = settings["version"], [one["version"] for one in here.values() if not one.get("failed")]
    if version is not None:
        # As if it stood already: test=True says before a deploy what would go after it.
        entries = [*entries, {"result": "success", "version": version, "action": "deploy", "time": "9"}]
    good = __utils__["globoapp_ledger.good"](entries)
    back = next((one for one in reversed(good[:-1]) if one in present), None)
    used = [one["version"] for name, one in here.items() if _in_use(settings, name)]
    latest = {entry["version"]: entry["time"] for entry in entries}

    def rank(one):
        """Good ones before those that nobody would go back to, the latest first."""
        return (one["version"] in good, latest.get(one["version"], ""), one["unpacked"])

    must = {version, back, *used}
    sound = [one["version"] for one in sorted(here.values(), key=rank, reverse=True) if not one.get("failed")]
    failed = sorted((one for one in here.values() if one.get("failed")), key=lambda one: one["failed"]["time"])
    places = max(0, keep - (version is not None))
    others = [one for one in sound if one != version][:places]
    must |= {*others, *(one["version"] for one in failed[-keep:])}
    return {name for name, one in here.items() if one["version"] in must}


def _in_use(settings, release):
    return bool(__utils__["globoapp_proc.holds_file_below"](__salt__["globoapp_release.directory"](settings, release)))


def prune(settings, keep=None):
    """
    Remove what :func:`plan` names, with the artifacts, logs and virtualenvs that belong to it. It takes
    the lock of a deploy; while another process holds it nothing is removed.

    Returns what went, as :func:`plan` does. Raises CommandExecutionError, naming the holder, during a deploy.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_prune.prune "$SETTINGS" keep=3
    """
    keep = settings["keep"] if keep is None else keep
    if keep == "all":
        return {"releases": [], "virtualenvs": []}
    mine = __utils__["globoapp_lock.held"](os.path.join(settings["root"], ".globoapp", "lock"))
    if not mine:
        __salt__["globoapp_deploy.lock"]({**settings, "lock_wait": 0}, "pruning of old releases")
    try:
        going = plan(settings, keep)
        for release in [*going["releases"], *_orphans(settings)]:
            __salt__["globoapp_release.remove"](settings, release)
            _logs(settings, release)
        used = [one["virtualenv"] for one in _records(settings).values()]
        swept = __salt__["globoapp_virtualenv.sweep"](settings, used)
    finally:
        if not mine:
            __salt__["globoapp_deploy.unlock"](settings)
    return {"releases": going["releases"], "virtualenvs": swept}


def _orphans(settings):
    """Releases whose directory is gone but not yet their record: what a removal left that was cut."""
    records = glob.glob(os.path.join(settings["root"], ".globoapp", "releases", "PACK*.json"))
    names = [os.path.basename(one)[: -len(".json")] for one in records]
    return [one for one in names if not os.path.isdir(__salt__["globoapp_release.directory"](settings, one))]


def _logs(settings, release):
    """Remove the evidence of a release that is gone: the logs of its failures, the files set aside from it."""
    own = os.path.join(settings["root"], ".globoapp")
    for path in glob.glob(os.path.join(own, "failed", f"{release}-*.log")):
        os.unlink(path)
    for path in glob.glob(os.path.join(own, "aside", f"{release}-*")):
        shutil.rmtree(path)


def checked(keep):
    """
    ``keep`` as a number of releases or ``"all"``; raises CommandExecutionError when it is neither.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_prune.checked 3
    """
    if keep == "all" or (isinstance(keep, int) and not isinstance(keep, bool) and keep >= 1):
        return keep
    raise CommandExecutionError(f'keep is {keep!r}: the number of releases to keep, 1 or more, or "all"')
