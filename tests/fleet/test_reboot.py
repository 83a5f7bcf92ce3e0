"""A server that was rebooted serves again, by itself."""

from deploys import apply, get, main_pid, serves
from polling import until


def test_a_rebooted_server_serves_again_without_salt(fleet, serving_1_0):
    apply(fleet, "web2", version="1.1", port=8081).green()
    before = fleet.booted("web2")
    fleet.exec("web2", "systemctl", "disable", "salt-minion", check=True)
    try:
        fleet.exec("web2", "systemctl", "reboot")
        until(lambda: fleet.booted("web2") not in ("", before))
        until(lambda: get(fleet, "web2", "/status/", 8081)[0] == 200)
        serves(fleet, "web2", "1.1", port=8081)
        assert fleet.exec("web2", "systemctl", "is-active", "salt-minion").stdout == "inactive\n"
        assert main_pid(fleet, "web2", "PACK1_1") != "0"
        assert main_pid(fleet, "web2", "PACK1_0") == "0"
    finally:
        fleet.exec("web2", "systemctl", "enable", "--now", "salt-minion", check=True)
    until(lambda: fleet.ask("web2", "test.ping") == {"web2": True})
    run = apply(fleet, "web2").green()
    assert run.changed("web2") == []
    assert fleet.ask("web2", "globoapp.status")["web2"]["differences"] == []
