"""
globoapp on a server: is it healthy, what serves, what is there, what happened, go back.

What people and schedules call. Each returns plain data; one that finds something wrong sets a return code other
than 0. Each takes ``app``, the name of an app below pillar ``globoapps``; without it ``globoapp`` is meant, or the only
app that there is.
"""

import globolib

globolib.refresh()

import salt.utils.yaml  # noqa: E402
from globolib import answers  # noqa: E402
from globolib import rollback as going_back  # noqa: E402
from globolib.errors import Failure  # noqa: E402
from globolib.minion import Minion  # noqa: E402
from globolib.monitor import report as reports  # noqa: E402
from globolib.monitor import thresholds  # noqa: E402
from salt.exceptions import CommandExecutionError  # noqa: E402


def __virtual__():
    return "globoapp"


def _call_site(function, *args, **kwargs):
    """What a function says of this host with all its apps."""
    try:
        return function(Minion(__salt__, __opts__, __pillar__, salt.utils.yaml.safe_load), *args, **kwargs)
    except Failure as failure:
        raise CommandExecutionError(str(failure)) from failure


def _call(app, function, *args, **kwargs):
    """What a function says of an app."""
    return _call_site(lambda minion: function(minion.for_app(app), *args, **kwargs))


def _asked(function):
    """The same function of a minion, with what is wrong with the parts of pillar that monitoring owns."""
    return lambda minion: function(minion, thresholds.pillar_problems(minion.pillar, minion.app))


def _judged(answer, well):
    if not well:
        __context__["retcode"] = 1
    return answer


def settings(app=None):
    """
    The settings that a deploy on this host would use now: defaults, pillar, and for what pillar doesn't name what was
    deployed last.

    Returns the settings with ``address`` (bind as an IP address), ``release`` (PACKX_Y), of ``environment`` only the
    names (a value may be a secret), and ``problems`` and ``warnings`` (lists of lines).

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.settings
    """
    return _call(app, _asked(answers.settings))


def preflight(app=None):
    """
    Everything that stands in the way of a deploy, found without touching anything: the settings, the artifact, the
    port, the installer, the room on the disk.

    Returns :func:`settings` with all ``problems``; the return code is 1 when there is one.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.preflight
    """
    answer = _call(app, _asked(answers.preflight))
    return _judged(answer, not answer["problems"])


def health(timeout=None, deadline=None, report=False, app=None):
    """
    Ask the running service over HTTP whether it is well, and prove that the deployed release is the one that answers.

    timeout
        Seconds for one request (pillar ``timeout``).
    deadline
        Seconds in which to ask again after a wrong answer, first after 50 ms (pillar ``deadline``); 0 asks once.
    report
        Send the result to the master, of all apps, with disk, processors, memory and what the ledgers have new: what
        the schedule does every minute.

    Returns ``{"healthy": bool, "version", "asked": url, "status", "latency_ms", "attempts"}``; when unhealthy also
    ``problems`` (what came back, what was not proven), ``body`` and ``log`` (the service's last lines), and the
    return code is 1. With ``report``, no ``app`` and several of them ``{"healthy": all are, "apps": {app: the same}}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.health
    """
    if not report:
        answer = _call(app, answers.health, timeout, deadline)
        return _judged(answer, answer["healthy"])
    told = _call_site(reports.report, lambda minion: answers.health(minion, timeout, deadline))
    if app is None and len(told) > 1:
        answer = {"healthy": all(each["healthy"] for each in told.values()), "apps": told}
    else:
        answer = told[_call(app, lambda minion: minion.app)]
    return _judged(answer, answer["healthy"])


def status(app=None):
    """
    What is deployed on this host and whether it is what serves.

    Returns ``{"version", "release", "address", "since", "current", "running": [...], "at_boot": [...],
    "deploying": None or who, "differences": [...]}``, with ``processes`` of a version that has background processes,
    and ``maintenance`` while there is one; the return code is 1 when there are differences.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.status
        salt 'web*' globoapp.status app=globoapp
    """
    answer = _call(app, answers.status)
    return _judged(answer, not answer["differences"])


