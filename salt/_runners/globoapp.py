"""
globoapp as the master knows it: every server, every alert, every deploy. What people call; the reactors and the engine
call ``globoapp_watch``.
"""

import os
import sys
import time

import globolib

globolib.refresh()

import salt.cache  # noqa: E402
import salt.client  # noqa: E402
import salt.utils.event  # noqa: E402
import salt.utils.minions  # noqa: E402
from globolib import apps, files  # noqa: E402
from globolib.errors import Failure  # noqa: E402
from globolib.monitor import inventory as records  # noqa: E402
from globolib.monitor import metrics as exposition  # noqa: E402
from globolib.monitor import store as stores  # noqa: E402
from globolib.rollout import catchup  # noqa: E402
from globolib.rollout import command as rolling  # noqa: E402
from globolib.rollout.book import Book, Meant  # noqa: E402
from salt.exceptions import CommandExecutionError, NotImplemented, SaltCacheError  # noqa: E402

TEXTFILE = "/var/lib/prometheus/node-exporter/globoapp.prom"


def __virtual__():
    return "globoapp"


def _store():
    return stores.opened(__opts__, salt.cache.Cache)


def _expected():
    """The accepted minions that are not known yet and whose pillar names an app."""
    unheard = set(_matching("*", "glob")) - set(_store().keys("servers"))
    pillars = {minion: salt.utils.minions.get_minion_data(minion, __opts__)[2] for minion in unheard}
    return [minion for minion, pillar in pillars.items() if pillar and {"globoapp", "globoapps"} & set(pillar)]


class _Told(CommandExecutionError, NotImplemented):
    """An error that salt-run shows by its words: any other but NotImplemented it shows with 40 lines of traceback."""


def _call(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except Failure as failure:
        raise _Told(str(failure)) from failure


def _on_disk(function, what="what the master keeps"):
    """The same of what works with files, or another store: ``what``, for its error."""
    try:
        return _call(function)
    except PermissionError as error:
        who, directory = __opts__.get("user"), os.path.dirname(error.filename or what)
        raise _Told(f"{what} cannot be written by {who}: chown {who} {directory}") from error
    except (OSError, SaltCacheError) as error:
        raise _Told(f"{what} cannot be read or written: {error}") from error


def _book():
    return Book(_store(), __opts__["cachedir"])


def _matching(target, tgt_type):
    found = salt.utils.minions.CkMinions(__opts__).check_minions(target, tgt_type)
    return sorted(found["minions"])


def _balancer(minion, app):
    """
    The setting ``balancer`` of an app, by the pillar of a server as this master renders it now: what the master has in
    its cache may have come with an override of the minion's own, which must take no other server out.
    """
    pillar = __salt__["pillar.show_pillar"](minion)
    if "_errors" in pillar:
        raise Failure(f"the pillar of {minion} has errors: {'; '.join(map(str, pillar['_errors']))}")
    return apps.section(pillar, app).get("balancer")


def _rolling(function, *args):
    """What a function of rollouts says, with what it needs of this master; where salt-run runs a person reads along."""
    with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=True) as bus:
        master = rolling.Master(
            _book(),
            lambda: salt.client.get_local_client(mopts=__opts__),
            bus,
            bus.fire_event,
            sys.stdout if __opts__.get("__cli") == "salt-run" else None,
            __opts__.get("output") or "",
            _balancer,
            lambda: _matching("*", "glob"),
        )
        return _call(function, master, *args)


def _who():
    """Who calls: Salt's runner client packs it, and of salt-api it is the account that was checked."""
    return str(globals().get("__user__") or __opts__.get("user"))


def _permitted(servers):
    """
    Raises unless who calls may roll out to these servers. In salt-run's own process it is one who reads the master's
    keys, and may all; whoever comes by the master, as by salt-api, needs an entry.
    """
    if __opts__.get("__cli") != "salt-run":
        matching = lambda target: _matching(target, "compound")  # noqa: E731
        _call(rolling.permit, _who(), __opts__.get("globoapp_rollout"), servers, matching)


def _changed(function, name, *args):
    """What a function says that does something with a rollout."""
    _permitted(_call(_book().get, name).servers)
    return _rolling(function, name, *args)


