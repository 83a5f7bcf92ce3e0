"""When healing may try again. Pure: times in seconds since the epoch."""

from collections.abc import Sequence

# At most so many attempts in so many seconds; the pause before each grows.
ATTEMPTS, WINDOW = 3, 600
PAUSES = (0, 20, 60)
# A server that refuses (a deploy is under way) has not been tried, and is asked again: so often in the same time.
REFUSALS, REFUSED_PAUSE = 30, 10


def decide(attempts: Sequence[float], not_before: float, now: float) -> str:
    """
    attempts
        When it was tried.
    not_before
        No attempt before this time.

    Returns ``"now"``, ``"wait"`` or ``"over"``.
    """
    recent = [time for time in attempts if now - time < WINDOW]
    if len(recent) >= ATTEMPTS:
        return "over" if now - recent[-1] >= PAUSES[-1] else "wait"
    if now < not_before or (recent and now - recent[-1] < PAUSES[len(recent)]):
        return "wait"
    return "now"


def may_refuse(refusals: Sequence[float], now: float) -> bool:
    """Whether one more refusal is taken for what it says; a server that refuses without end counts as tried."""
    return len([time for time in refusals if now - time < WINDOW]) < REFUSALS
