"""
Starts the release that serves afresh, without a moment in which nothing serves: a stand-in, the same release once more,
takes requests from the same socket meanwhile.
"""

from globolib import accounts, observe, systemd, units
from globolib.cuts import Cuts
from globolib.errors import Failure
from globolib.host import Unit
from globolib.layout import STANDIN
from globolib.settings import Settings
from globolib.trial import define


class NoStandIn(Failure):
    """The stand-in did not come up. ``unit``: as it was then."""

    def __init__(self, why: str, unit: Unit) -> None:
        super().__init__(why)
        self.unit = unit


def begin(settings: Settings, workers: int, cuts: Cuts) -> bool:
    """
    Have a stand-in of ``settings.release`` take requests on ``settings.listen``, with what the release's files hold
    now. One that a run which was cut has left makes way for it.

    workers
        How many the release has.
    cuts
        Counts the requests that are cut.

    Returns False where there is none, since the release runs with another account than it will. Raises NoStandIn when
    it does not come up: what serves goes on as it was.
    """
    layout, name = settings.layout, settings.release
    unit, standin = layout.instance(name), layout.instance(name, STANDIN)
    if accounts.runs_as(settings, systemd.unit(unit).pid) != settings.user:
        # systemd gives the StateDirectory to the account of what starts: beside a stand-in of another account the
        # release could not write any more. Clients wait in the socket's queue instead.
        return False
    define(settings, STANDIN, {layout.unit_file(standin): units.release_unit(settings, STANDIN)})
    try:
        cuts.during(lambda: systemd.systemctl("restart", standin), layout, name, STANDIN)
        observe.wait_for_workers(settings, workers, STANDIN)
    except (Failure, OSError) as failure:
        then = observe.seen(standin)
        systemd.stop(standin)
        raise NoStandIn(f"{failure}; {unit} goes on as it was", then) from failure
    return True


def finish(settings: Settings, workers: int, cuts: Cuts, stands_in: bool) -> Unit:
    """
    Start the instance of ``settings.release`` afresh, wait until it has its workers, and end the stand-in, where
    :func:`begin` has started one. Returns the instance's unit.

    Raises Failure where the instance does not come back: the stand-in goes on, and the next run that sees the instance
    up ends it.
    """
    layout, name = settings.layout, settings.release
    cuts.during(lambda: systemd.systemctl("restart", layout.instance(name)), layout, name)
    unit, _ = observe.wait_for_workers(settings, workers)
    if stands_in:
        cuts.during(lambda: systemd.stop(layout.instance(name, STANDIN)), layout, name, STANDIN)
    return unit
