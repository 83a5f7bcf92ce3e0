"""For every session of tests."""

import logging


def pytest_unconfigure():
    """Lets Salt's log handlers, which write what they kept when Python ends, find pytest's files closed in silence."""
    logging.raiseExceptions = False
