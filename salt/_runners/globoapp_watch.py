"""
What the reactors and the engine ``globoapp`` call on the master. People call ``globoapp``.
"""

import globolib

globolib.refresh()

import salt.cache  # noqa: E402
import salt.client  # noqa: E402
import salt.utils.minions  # noqa: E402
from globolib import apps  # noqa: E402
from globolib.monitor import inventory  # noqa: E402
from globolib.monitor import store as stores  # noqa: E402
from globolib.monitor.accepted import Accepted  # noqa: E402
from globolib.monitor.notify import Notifier  # noqa: E402
from globolib.monitor.watch import Watch  # noqa: E402
from globolib.rollout import catchup  # noqa: E402
from globolib.rollout.book import Book  # noqa: E402


def __virtual__():
    return "globoapp_watch"


def _store():
    return stores.opened(__opts__, salt.cache.Cache)


def _tell(minion, function, args):
    """Have a minion do something, without waiting for it. As a list: an id with a comma in it is one id."""
    with salt.client.get_local_client(mopts=__opts__) as client:
        client.cmd_async([minion], function, args, tgt_type="list")


def _matching(target, tgt_type):
    return salt.utils.minions.CkMinions(__opts__).check_minions(target, tgt_type)["minions"]


def _accepted():
    return _matching("*", "glob")


def _watch():
    return Watch(_store(), _tell, lambda: Accepted(_accepted, __context__))


def _section(minion, app):
    """``notify`` of an app of a server, by its pillar as this master renders it now."""
    pillar = __salt__["pillar.show_pillar"](minion)
    if "_errors" in pillar:
        raise ValueError(f"the pillar of {minion} has errors: {'; '.join(map(str, pillar['_errors']))}")
    known = apps.names(pillar)
    # What the master says of a server itself is told where the first app's alerts are.
    return apps.section(pillar, app if app in known else known[0]).get("notify") or {}


def _pillar_wants(minion):
    """Whether pillar has ``catch_up`` for an app of a server; rendered when it is asked for the first time."""
    rendered = []

    def wants(app):
        rendered[:] = rendered or [__salt__["pillar.show_pillar"](minion)]
        return apps.section(rendered[0], app).get("catch_up") is True

    return wants


def _catch_up(minion):
    """A server that was away, or is new, comes to the version of the last finished rollout, where pillar says so."""
    known = _store().get("servers", minion) or {}
    report = known.get("report") or {}
    parts = {apps.DEFAULT: report, **(report.get("apps") or {})}
    free = {app: part for app, part in parts.items() if not part.get("deploying") and not part.get("maintenance")}
    versions = {app: part.get("version") for app, part in free.items()}
    matching = lambda one: _matching(one.target, one.tgt_type)  # noqa: E731
    book = Book(_store(), __opts__["cachedir"])
    catchup.catch_up(book, _store(), minion, versions, matching, _pillar_wants(minion), _tell)


def _notifier():
    return Notifier(_store(), _section, __context__)


def alert(minion, data):
    """
    Record an edge. See :func:`globoapp.alert`.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.alert web1 '{"probe": "disk", "state": "clear", "message": "a test"}'
    """
    return _watch().alert(minion, data)


def heal(minion, again=False, app=None):
    """
    Heal where that is allowed now. See :func:`globoapp.heal`.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.heal web1
    """
    return _watch().heal(minion, again, app)


def healing(minion, app="globoapp"):
    """
    What is known of the healing of a server: ``{"attempts": [seconds since the epoch], "gave_up": bool,
    "not_before", "last": what the last attempt said}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.healing web1
    """
    return _watch().healing(minion, app)


def healed(minion, data):
    """
    What came of an attempt to heal (event ``globoapp/heal/<id>``).

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.healed web1 '{"result": "healed", "comment": "a test"}'
    """
    _watch().healed(minion, data)


def deployed(minion, entries):
    """
    Record ledger lines of a server (event ``globoapp/deploy/<id>``, and reports), each once however often it
    comes, and acknowledge them.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.deployed web1 '[]'
    """
    _watch().deployed(minion, entries)


def report(minion, data):
    """
    Take a server's report (event ``globoapp/report/<id>``): remember it, record the deploys that it brings, and put
    right what was missed while this master was down: alerts that opened or cleared meanwhile. Where pillar has
    ``catch_up``, a server that is behind the last finished rollout is told to deploy it.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.report web1 '{...}'
    """
    _watch().report(minion, data)
    _catch_up(minion)


def tend():
    """
    The next attempt to heal, where an API is dead. Called by the engine, about every second.

    Returns ``{host: what globoapp.heal returned}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.tend
    """
    return _watch().tend()


def listen():
    """
    Servers that have fallen silent become alerts. Called by the engine, about twice a minute.

    Returns ``{host: when it was heard of last}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.listen
    """
    return _watch().listen(inventory.silent(_store(), ()))


def expire():
    """
    Forget alerts that ended more than 400 days ago, and deploys beyond 2,000 of a server. Called by the engine once a
    day. Returns how many.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.expire
    """
    return _watch().expire()


def deliver():
    """
    Send the notifications that are due, oldest first. Called by the engine, about every second.

    Returns ``{"sent", "waiting", "unwanted", "dead"}``: how many.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.deliver
    """
    return _notifier().deliver()


def pending():
    """
    See :func:`globoapp.pending`.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.pending
    """
    return _notifier().pending()


def dead_letters(drop=False, retry=False):
    """
    See :func:`globoapp.dead_letters`.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.dead_letters
    """
    return _notifier().dead_letters(drop, retry)
