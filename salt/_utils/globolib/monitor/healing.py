"""When healing may try again. Pure: times in seconds since the epoch."""

from collections.abc import Sequence

# At most so many attempts in so many seconds; the pause before each grows.
ATTEMPTS, WINDOW = 3, 600
PAUSES = (0, 20, 60)

# So many times in the same span a server may say that it did not try (a deploy is under way) without it counting as an
# attempt, and so many seconds later it is asked again.
REFUSALS, REFUSED = 30, 10


def decide(attempts: Sequence[float], not_before: float, now: float) -> str:
    """
    attempts
        When it was tried.
    not_before
        No attempt before this time.

    Returns ``"now"``, ``"wait"`` or ``"over"``.
    """
    recent = [one for one in attempts if now - one < WINDOW]
    if len(recent) >= ATTEMPTS:
        return "over" if now - recent[-1] >= PAUSES[-1] else "wait"
    if now < not_before or (recent and now - recent[-1] < PAUSES[len(recent)]):
        return "wait"
    return "now"


def is_credible(refusals: Sequence[float], now: float) -> bool:
    """Whether a server may once more say that it did not try. ``refusals``: when it said so before."""
    return sum(now - time < WINDOW for time in refusals) < REFUSALS
