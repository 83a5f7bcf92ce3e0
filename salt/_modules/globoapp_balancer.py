"""
HAProxy on a load balancer, by its runtime socket: a rollout takes a server out of it for its deploy, and back.
"""

import globolib

globolib.refresh()

from globolib import balancer, haproxy  # noqa: E402
from globolib.errors import Failure  # noqa: E402
from salt.exceptions import CommandExecutionError  # noqa: E402


def __virtual__():
    return "globoapp_balancer"


def _call(function, *args):
    try:
        return function(*args)
    except Failure as failure:
        raise CommandExecutionError(str(failure)) from failure


def state(backend="globoapp", socket=haproxy.SOCKET):
    """
    What HAProxy says of the servers of a backend: ``{server: {"status": UP, DOWN, DRAIN, MAINT ..., "sessions":
    requests that it is busy with, "check": what the last health check saw}}``.

    CLI Example:

    .. code-block:: bash

        salt 'lb*' globoapp_balancer.state
    """
    return _call(haproxy.shown, backend, socket)


def drain(backend, server, wait=30, socket=haproxy.SOCKET):
    """
    Give a server no more requests, and wait until those that it has have ended. The last server that takes requests
    keeps them; one in maintenance stays there.

    wait
        Seconds at most.

    Returns ``{"drained", "sessions": how many are left, "comment"}``.

    CLI Example:

    .. code-block:: bash

        salt 'lb*' globoapp_balancer.drain globoapp web1
    """
    return _call(haproxy.drain, backend, server, float(wait), socket)


def ready(backend, server, wait=30, socket=haproxy.SOCKET):
    """
    Give a server requests again, and wait until HAProxy finds it well.

    wait
        Seconds at most; then it is an error. With 0 its health check decides later.

    Returns ``{"status", "comment"}``.

    CLI Example:

    .. code-block:: bash

        salt 'lb*' globoapp_balancer.ready globoapp web1
    """
    return _call(haproxy.ready, backend, server, float(wait), socket)


def settings():
    """
    What ``state.apply globoapp_balancer`` would configure HAProxy with: ``backends`` by pillar ``globoapp_balancer``,
    and ``problems`` (a list of lines), a configuration of somebody else among them.

    CLI Example:

    .. code-block:: bash

        salt 'lb*' globoapp_balancer.settings
    """
    backends, problems = balancer.backends(__pillar__.get("globoapp_balancer"))
    query = ["dpkg-query", "--show", "--showformat=${Conffiles}", "haproxy"]
    foreign = haproxy.foreign(__salt__["cmd.run_stdout"](query, ignore_retcode=True, python_shell=False))
    return {"backends": backends, "problems": [*problems, *([foreign] if foreign else [])]}
