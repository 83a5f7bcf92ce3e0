"""The fleet that these tests share: a master and two web servers, made for them and taken down after them.

GLOBOAPP_FLEET_KEEP=1 leaves it up (and takes one that is up), for the next run: GLOBOAPP_LAB=test lab/fleet status.
"""

import os
import signal
import subprocess

import pytest
from machines import CHECKOUT, Fleet


@pytest.fixture(scope="session")
def fleet():
    """A Fleet with a master, web1 and web2, all answering."""
    can = subprocess.run(["lab/fleet", "can"], capture_output=True, text=True, cwd=CHECKOUT)
    if can.returncode:
        pytest.skip(can.stderr.strip())
    these = Fleet("test")
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.exit("ended by SIGTERM", 143))
    keep = os.environ.get("GLOBOAPP_FLEET_KEEP") == "1"
    try:
        if not keep:
            these.run("down")
        these.run("up", "--web", "2", capture_output=False)
        yield these
    finally:
        if not keep:
            # Not by failing: a session that fails at its very end makes the log server of salt-factories hang.
            print(these.run("down", check=False).stderr)
        signal.signal(signal.SIGTERM, before)
