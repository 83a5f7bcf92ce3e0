"""
globoapp on a server: is it healthy, what serves, what is there, what happened, go back.

The functions that people and schedules call. Each returns plain data; one that finds something
wrong sets a return code other than 0.
"""

import os
import time

import psutil
from salt.exceptions import CommandExecutionError


def __virtual__():
    return "globoapp"


def _interfaces():
    """``{"eth0": ["10.0.0.2"], ...}``, IPv4 first."""
    found = {}
    for name, addresses in psutil.net_if_addrs().items():
        ip = [
            (one.family, one.address.partition("%")[0])
            for one in addresses
            if one.family.name in ("AF_INET", "AF_INET6")
        ]
        found[name] = [address for _, address in sorted(ip)]
    return found


def _resolve(**over):
    """Settings, problems and warnings of :func:`globoapp_settings.resolve`, with ``over`` in pillar's place."""
    # __pillar__, not pillar.get: Salt 3008 masks the latter outside rendering, and only the former
    # sees what was given on the command line on every line of Salt.
    pillar = {**dict(__pillar__), **over}
    given = pillar.get("globoapp")
    root = given.get("root") if isinstance(given, dict) else None
    root = root if isinstance(root, str) else __utils__["globoapp_settings.defaults"]()["root"]
    standing = __salt__["globoapp_deploy.standing"]({"root": root})
    return __utils__["globoapp_settings.resolve"](pillar, standing, _interfaces())


def settings():
    """
    The settings that a deploy on this host would use now: defaults, pillar, and for what pillar
    doesn't name what was deployed last.

    Returns the settings with ``address`` (bind as an IP address), ``release`` (PACKX_Y), of ``environment``
    only the names (a value may be a secret), and
    ``problems`` and ``warnings`` (lists of lines).

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.settings
    """
    found, problems, warnings = _resolve()
    found["environment"] = sorted(found["environment"]) if isinstance(found["environment"], dict) else []
    problems += __utils__["globoapp_monitor.pillar_problems"](dict(__pillar__))
    return {**found, "problems": problems, "warnings": warnings}


def preflight():
    """
    Everything that stands in the way of a deploy, found without touching anything: the settings,
    the artifact, the port, the installer, the room on the disk.

    Returns :func:`settings` with all ``problems``; the return code is 1 when there is one.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.preflight
    """
    found = settings()
    problems = found["problems"]
    if not __salt__["globoapp_systemd.booted"]():
        problems.append("systemd is not running this machine: the service is a systemd unit")
    else:
        problems += __salt__["globoapp_preflight.problems"](found)
    if problems:
        __context__["retcode"] = 1
    return found


def _live():
    """The settings of what stands here, and its ledger line; (settings, None) when nothing stands."""
    found, _, _ = _resolve(version=None, port=None)
    standing = __salt__["globoapp_deploy.standing"](found)
    if standing:
        found.update({key: standing[key] for key in ("version", "port", "bind", "address")})
        found["release"] = __utils__["globoapp_settings.release"](standing["version"])
    return found, standing


def health(timeout=None, deadline=None, report=False):
    """
    Ask the running service over HTTP whether it is well, and prove that the release which stands
    here is the one that answers.

    timeout
        Seconds for one request (pillar ``timeout``).
    deadline
        Seconds in which to ask again after a wrong answer, first after 50 ms (pillar ``deadline``);
        0 asks once.
    report
        Send the result to the master, with disk, processors, memory and what the ledger has new
        (:func:`globoapp_monitor.report`): what the schedule does every minute.

    Returns ``{"healthy": bool, "version", "asked": url, "status", "latency_ms", "attempts"}``; when
    unhealthy also ``problems`` (what came back, what was not proven), ``body`` and ``log`` (the
    service's last lines), and the return code is 1.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.health
    """
    result = _health(timeout, deadline)
    if not result["healthy"]:
        __context__["retcode"] = 1
    if report:
        __salt__["globoapp_monitor.report"](result)
    return result


