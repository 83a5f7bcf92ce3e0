"""
When healing may try again. Pure: times in seconds since the epoch.
"""

# At most so many attempts in so many seconds; the pause before each grows.
ATTEMPTS, WINDOW = 3, 600
PAUSES = (0, 20, 60)


def decide(attempts, not_before, now):
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
