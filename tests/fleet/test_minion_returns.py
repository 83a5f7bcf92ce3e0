"""A minion that is killed comes back by itself: without it nobody heals the server."""

from polling import until
from server import Server


def test_a_killed_minion_answers_again(fleet):
    web1 = Server(fleet, "web1")
    pid = web1.sh("systemctl show -P MainPID salt-minion")
    web1.sh(f"kill -9 {pid}")
    until(lambda: web1.sh("systemctl show -P MainPID salt-minion") not in ("0", pid))
    until(lambda: web1.call("test.ping"), 120)