def _health(timeout, deadline):
    found, standing = _live()
    if standing is None:
        return {"healthy": False, "version": None, "problems": ["nothing is deployed on this host"]}
    timeout = found["timeout"] if timeout is None else timeout
    until = time.monotonic() + (found["deadline"] if deadline is None else deadline)
    where = __salt__["globoapp_serving.where"](found)
    record = __salt__["globoapp_release.record"](found, found["release"])
    expected = record["manifest"]["health"] if record else {"path": "/"}
    attempts, pause = 0, 0.05
    while True:
        attempts += 1
        problem, answer = __utils__["globoapp_http.once"](where, expected, timeout)
        problems = [problem] if problem else __salt__["globoapp_serving.proof"](found, found["release"])
        if not problems or time.monotonic() + pause > until:
            break
        time.sleep(pause)
        pause = min(pause * 1.5, 1)
    if problems and _live()[1] != standing:
        return _health(timeout, deadline)  # a deploy ended meanwhile: what stood before is not to be asked for
    result = {
        "healthy": not problems,
        "version": standing["version"],
        "asked": f"http://{where[1]}:{where[2]}{expected['path']}",
        "status": answer["status"] if answer else None,
        "latency_ms": round(answer["seconds"] * 1000, 1) if answer else None,
        "attempts": attempts,
    }
    if problems:
        result["problems"] = problems
        result["body"] = answer["body"][:500] if answer else None
        result["log"] = __salt__["globoapp_serving.log"](found, found["release"])
    return result


def status():
    """
    What stands on this host and whether it is what serves.

    Returns ``{"version", "release", "address", "since", "current", "running": [...], "at_boot": [...],
    "deploying": None or who, "differences": [...]}``; the return code is 1 when there are differences.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.status
    """
    found, standing = _live()
    root, name = found["root"], found["name"]
    link = os.path.join(root, "current")
    current = os.path.basename(os.readlink(link)) if os.path.islink(link) else None
    differences = []
    if standing is None:
        differences.append("nothing is deployed on this host")
    else:
        differences += __salt__["globoapp_serving.proof"](found, found["release"])
        if current != found["release"]:
            differences.append(f"current points to {current} in place of {found['release']}")
        for step, phrase in __salt__["globoapp_serving.plan"](found).items():
            if step in ("define", "enable", "stop", "close", "unmask"):
                differences.append(phrase)
    differences += [f"left by a deploy that was cut: {one}" for one in _cut(found)]
    if differences:
        __context__["retcode"] = 1
    return {
        "version": standing["version"] if standing else None,
        "release": found["release"] if standing else None,
        "address": f"{found['address']}:{found['port']}" if standing else None,
        "since": _since(found, standing),
        "current": current,
        "running": __salt__["globoapp_systemd.running"](name),
        "at_boot": __salt__["globoapp_systemd.enabled"](name),
        "deploying": _deploying(found),
        "differences": differences,
    }


def _since(found, standing):
    """When what stands was put there: the first of the ledger's last good lines that say the same."""
    since = None
    for entry in reversed(__utils__["globoapp_ledger.read"](found["root"])):
        if entry["result"] != "success":
            continue
        if any(entry[key] != standing[key] for key in ("version", "port", "bind")):
            break
        since = entry["time"]
    return since


def _deploying(found):
    return __utils__["globoapp_lock.busy"](os.path.join(found["root"], ".globoapp", "lock"))


def _cut(found):
    """What a cut deploy left; while one is under way nothing counts as left."""
    return [] if _deploying(found) is not None else __salt__["globoapp_deploy.leftovers"](found)


def deploying():
    """
    Who deploys on this host at this moment: ``{"what", "since", "jid", "pid"}``, or None.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.deploying
    """
    return _deploying(_live()[0])


