"""A change of the tree's own code reaches a running minion with the next run, also what its main process has loaded."""

import shlex

import pytest
from polling import until
from server import Server

TREE = "/srv/globoapp/salt"
CACHE = "/var/cache/salt/minion/extmods"
ASKED = "\n\ndef deploying(minion):\n    return {word!r}\n"
LOOK = """

def look(minion, memory):
    files.write("/run/globoapp-look", {word!r})
    return []
"""


@pytest.fixture(scope="module")
def append(fleet):
    """
    A function that puts text at the end of a file of the package as the master serves it: of a copy, since others
    read the checkout. The master's machine is a minion too, with an older package in its cache, and the master's
    workers have come up since.
    """
    master = Server(fleet, "master")
    master.sh(f"""
        [ -e {CACHE} ] || {{ mkdir -p {CACHE} && cp -a {TREE}/_utils {CACHE}/utils && touch {CACHE}/of-a-test; }}
        cp -a {TREE} /root/tree && mount --bind /root/tree {TREE} && systemctl restart salt-master""")
    until(lambda: fleet.awake("web1", "web2"), 120)
    yield lambda path, text: master.sh(f"echo {shlex.quote(text)} >>{TREE}/_utils/globolib/{path}")
    master.sh(f"umount {TREE} && rm -r /root/tree; [ ! -e {CACHE}/of-a-test ] || rm -r {CACHE}")


def deploy(server):
    """Deploys 1.0; where monitoring is at work on the server at that moment Salt refuses, and it is tried again."""

    def ended():
        run = server.apply("1.0")
        return None if "is running as PID" in run.text else run

    until(ended, 120).green()


@pytest.fixture
def web1(fleet, serving_1_0, append):
    """web1, serving 1.0; monitoring looks, so that the minion's main process has the package loaded."""
    fleet.heal(True)
    server = Server(fleet, "web1")
    started = server.sh("systemctl show -P ExecMainStartTimestampMonotonic salt-minion")
    yield server
    deploy(server)
    fleet.heal(False)
    assert server.sh("systemctl show -P ExecMainStartTimestampMonotonic salt-minion") == started


@pytest.mark.parametrize("word", ["first", "second"])
def test_a_changed_line_works_after_the_next_run(web1, append, word):
    append("answers.py", ASKED.format(word=word))
    append("monitor/look.py", LOOK.format(word=word))
    deploy(web1)
    assert web1.call("globoapp.deploying") == word
    until(lambda: web1.sh("cat /run/globoapp-look || true") == word)