def _typed(version):
    """The version as it was typed: Salt's command line makes numbers of 1.1 and 1.10, and of both the same one."""
    words = [word.removeprefix("version=") for word in __opts__.get("arg") or [] if isinstance(word, str)]
    if isinstance(version, float) and __opts__.get("__cli") == "salt-run":
        return next((word for word in words if word.replace(".", "", 1).isdigit() and float(word) == version), version)
    return version


def rollout(version=None, target=None, tgt_type="glob", app="globoapp", test=False, **options):
    """
    Put a version on many servers: all are staged and tried first, then one switches, then the others in batches.

    version
        On the command line without quotes, too.
    target, tgt_type
        Which servers, as ``salt`` takes it.
    app
        Which app.
    test
        Only say who would go when, and what each would do.
    first
        So many servers go before all others (1).
    batch
        So many at once after them: a number, or a share of all (25%).
    pause
        Seconds between the first and the others (0).
    failures
        So many servers may fail in the whole rollout (0).
    on_failure
        ``stop``, or ``rollback``: the servers that have it go back. Not where a release command has run.
    deadline, wait
        Seconds for the deploy of a server (600), and without an answer of it (30).
    skip_silent
        Begin without the servers that do not answer.

    Returns ``{"rollout": its id, "version", "phase", "why", "servers": {state: how many}, "without it": {server: why},
    "to type": [commands]}``; the return code is 0 only when every server has the version.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.rollout version=1.1 target='web*'
        salt-run globoapp.rollout version=1.1 target='web*' first=2 batch=10% pause=60 on_failure=rollback
        salt-run globoapp.rollout version=1.1 target='web*' test=True
    """
    options = {name: value for name, value in options.items() if not name.startswith("__")}
    version = _typed(version)
    if not isinstance(target, str) or not target:
        raise _Told("target is missing: which servers, for example target='web*'")
    servers = _call(_matching, target, tgt_type)
    _permitted(servers)
    meant = Meant(target, _who(), app, tgt_type, str(globals().get("__jid__") or ""))
    return _rolling(rolling.foretold if test else rolling.begin, version, servers, meant, options)


def resume(rollout):
    """
    Go on with a rollout that was paused, stopped or cut. Each server is asked anew; who has the version is skipped.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.resume 20261128-161230-5f3a
    """
    return _changed(rolling.resume, rollout)


def revert(rollout):
    """
    Bring the servers that a rollout has changed back to the version that each had.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.revert 20261128-161230-5f3a
    """
    return _changed(rolling.revert, rollout)


def pause(rollout):
    """
    Have a rollout begin no more servers. What is under way comes to its end.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.pause 20261128-161230-5f3a
    """
    return _changed(rolling.order, rollout, "pause")


def stop(rollout):
    """
    The same for good; it can be resumed all the same.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.stop 20261128-161230-5f3a
    """
    return _changed(rolling.order, rollout, "stop")


def watch(rollout):
    """
    Look on while another process drives a rollout.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.watch 20261128-161230-5f3a
    """
    return _rolling(rolling.watch, rollout)


def rollouts(limit=20):
    """
    The last rollouts, newest first.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.rollouts
    """
    return _on_disk(lambda: _book().listed(int(limit)))


def inventory():
    """
    Every server: what is deployed on it, whether it is well, and when it was heard of last.

    Returns ``{host: {"version", "port", "healthy", "latency_ms", "maintenance": None or {"reason", "by", "since",
    "until"}, "disk": {path: percent}, "cpu": percent,
    "memory": percent available, "watched": whether its beacon looks, "last_deploy": {"time", "version", "action",
    "result"}, "alerts": {probe: message}, "heard": time of the last report or None, "silent": bool}}``. The values of a
    silent server are those of its last report. An app on a unix socket has ``address`` and no port. A server with apps
    beside globoapp has ``apps``, their names, and for each a line ``host/app`` with ``host``, ``app`` and what is the
    app's of these. Who is behind the last finished rollout has ``behind``, ``{"version", "rollout"}``. With
    ``--out=globoapp`` it is a table, who is worst off first.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.inventory
        salt-run globoapp.inventory --out=globoapp
    """

    def shown():
        found = records.inventory(_store(), _expected())
        matching = lambda one: _matching(one.target, one.tgt_type)  # noqa: E731
        for name, behind in catchup.versions_behind(_book(), found, matching, _store()).items():
            found[name]["behind"] = behind
        return found

    return _on_disk(shown)


