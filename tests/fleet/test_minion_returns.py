"""A minion that is killed comes back by itself: without it nobody heals the server."""

from polling import until
from server import Server


def test_a_killed_minion_answers_again(fleet):
    web1 = Server(fleet, "web1")
    pid = web1.sh("systemctl show -P MainPID salt-minion")
    # The minion proper is a child of the unit's main process, which it outlives by seconds: until then it takes jobs
    # and never returns them.
    children = ",".join(web1.sh(f"ps -o pid= --ppid {pid}").split())
    web1.sh(f"kill -9 {pid}")
    until(lambda: web1.sh("systemctl show -P MainPID salt-minion") not in ("0", pid))
    until(lambda: not web1.sh(f"ps -o pid= --pid {children}", check=False))
    until(lambda: fleet.awake("web1"), 120)
