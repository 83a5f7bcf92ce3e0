"""What can go wrong in a way that a person has to know of."""


class Failure(Exception):
    """
    A deploy, a look or a command cannot go on. Its text is for the person on call: what was wrong, where, the
    value seen, what to do. Salt's files turn it into a red comment or a CommandExecutionError.
    """


def too_large(url: str, limit: int) -> Failure:
    """The failure of a file of more than ``limit`` bytes."""
    return Failure(f"{url} is larger than {limit} bytes")
