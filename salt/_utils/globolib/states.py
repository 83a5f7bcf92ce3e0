"""What a run of states says: Salt's answer, the states by their tags. Pure."""

from collections.abc import Mapping
from typing import Any

# What a requisite says: the reason stands elsewhere.
_ECHO = "One or more requisite failed"


def ordered(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The states in the order in which they ran."""
    return sorted((state for state in answer.values() if isinstance(state, Mapping)), key=_number)


def _number(state: Mapping[str, Any]) -> int:
    number = state.get("__run_num__")
    return number if isinstance(number, int) else 0  # a server may say what it likes


def failed(answer: Mapping[str, Any]) -> list[str]:
    """The comment of each state that failed."""
    return [str(state.get("comment")) for state in ordered(answer) if state.get("result") is False]


def reasons(answer: Mapping[str, Any]) -> list[str]:
    """The same of those that failed by themselves; of the others where there are no such."""
    comments = failed(answer)
    return [comment for comment in comments if _ECHO not in comment] or comments
