"""A change of the tree's own code reaches a running minion with the next run, also what its main process has loaded."""

import contextlib

import pytest
from machines import CHECKOUT
from polling import until
from server import Server

PACKAGE = CHECKOUT / "salt/_utils/globolib"
ASKED = "\n\ndef deploying(minion):\n    return {word!r}\n"
LOOK = """

def look(minion, memory):
    files.write("/run/globoapp-look", {word!r})
    return []
"""


@contextlib.contextmanager
def appended(path, text):
    """A file of the package with more at its end, for as long as the block runs."""
    before = path.read_text()
    path.write_text(before + text)
    try:
        yield
    finally:
        path.write_text(before)


def deploy(server):
    """Deploys 1.0; where monitoring is at work on the server at that moment Salt refuses, and it is tried again."""

    def ended():
        run = server.apply("1.0")
        return None if "is running as PID" in run.text else run

    until(ended, 120).green()


@pytest.fixture
def web1(fleet, serving_1_0):
    """web1, serving 1.0; monitoring looks, so that the minion's main process has the package loaded."""
    fleet.heal(True)
    server = Server(fleet, "web1")
    started = server.sh("systemctl show -P ExecMainStartTimestampMonotonic salt-minion")
    yield server
    deploy(server)
    fleet.heal(False)
    assert server.sh("systemctl show -P ExecMainStartTimestampMonotonic salt-minion") == started


@pytest.mark.parametrize("word", ["first", "second"])
def test_a_changed_line_works_after_the_next_run(web1, word):
    with (
        appended(PACKAGE / "answers.py", ASKED.format(word=word)),
        appended(PACKAGE / "monitor/look.py", LOOK.format(word=word)),
    ):
        deploy(web1)
        assert web1.call("globoapp.deploying") == word
        until(lambda: web1.sh("cat /run/globoapp-look || true") == word)
