"""The loop that watches something until it is so, with its back-off: the only one there is."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")


def until(
    check: Callable[[], Seen | None],
    seconds: float,
    first: float = 0.05,
    factor: float = 1.5,
    most: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Seen | None:
    """
    Call ``check`` until it returns something other than None, and return that; None when ``seconds`` have passed.

    It is called at once, and a last time when the time is over. The pause between two calls is ``first`` seconds and
    grows by ``factor`` to ``most``. What ``check`` raises ends the wait.

    clock, sleep
        For tests.
    """
    end, pause = clock() + seconds, first
    while True:
        over = clock() >= end
        seen = check()
        if seen is not None or over:
            return seen
        sleep(max(0.0, min(pause, end - clock())))
        pause = min(pause * factor, most)


def hold(
    seconds: float,
    check: Callable[[], Seen | None],
    every: float = 0.2,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Seen | None:
    """
    Watch for ``seconds`` that nothing goes wrong: call ``check`` every ``every`` seconds and return the first problem
    that it returns; None when it held. It is called at once, and a last time when the time is over.
    """
    return until(check, seconds, first=every, factor=1, most=every, clock=clock, sleep=sleep)
