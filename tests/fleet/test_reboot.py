"""A server that was rebooted serves again, by itself."""

from polling import until
from server import Server


def test_a_rebooted_server_serves_again_without_salt(fleet, serving_1_0):
    web = Server(fleet, "web2")
    web.deploy("1.1", port=8081)
    before = fleet.booted("web2")
    web.sh("systemctl disable salt-minion")
    try:
        fleet.exec("web2", "systemctl", "reboot")
        until(lambda: fleet.booted("web2") not in ("", before))
        until(lambda: web.get("/status/", 8081)[0] == 200)
        web.assert_answers("1.1", port=8081)
        assert web.sh("systemctl is-active salt-minion", check=False) == "inactive"
        assert web.main_pid("1.1") != "0"
        assert web.main_pid("1.0") == "0"
    finally:
        web.sh("systemctl enable --now salt-minion")
    until(lambda: fleet.awake("web2"))
    assert web.deploy(None).changed == []
    web.assert_serves("1.1")
