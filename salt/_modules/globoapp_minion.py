"""
globoapp on a server, as its beacon, its schedule, the master's reactors and the sls files call it. People call
:mod:`globoapp`.
"""

import os

import globolib

globolib.refresh()

import salt.utils.yaml  # noqa: E402
from globolib import answers, steps, systemd  # noqa: E402
from globolib import digest as code  # noqa: E402
from globolib import heal as healing  # noqa: E402
from globolib.errors import Failure  # noqa: E402
from globolib.kubernetes import render  # noqa: E402
from globolib.minion import Minion  # noqa: E402
from globolib.monitor import look as looking  # noqa: E402
from globolib.monitor import report as reports  # noqa: E402
from globolib.monitor import thresholds  # noqa: E402
from salt.exceptions import CommandExecutionError  # noqa: E402

# Where what the beacon remembers between two looks is kept.
MEMORY = "globoapp.monitor"
# Where a run of states notes that the code was found to be current: it is asked by every sls file.
CURRENT = "globoapp.code"


def __virtual__():
    return "globoapp_minion"


def _minion():
    return Minion(__salt__, __opts__, __pillar__, salt.utils.yaml.safe_load)


def digest():
    """
    The digest of this tree's custom code where it was loaded from: of the master's tree when its pillar asks, of a
    minion's cache there.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.digest
    """
    return code.here(__opts__)


def is_current(served=None):
    """
    Whether this minion has, and this process has loaded, the custom code that the master serves.

    served
        The master's :func:`digest`, from pillar; without it the answer is no.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.is_current
    """
    key = (__opts__.get("jid"), os.getpid(), served)
    if __context__.get(CURRENT) != key and code.is_current(__opts__, served):
        __context__[CURRENT] = key
    return __context__.get(CURRENT) == key


def rendered():
    """
    What the sls files of a deploy are rendered from: of each app that the call is for the settings as
    ``globoapp.settings`` shows them, and ``problems``, whether there are any.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.rendered
    """
    return steps.rendered(_minion(), __context__, lambda minion: thresholds.pillar_problems(minion.pillar, minion.app))


def fit(served=None):
    """
    Those of :func:`rendered` that have no problems. None where the custom code that the master serves is not loaded: it
    has to be brought here first.

    served
        As in :func:`is_current`.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.fit
    """
    return [app for app in rendered() if not app["problems"]] if is_current(served) else []


def kubernetes():
    """
    What ``globoapp.kubernetes`` is rendered from: of each app that the call is for ``app``, ``title``, ``directory``,
    and ``problems``, or ``files`` (which there are) and ``why`` it has so many pods. No values: they hold secrets.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.kubernetes
    """
    return render.shown(_minion(), __context__)


def kubernetes_values(app):
    """
    What the manifests of an app are filled with: for the templates. Who asks by name gets nothing, as the values of
    ``environment`` are among them.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.kubernetes_values globoapp
    """
    try:
        return render.one(_minion(), __context__, app)
    except Failure as failure:
        raise CommandExecutionError(str(failure)) from failure


def look():
    """
    One look at each app by every probe that is due: what the beacon calls, in the minion's own loop. While a deploy of
    an app is under way nobody looks at it.

    Returns the events that are to be fired, mostly none: ``[{"tag": "api/bad", "probe": "api", "state": "bad", "clear"
    or "reminder", "value", "threshold", "message", "since", "time"}]``, of any app but ``globoapp`` with ``app``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.look
    """
    if not isinstance(__context__.get(MEMORY), dict):
        __context__[MEMORY] = {}
    return looking.turn(_minion(), __context__[MEMORY])


def deployed(app=None):
    """
    What a rollout asks a server: ``{"version", "deploying": None or what, "jobs": [ids of the jobs that run], "lines":
    [the last ledger lines]}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.deployed
    """
    return answers.deployed(_minion().for_app(app))


def opened(app=None):
    """
    The probes of an app that are bad at this moment, as the beacon knows them: ``{"api": {"since", "message", ...}}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.opened
    """
    return looking.opened(_minion().for_app(app))


def acknowledge(ids):
    """
    The master has these ledger lines: do not send them again. Returns how many are still to be sent.

    ids
        A list of the lines' ``id``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.acknowledge '["0123456789abcdef0123456789abcdef"]'
    """
    return reports.acknowledge(_minion(), ids)


def heal(app=None):
    """
    Put back the version of an app that is recorded as deployed here, on the port that is recorded, by the steps of a
    deploy. Not while a deploy or another state run is under way. Event ``globoapp/heal/<id>``.

    Returns ``{"result": "healed", "failed" or "refused", "comment"}``; the return code is 1 unless healed.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.heal
    """
    answer = healing.heal(_minion().for_app(app))
    if answer["result"] != "healed":
        __context__["retcode"] = 1
    return answer


def take_up():
    """
    Have the minion take up its pillar anew: beacon, schedule and thresholds of the monitoring are in there. Without a
    daemon (``salt-call``) there is nobody to take it up.

    Returns what came of it, a phrase. A function and no ``onlyif``: with one, Salt loads all its state modules, which
    takes a second.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.take_up
    """
    if systemd.unit("salt-minion.service").active != "active":
        return "no minion runs that could take it up"
    if not _minion().refresh():
        raise CommandExecutionError("the minion was not told to take up its pillar: salt-call saltutil.refresh_pillar")
    return "the minion takes it up"


def tidy():
    """
    Make room: old releases beyond pillar's ``keep`` (:func:`globoapp.prune`), and logs older than
    ``globoapp:monitor:disk:logs_days``: those kept of failed releases, and the journal's. Nothing else.

    Returns ``{"releases": what globoapp.prune returned, "logs": [paths]}``; of several apps that by their names.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_minion.tidy
    """
    told = {}
    for minion in map(_minion().for_app, _minion().apps):
        disk = thresholds.settle(minion.pillar_section.get("monitor"))["disk"] or thresholds.DEFAULTS["disk"]
        told[minion.app] = healing.tidy(minion, disk["logs_days"])
    return told if len(told) > 1 else told[minion.app]
