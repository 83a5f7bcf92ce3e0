"""Which minions are heard: those whose keys are accepted. Salt takes long to list them, and events are many."""

import time
from collections.abc import Callable, Collection, MutableMapping
from typing import Any

# Seconds for which a list is believed, and after which a name that is not in it has the list read again.
FRESH, AGAIN = 30, 1


class Accepted:
    """
    Answers ``minion in accepted``. A key that was taken away counts for 30 s more, a new one for 1 s not yet.

    ask
        Lists the ids of the accepted minions.
    context
        What outlives this object: the list.
    """

    def __init__(self, ask: Callable[[], Collection[str]], context: MutableMapping[str, Any]) -> None:
        self._ask, self._context = ask, context

    def __contains__(self, minion: object) -> bool:
        read, known = self._context.get("globoapp.accepted", (None, frozenset()))
        age = FRESH if read is None else time.monotonic() - read
        if age >= FRESH or (minion not in known and age >= AGAIN):
            known = frozenset(self._ask())
            self._context["globoapp.accepted"] = (time.monotonic(), known)
        return minion in known