def maintenance(mode=None, reason=None, until=None, app=None):
    """
    Keep an app as it is for a while: nothing heals or starts it, nothing is deployed or rolled back, and there is no
    alert about it. It ends by itself, or with ``off``; then what is dead is told and healed. Without ``mode`` it is
    shown.

    mode
        ``on`` or ``off``.
    reason, until
        With ``on``: why, and for how long: ``30m``, ``2h``, ``1d``; at most ``7d``. Said again it lasts from now on.

    Returns ``{"on": bool}``, and while it is on ``reason``, ``by``, ``since``, ``until``, ``left`` (seconds), ``stop``:
    the command that stops the service, for root on the host.

    CLI Example:

    .. code-block:: bash

        salt web1 globoapp.maintenance on reason='a new disk' until=2h
        salt 'web*' globoapp.maintenance
        salt web1 globoapp.maintenance off
    """
    answer = _call(app, answers.in_maintenance, mode, reason, until)
    if mode is not None:  # the master is to know at once
        _call_site(reports.report, lambda minion: answers.health(minion, deadline=0))
    return answer


def deploying(app=None):
    """
    Who deploys on this host at this moment: ``{"what", "since", "jid", "pid"}``, or None.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.deploying
    """
    return _call(app, answers.deploying)


def releases(app=None):
    """
    The releases on this host, oldest version first.

    Returns ``{"PACK1_0": {"version", "state": "live" or "good" or "failed" or "unused", "unpacked", "sha256", "why":
    only when failed}}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.releases
    """
    return _call(app, answers.releases)


def history(limit=20, app=None):
    """
    The ledger of this host, newest first.

    limit
        How many lines; 0 is all.

    Returns a list of dicts as in ``deployments.jsonl``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.history limit=5
    """
    return _call(app, answers.history, int(limit))


def prune(keep=None, test=False, app=None):
    """
    Remove old releases and the virtualenvs that nothing uses. What is live, what a rollback would go to and what a
    process runs out of always stays.

    keep
        How many releases stay (pillar ``keep``); "all" removes nothing.
    test
        Only say what would go.

    Returns ``{"releases": ["PACK1_0"], "virtualenvs": [names]}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.prune keep=3 test=True
    """
    return _call(app, going_back.pruned, keep, test)


def run(command, timeout=60, app=None):
    """
    Run a program once with the code, the virtualenv and the environment of the deployed release, as the service's user
    and in its sandbox. No shell reads it. A deploy may be under way meanwhile.

    command
        The program and its arguments; the virtualenv's programs are found first.
    timeout
        Seconds; then it is ended with all its processes.

    Returns ``{"command", "exit", "seconds", "output"}``: output is the last 1000 lines, without empty ones. ``exit`` is
    None where it did not end by itself, and ``problem`` says why. The return code is 1 unless ``exit`` is 0.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.run 'python --version'
        salt web1 globoapp.run 'python -c "import api"' timeout=20
    """
    answer = _call(app, answers.command, command, timeout)
    return _judged(answer, answer["exit"] == 0)


def rollback(version=None, app=None):
    """
    Go back to the last good release, or to ``version``, by the same way as any deploy.

    version
        A release that is on this host. The command line reads 1.0 as a number: that is taken for the one release
        that it can mean; where it can mean two (1.1 and 1.10), write version="'1.10'".

    Returns ``{"result": bool, "from", "to", "comment"}``, and ``failed`` (what each failed state said). When there is
    nothing to go back to nothing changes. The return code is 1 unless it went back.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.rollback
        salt 'web*' globoapp.rollback version=1.0
        salt 'web*' globoapp.rollback version=1.1 app=globoapp
    """
    answer = _call(app, going_back.rollback, version)
    return _judged(answer, answer["result"])
