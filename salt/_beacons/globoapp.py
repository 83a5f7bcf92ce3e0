"""
Watches globoapp on its server: the API, the disk, the processors, the memory.

It says something only when a probe has gone bad or has cleared (tags
``salt/beacon/<id>/globoapp/<probe>/bad``, ``.../clear``, ``.../reminder``). What it looks for and how
often is in pillar, ``globoapp:monitor``; here stands only how often it is called, in turns of the
minion's loop (``loop_interval``, a second):

.. code-block:: yaml

    beacons:
      globoapp:
        - interval: 1
"""

import logging

log = logging.getLogger(__name__)


def __virtual__():
    return "globoapp"


def validate(config):
    """
    Whether the beacon's own configuration is right: ``(bool, what is wrong)``.
    """
    if not isinstance(config, list) or not all(isinstance(one, dict) for one in config):
        return False, "beacons:globoapp is a list of mappings, like [{interval: 1}]"
    for one in config:
        interval = one.get("interval", 1)
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            return False, f"beacons:globoapp:interval is {interval!r}: a whole number from 1"
    return True, "The configuration is valid."


LOOK = "globoapp_minion.look"
# Looks without the function before that is said: a fresh minion gets the beacon some seconds before the rest.
PATIENCE = 30
# What was said last, and how often the function was missing: a look that is broken is said once, not at every turn.
# Salt executes this file again in place when beacons are refreshed; what was said must outlive that.
_SAID = globals().get("_SAID", {})


def beacon(config):
    """
    One look. Returns the events of probes that have changed, mostly none.
    """
    _SAID["missing"] = 0 if LOOK in __salt__ else _SAID.get("missing", 0) + 1
    if 0 < _SAID["missing"] < PATIENCE:
        return []
    try:
        events = __salt__[LOOK]()
    except Exception as error:  # noqa: BLE001  a beacon that raises silences all beacons of its minion
        told = _say("bad", f"the beacon cannot look: {type(error).__name__}: {error}; the minion's log has more")
        if told:
            log.error("the beacon globoapp cannot look", exc_info=True)
        return told
    return events + (_say("clear", "the beacon looks again") if _SAID.get("state") == "bad" else [])


def _say(state, message):
    """The event about the beacon itself, once for each message."""
    if _SAID.get("message") == message:
        return []
    _SAID.update(state=state, message=message)
    return [{"tag": f"monitor/{state}", "probe": "monitor", "state": state, "message": message}]
