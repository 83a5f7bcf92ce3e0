"""
States of a deploy that no core state can say. Thin: what they do is in the package globolib.

Each takes what it works on from the run (:mod:`globolib.run`) that the sls files were rendered from: that of ``app``.
"""

import logging

import globolib

globolib.refresh()

import salt.utils.yaml  # noqa: E402
from globolib import run, steps  # noqa: E402
from globolib.errors import Failure  # noqa: E402
from globolib.minion import Minion  # noqa: E402

log = logging.getLogger(__name__)


def __virtual__():
    return "globoapp"


def _answer(name, outcome):
    """A state's return; under test=True changes mean that the result is None."""
    result = None if outcome.changes and outcome.result and __opts__["test"] else outcome.result
    answer = {"name": name, "changes": dict(outcome.changes), "result": result, "comment": outcome.comment}
    if outcome.warnings:
        answer["warnings"] = list(outcome.warnings)
    return answer


def _do(app, step, name, *args):
    """Carry out a step; a Failure is its red comment, and so is a disk that is full, or another OSError."""
    try:
        minion = Minion(__salt__, __opts__, __pillar__, salt.utils.yaml.safe_load).for_app(app)
        return _answer(name, step(run.current(minion, __context__), name, *args))
    except Failure as failure:
        return _answer(name, steps.Outcome(str(failure), result=False))
    except OSError as error:
        log.exception("%s failed", name)
        return _answer(name, steps.Outcome(f"{error.filename or name}: {error.strerror or error}", result=False))


def ready(name, app="globoapp", **kwargs):
    """
    The settings and this host are fit for the deploy, it is the only one on the host, and nothing is left of one
    that was cut.

    name
        What is deployed, for people to read.
    """
    ours = [chunk["fun"] for chunk in __lowstate__ if chunk.get("state") == "globoapp"]
    return _do(app, steps.ready, name, "recorded" in ours)


def virtualenv(name, app="globoapp", **kwargs):
    """
    The virtualenv of the release's lock is complete.

    name
        The version.
    """
    return _do(app, steps.virtualenv, name)


def release(name, app="globoapp", **kwargs):
    """
    The release is unpacked and holds what its artifact holds.

    name
        The release's directory.
    """
    return _do(app, steps.release, name)


def release_command(name, app="globoapp", **kwargs):
    """
    What the version wants to have run before it serves (a migration, say) has run, with its code and in its sandbox.

    name
        The version.
    """
    return _do(app, steps.release_command, name)


def tried(name, app="globoapp", **kwargs):
    """
    The release was seen to work on a private socket before it may touch the shared one. One that runs already needs
    no trial; neither does what is deployed when nothing serves at all.

    name
        The release.
    """
    return _do(app, steps.tried, name)


def configured(name, app="globoapp", **kwargs):
    """
    The files that the app's units and gunicorn read hold what the settings say.

    name
        The app.
    """
    return _do(app, steps.configured, name)


def serving(name, app="globoapp", **kwargs):
    """
    The release, and it alone, takes the requests on its address, now and after a reboot.

    name
        The unit.
    """
    return _do(app, steps.serving, name)


def healthy(name, app="globoapp", **kwargs):
    """
    The service answers as the release should, and it is this release that answers.

    name
        Where it is asked.
    """
    return _do(app, steps.healthy, name)


def proxy_checked(name, app="globoapp", **kwargs):
    """
    nginx takes what pillar ``proxy`` asks for: its site was tried, and nothing that serves was touched.

    name
        The app.
    """
    return _do(app, steps.proxy_checked, name)


def proxied(name, app="globoapp", **kwargs):
    """
    nginx is in front of the app as pillar ``proxy`` says, and by it the release answers; without ``proxy`` it is not.

    name
        The app.
    """
    return _do(app, steps.proxied, name)


def recorded(name, app="globoapp", **kwargs):
    """
    What this run did, tried or failed to do is in the ledger; then the next deploy may go on.

    name
        The ledger.
    """
    return _do(app, steps.recorded, name, __running__)


def pruned(name, app="globoapp", **kwargs):
    """
    Of old releases and virtualenvs there are no more than pillar ``keep`` says. The last step that is ours: what
    comes next in this process is another run.

    name
        The root.
    """
    try:
        return _do(app, steps.pruned, name)
    finally:
        run.close(__context__, app)
