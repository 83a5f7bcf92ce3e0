"""
What a server does for itself when the master tells it to: put back what stood, make room.
"""

import logging
import os
import time

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)


def __virtual__():
    return "globoapp_heal"


def heal():
    """
    Put back the version that is recorded as standing here, on the port that is recorded, by the states
    of a deploy. Not while a deploy or another state run is under way. Event ``globoapp/heal/<id>``.

    Returns ``{"result": "healed", "failed" or "refused", "comment"}``; the return code is 1 unless healed.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_heal.heal
    """
    result, comment = _heal()
    answer = {"result": result, "comment": comment, "time": __utils__["globoapp_ledger.now"]()}
    if result != "healed":
        __context__["retcode"] = 1
    __salt__["event.send"](f"globoapp/heal/{__opts__['id']}", answer)
    return answer


def _heal():
    settings = {"root": __salt__["globoapp_monitor.root"]()}
    who = __utils__["globoapp_lock.busy"](os.path.join(settings["root"], ".globoapp", "lock"))
    if who is not None:
        return "refused", f"{who.get('what', 'a deploy')} is under way, job id {who.get('jid')}"
    standing = __salt__["globoapp_deploy.standing"](settings)
    if standing is None:
        return "refused", "nothing is deployed on this host"
    began = time.monotonic()
    aid = _first_aid(standing)
    # Named although recorded: a pin in pillar that was never deployed must not be what healing brings.
    pillar = {"version": standing["version"], "port": standing["port"]}
    states = __salt__["state.apply"]("globoapp", pillar=pillar)
    if not isinstance(states, dict):
        return ("refused" if __salt__["state.running"]() else "failed"), "; ".join(map(str, states))
    failed = [one["comment"] for one in states.values() if one["result"] is False]
    if failed:
        return "failed", "\n".join(failed)[:4000]
    if aid and __salt__["globoapp_deploy.standing"](settings) == standing:
        # The states found nothing left to do, and so wrote no line.
        __salt__["globoapp_deploy.repaired"](settings, standing, aid, round(time.monotonic() - began, 3))
    done = aid + [one.get("__id__", tag) for tag, one in states.items() if one.get("changes")]
    return "healed", f"{standing['version']} was put back: {', '.join(done) or 'nothing had to be changed'}"


def _first_aid(standing):
    """
    Put back files of the release from the host's own copy, and start what has to be started: it serves
    again seconds before the states get to it. Returns what was done, phrases; what this cannot do the
    states do, or say why not.
    """
    found = {
        **__salt__["globoapp.settings"](),
        **{key: standing[key] for key in ("version", "port", "bind", "address")},
    }
    found.update(release=__utils__["globoapp_settings.release"](standing["version"]), lock_wait=0)
    template = f"/etc/systemd/system/{__salt__['globoapp_systemd.instance'](found['name'], '')}"
    known = __salt__["globoapp_release.record"](found, found["release"])
    if known is None:
        return []
    try:
        __salt__["globoapp_deploy.lock"](found, f"first aid for {standing['version']}")
        try:
            done = []
            if not os.path.exists(template):
                source, context = "salt://globoapp/files/release.service.jinja", {"app": found, "candidate": False}
                __salt__["cp.get_template"](source, template, template="jinja", context=context)
                os.chmod(template, 0o644)
                done = [f"{template} was missing"]
            if not __salt__["globoapp_virtualenv.complete"](known["virtualenv"]):
                done.append(f"{__salt__['globoapp_virtualenv.build'](found, known['lock'])['path']} was built again")
            if __salt__["globoapp_release.differences"](found, found["release"]):
                made = __salt__["globoapp_preflight.artifact"](found)
                done += __salt__["globoapp_release.unpack"](found, made, known["virtualenv"])
            return done + list(__salt__["globoapp_switch.switch"](found).values())
        finally:
            __salt__["globoapp_deploy.unlock"](found)
    except CommandExecutionError as error:
        log.warning("first aid did not help: %s", error)
        return []


def tidy():
    """
    Make room: old releases beyond pillar's ``keep`` (:func:`globoapp.prune`), and logs older than
    ``globoapp:monitor:disk:logs_days``: those kept of failed releases, and the journal's. Nothing else.

    Returns ``{"releases": what globoapp.prune returned, "logs": [paths]}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_heal.tidy
    """
    disk = __salt__["globoapp_monitor.settings"]()["disk"] or __utils__["globoapp_monitor.settle"]({})["disk"]
    days = disk["logs_days"]
    gone, directory = [], os.path.join(__salt__["globoapp_monitor.root"](), ".globoapp", "failed")
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        path = os.path.join(directory, name)
        if name.endswith(".log") and os.stat(path).st_mtime < time.time() - days * 86400:
            os.unlink(path)
            gone.append(path)
    __salt__["globoapp_systemd.vacuum"](days)
    try:
        releases = __salt__["globoapp.prune"]()
    except CommandExecutionError as error:
        releases = {"problem": str(error)}
    return {"releases": releases, "logs": gone}
