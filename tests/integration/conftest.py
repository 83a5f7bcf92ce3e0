"""A master and a minion of our own on loopback, by pytest-salt-factories."""

import tempfile

import pytest

# Before logging is set up: else Salt's log handlers write to files of pytest that are closed.
import salt.config  # noqa: F401


@pytest.fixture(scope="session")
def salt_factories_config():
    """A short directory that is no other run's: scripts in a shared one would test another Salt."""
    return {"root_dir": tempfile.mkdtemp(prefix="sf-", dir="/tmp")}
