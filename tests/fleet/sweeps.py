"""Which cases of a sweep run each time, and which in `make test-long` alone."""

import pytest


def sampled(cases, *often):
    """The cases for pytest's parametrize: those that are named run each time, the others are `long`."""
    unknown = set(often) - set(cases)
    assert not unknown, unknown
    return [pytest.param(case, marks=() if case in often else pytest.mark.long) for case in cases]