def silent():
    """
    The servers that have missed three reports: ``{host: time of the last one, or None}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.silent
    """
    return _on_disk(lambda: records.silent(_store(), _expected()))


def forget(host):
    """
    Take a server out of the records that is no more: its reports, its alerts and its deploys.

    Returns whether it was known.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.forget web9
    """
    return _on_disk(lambda: records.forget(_store(), host))


def alerts(until=None, host=None, app=None, **kwargs):
    """
    What is open now, and what was in a span of time.

    from, until
        Days or times in UTC (``2026-11-23``, ``2026-11-23T16:00``). With either, ``history`` lists the alerts
        that were open at some time between them.
    host, app
        Only those of this server, of this app.

    Returns ``{"open": [alert, ...], "history": [alert, ...]}``, oldest first; an alert is ``{"id", "host", "probe",
    "since", "until": None while open, "message", "value", "threshold", "slow", "reminders"}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.alerts
        salt-run globoapp.alerts from=2026-11-23 until=2026-11-24
    """
    return _on_disk(lambda: records.alerts(_store(), kwargs, until, host, app))


def history(host=None, until=None, limit=50, app=None, **kwargs):
    """
    Every deploy on every server, newest first.

    host, app
        Only those of this server, of this app.
    from, until
        Days or times in UTC.
    limit
        How many; 0 is all.

    Returns a list of ledger lines (``deployments.jsonl``).

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.history
        salt-run globoapp.history host=web1 from=2026-11-01 limit=0
    """
    return _on_disk(lambda: records.history(_store(), kwargs, host, until, int(limit), app))


def metrics(path=TEXTFILE):
    """
    Write the inventory for node_exporter's textfile collector, whole or not at all.

    path
        The file, ending in ``.prom``; its directory must exist.

    Returns ``{"path", "servers": how many}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.metrics
        salt-run globoapp.metrics path=/var/lib/prometheus/node-exporter/globoapp.prom
    """
    path = os.path.abspath(path)
    directory = os.path.dirname(path)
    if not path.endswith(".prom"):
        raise _Told(f"path is {path}: node_exporter reads files that end in .prom only")
    if not os.path.isdir(directory):
        raise _Told(
            f"{directory} is not there: make it and start node_exporter with --collector.textfile.directory={directory}"
        )
    servers = inventory()
    _on_disk(lambda: files.write(path, exposition.text(servers, time.time())), path)
    return {"path": path, "servers": sum("app" not in server for server in servers.values())}


def refused():
    """
    What servers sent and was not taken in, since it did not fit: ``{host: {"count", "why": the last time, "time"}}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.refused
    """
    return _on_disk(lambda: records.refused(_store()))


def pending():
    """
    Notifications that have not been delivered yet, oldest first: ``[{"host", "probe", "state", "time", "message"}]``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.pending
    """
    return __salt__["globoapp_watch.pending"]()


def dead_letters(drop=False, retry=False):
    """
    Notifications that could not be delivered, with ``why``.

    drop
        Forget them afterwards.
    retry
        Queue them again: after a wrong token was put right, say.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.dead_letters retry=True
    """
    return __salt__["globoapp_watch.dead_letters"](drop, retry)


def alert(minion, data):
    """
    Record what a beacon says, once for each edge, and queue the notification. Called by a reactor.

    minion
        The server.
    data
        The event's data: ``{"probe", "state": "bad", "clear" or "reminder", "message", "since", "time", ...}``.

    Returns the alert, or None when it was known already.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.alert web1 '{"probe": "api", "state": "bad", "message": "a test"}'
    """
    return __salt__["globoapp_watch.alert"](minion, data)


def heal(minion, again=False, app=None):
    """
    Have a server put its deployed version back, where that is allowed now: its API is bad, and not only slow, and it
    was not tried 3 times in 10 minutes; the pauses grow. Called by a reactor, and again by the engine.

    minion
        The server.
    again
        Forget what was tried before, also that it was given up: for a person who has removed the cause.
    app
        Which of its apps; without it globoapp.

    Returns ``"now"`` (it was told to), ``"wait"``, ``"over"`` (given up), ``"maintenance"`` or ``"well"``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.heal web1 again=True
    """
    return __salt__["globoapp_watch.heal"](minion, again, app)
