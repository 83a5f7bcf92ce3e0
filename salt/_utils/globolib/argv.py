"""A program and its arguments, as they are run without a shell."""

from typing import Any

MOST = 64  # words, with the program


def fits(value: Any) -> bool:
    """Whether a value is a program with arguments: a list of 1 to MOST words."""
    return isinstance(value, list) and 1 <= len(value) <= MOST and all(map(_is_word, value))


def _is_word(value: Any) -> bool:
    """Whether a program can be handed the value as an argument: half a surrogate pair has no bytes."""
    return (
        isinstance(value, str) and value != "" and "\0" not in value and value == value.encode(errors="ignore").decode()
    )
