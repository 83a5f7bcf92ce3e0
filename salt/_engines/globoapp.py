"""
The clock of globoapp's monitoring on the master: delivers notifications, goes on healing, notices
servers that have fallen silent, writes the metrics.

.. code-block:: yaml

    engines:
      - globoapp:
          metrics: /var/lib/prometheus/node-exporter/globoapp.prom
"""

import logging
import time

log = logging.getLogger(__name__)


def __virtual__():
    return "globoapp"


def start(metrics=None, pace=1):
    """
    Work until the master ends.

    metrics
        Where ``globoapp.metrics`` is to write every half minute; without it, nowhere.
    pace
        Seconds between turns.
    """
    jobs = [
        (pace, "globoapp_watch.deliver", ()),
        (pace, "globoapp_watch.tend", ()),
        (30, "globoapp_watch.listen", ()),
        (86400, "globoapp_watch.expire", ()),
    ]
    if metrics:
        jobs.append((30, "globoapp.metrics", (metrics,)))
    due = dict.fromkeys((name for _, name, _ in jobs), 0)
    while True:
        for every, name, arguments in jobs:
            if time.monotonic() < due[name]:
                continue
            due[name] = time.monotonic() + every
            try:
                __runners__[name](*arguments)
            except Exception:  # noqa: BLE001  one job that fails must not end the others
                log.error("%s failed; it is tried again in %d s", name, max(every, 30), exc_info=True)
                due[name] = time.monotonic() + max(every, 30)
        time.sleep(pace)
