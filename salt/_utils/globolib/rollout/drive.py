"""Drives a rollout to its end: what the engine decides is stored, then sent; what comes back is handed to it."""

import dataclasses
import time
from collections.abc import Callable

from globolib.rollout import engine
from globolib.rollout import state as words
from globolib.rollout.events import Event, Ordered, TakeBack, Tick
from globolib.rollout.fleet import Fleet
from globolib.rollout.state import Rollout

# Seconds for which it listens before it looks at the clock again.
TURN = 0.5


def drive(
    rollout: Rollout,
    fleet: Fleet,
    keep: Callable[[Rollout], None],
    tell: Callable[[Rollout, Rollout], None],
    ordered: Callable[[], str],
) -> Rollout:
    """
    Returns the rollout as it ended: finished, stopped, paused. On Ctrl-C it is paused at once, what is under way goes
    on on its servers, and load balancers are told to take back whom they have let go of.

    keep
        Stores the rollout; before anything of it is sent.
    tell
        Says what changed between two of its states.
    ordered
        What a person wants meanwhile: ``pause``, ``stop`` or nothing.
    """
    try:
        events: list[Event] = [Tick()]
        while True:
            before = rollout
            rollout, actions = engine.advance(rollout, events, time.time())
            if rollout != before:
                keep(rollout)
                tell(before, rollout)
            if rollout.phase in words.ENDED:
                return rollout
            events = [event for action in actions for event in fleet.carry_out(rollout, action)]
            if not events:
                events = fleet.events(TURN)
            wanted = ordered()
            if wanted and wanted != rollout.ordered:
                events.append(Ordered(wanted))
            events.append(Tick())
    except (KeyboardInterrupt, SystemExit):  # of Ctrl-C, salt-run's own handler makes the latter
        busy = rollout.names(*words.BUSY)
        why = f"interrupted; {', '.join(busy)} will go on by itself" if busy else "interrupted"
        before, rollout = rollout, dataclasses.replace(rollout, phase=words.PAUSED, since=time.time(), why=why)
        keep(rollout)
        tell(before, rollout)
        for name in rollout.out:
            fleet.carry_out(rollout, TakeBack(name, 0))
        return rollout
