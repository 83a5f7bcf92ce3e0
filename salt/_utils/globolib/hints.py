"""What a person may have meant by a word that is none of those that there are."""

import difflib
from collections.abc import Sequence
from typing import Any

from globolib import text


def near(word: Any, known: Sequence[str], most: int = 1) -> str:
    """``did you mean port?`` with at most so many that are like it, or ``there are: ...`` with all."""
    close = difflib.get_close_matches(str(word), known, most)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(known)}"


def unknown_setting(place: str, key: Any, known: Sequence[str], most: int = 1) -> str:
    """The line that says so of a key of pillar, whatever that holds, and what may have been meant."""
    return f"{place}:{text.line(str(key))} is an unknown setting; {near(key, known, most)}"
