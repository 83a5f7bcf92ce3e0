"""
Starts the release that serves afresh, without a moment in which nothing serves: a stand-in, the same release once more,
takes requests from the same sockets meanwhile.
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


def restart(settings: Settings, workers: int, cuts: Cuts) -> None:
    """
    Start the instance of ``settings.release`` afresh, with what its files hold now, and wait until it has its workers.

    workers
        How many it has.
    cuts
        Counts the requests that its end cuts.

    Raises NoStandIn when the stand-in does not come up: what serves goes on as it was. Raises Failure where the
    instance does not come back: the stand-in goes on, and the next run that sees the instance up ends it.
    """
    layout, name = settings.layout, settings.release
    unit, standin = layout.instance(name), layout.instance(name, STANDIN)

    def again() -> None:
        cuts.during(lambda: systemd.systemctl("restart", unit), layout, name)
        observe.wait_for_workers(settings, workers)

    if accounts.runs_as(settings, systemd.unit(unit).pid) != settings.user:
        # systemd gives the StateDirectory to the account of what starts: beside a stand-in of another account the
        # release could not write any more. Clients wait in the socket's queue instead.
        again()
        return
    define(settings, STANDIN, {layout.unit_file(standin): units.release_unit(settings, STANDIN)})
    try:
        systemd.systemctl("start", standin)
        observe.wait_for_workers(settings, workers, STANDIN)
    except (Failure, OSError) as failure:
        then = observe.seen(standin)
        systemd.stop(standin)
        raise NoStandIn(f"{failure}; {unit} goes on as it was", then) from failure
    again()
    cuts.during(lambda: systemd.stop(standin), layout, name, STANDIN)
