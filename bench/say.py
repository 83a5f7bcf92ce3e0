"""Lines for who waits."""

import sys


def say(text):
    """Prints a line on stderr."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
