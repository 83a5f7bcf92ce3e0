"""Deploys under load lose no request (the long run, with its figures, is `bench/switches.py`)."""

import json
import socket
import threading

import pytest
from load import Load
from polling import until


@pytest.fixture(scope="module")
def web(alone):
    """web1 with 1.0 and 1.1 on it, 1.0 serving."""
    return alone("web1", "1.1", "1.0")


def test_switches_lose_nothing(web):
    with Load(web.url(), rate=0) as load:
        for version in ("1.1", "1.0", "1.1", "1.0"):
            web.deploy(version, soak=0.5)
    load.assert_nothing_lost()
    web.assert_serves("1.0")


def test_a_deploy_that_changes_nothing_restarts_nothing(web):
    before = web.main_pid("1.0")
    with Load(web.url()) as load:
        outcome = web.deploy("1.0")
    load.assert_nothing_lost()
    assert outcome.changed == []
    assert web.main_pid("1.0") == before


def test_the_ledger_says_what_the_switch_did_to_requests(web):
    with Load(web.url()):
        outcome = web.deploy("1.1")
    probe = web.ledger()[-1]["probe"]
    assert probe["sent"] > 0
    assert probe["failed"] == 0
    assert probe["longest_gap_ms"] > 0
    assert f"{probe['sent']} requests, 0 failed, longest gap {probe['longest_gap_ms']} ms" in outcome.text
    web.deploy("1.0")


def test_settings_of_the_unit_change_without_a_lost_request(web):
    with Load(web.url()) as load:
        web.deploy("1.0", environment={"COLOUR": "green"})
        assert "COLOUR=green" in web.sh("tr '\\0' '\\n' </proc/$(systemctl show -P MainPID globoapp@PACK1_0)/environ")
        web.deploy("1.0")
    load.assert_nothing_lost()
    web.assert_serves("1.0")


def test_a_request_that_holds_up_a_restart_holds_up_nobody_else(web):
    body = json.dumps({"email": "ann@example.com", "comment": "slow", "content_id": "77"}).encode()
    length, sent = len(body) + 60, 0
    lines = ["POST /api/comment/new HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {length}"]

    def stopping():
        nonlocal sent
        slow.sendall(b" ")
        sent += 1
        return web.sh("systemctl show -P ActiveState globoapp@PACK1_0") == "deactivating"

    with socket.create_connection((web.address, 8000), 30) as slow:
        slow.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        changing = threading.Thread(target=web.deploy, args=("1.0",), kwargs={"environment": {"COLOUR": "red"}})
        changing.start()
        try:
            until(stopping, 60)
            for _ in range(8):  # more than it has threads
                assert web.get()[0] == 404  # nobody has commented there
            assert stopping()
            slow.sendall(b" " * (length - len(body) - sent))
            assert slow.recv(100).startswith(b"HTTP/1.1 200")
        finally:
            slow.close()
            changing.join()
    web.deploy("1.0")
    assert web.sh("systemctl list-units --plain --no-legend 'globoapp-standin@*'") == ""