def releases():
    """
    The releases on this host, oldest version first.

    Returns ``{"PACK1_0": {"version", "state": "live" or "good" or "failed" or "unused", "unpacked",
    "sha256", "why": only when failed}}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.releases
    """
    found, standing = _live()
    good = __utils__["globoapp_ledger.good"](__utils__["globoapp_ledger.read"](found["root"]))
    listed = {}
    for name in __salt__["globoapp_release.names"](found):
        record = __salt__["globoapp_release.record"](found, name)
        state = "good" if record["version"] in good else "unused"
        if record.get("failed"):
            state = "failed"
        if standing and record["version"] == standing["version"]:
            state = "live"
        listed[name] = {key: record[key] for key in ("version", "unpacked", "sha256")}
        listed[name]["state"] = state
        if record.get("failed"):
            listed[name]["why"] = record["failed"]["why"]
            listed[name]["log"] = record["failed"]["log"]
    return listed


def history(limit=20):
    """
    The ledger of this host, newest first.

    limit
        How many lines; 0 is all.

    Returns a list of dicts as in ``deployments.jsonl``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.history limit=5
    """
    entries = __utils__["globoapp_ledger.read"](_live()[0]["root"])[::-1]
    return entries[: int(limit)] if int(limit) else entries


def prune(keep=None, test=False):
    """
    Remove old releases and the virtualenvs that nothing uses. What is live, what a rollback would go
    to and what a process runs out of always stays.

    keep
        How many releases stay (pillar ``keep``); "all" removes nothing.
    test
        Only say what would go.

    Returns ``{"releases": ["PACK1_0"], "virtualenvs": [names]}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.prune keep=3 test=True
    """
    found, standing = _live()
    if standing is None:
        raise CommandExecutionError("nothing is deployed on this host: there is nothing to choose from")
    keep = __salt__["globoapp_prune.checked"](found["keep"] if keep is None else keep)
    return __salt__["globoapp_prune.plan" if test or __opts__["test"] else "globoapp_prune.prune"](found, keep)


def rollback(version=None):
    """
    Go back to the last good release, or to ``version``, by the same way as any deploy.

    version
        A release that is on this host. The command line reads 1.0 as a number: that is taken for the one
        release that it can mean; where it can mean two (1.1 and 1.10), write version="'1.10'".

    Returns ``{"result": bool, "from", "to", "comment"}``, and ``failed`` (what each failed state
    said). When there is nothing to go back to nothing changes. The return code is 1 when it failed.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.rollback
        salt 'web*' globoapp.rollback version=1.0
    """
    found, standing = _live()
    here = {one["version"]: one["state"] for one in releases().values()}
    if version is None:
        entries = __utils__["globoapp_ledger.read"](found["root"])
        present = [one for one, state in here.items() if state != "failed"]
        version, reason = __utils__["globoapp_ledger.rollback_target"](entries, present)
        if version is None:
            return {
                "result": True,
                "from": (standing or {}).get("version"),
                "to": None,
                "comment": f"Nothing to go back to: {reason}. Nothing was changed.",
            }
    else:
        reason = "as asked"
        if isinstance(version, float):  # the command line makes a number of version=1.0
            meant = [one for one in here if one.count(".") == 1 and float(one) == version]
            if len(meant) < 2:
                version = meant[0] if meant else str(version)
        problem = __utils__["globoapp_settings.version_problem"](version)
        if not problem and version not in here:
            problem = f"version {version} is not on this host; there are: {', '.join(here) or 'none'}"
        if problem:
            __context__["retcode"] = 1
            return {
                "result": False,
                "from": (standing or {}).get("version"),
                "to": version,
                "comment": f"{problem}. Nothing was changed.",
            }
    __salt__["globoapp_deploy.lock"](found, f"rollback to {version}")
    try:
        pillar = {"version": version, "globoapp_rollback": True}
        states = __salt__["state.apply"]("globoapp", pillar=pillar)
    finally:
        __salt__["globoapp_deploy.unlock"](found)
    if not isinstance(states, dict):
        raise CommandExecutionError("the states could not be applied: " + "; ".join(map(str, states)))
    failed = [one["comment"] for one in states.values() if one["result"] is False]
    if failed:
        __context__["retcode"] = 1
    return {
        "result": not failed,
        "from": standing["version"],
        "to": version,
        "comment": f"{version} ({reason}) " + ("serves." if not failed else "could not be put back."),
        **({"failed": failed} if failed else {}),
    }
