"""The port and the address of a live server change: the new one answers before the old one closes."""

import pytest
from load import Load
from polling import until


@pytest.fixture(scope="module")
def web(alone):
    """web1 with 1.0 serving port 8000 on all addresses."""
    return alone("web1", "1.0")


def test_the_new_port_answers_before_the_old_one_closes(web):
    # A client that knows both: it is refused at one of them for as long as the other has not closed.
    with Load(web.url(8000), web.url(8001)) as load:
        web.deploy("1.0", port=8001)
        until(lambda: web.answers(8001))
    load.assert_nothing_lost()
    assert web.listeners() == ["0.0.0.0:8001"]
    web.assert_serves("1.0")


def test_a_highstate_keeps_the_port(web):
    assert web.deploy(None).changed == []
    assert web.listeners() == ["0.0.0.0:8001"]


def test_the_address_changes_on_one_port(web):
    with Load(web.url(8001)) as load:
        web.deploy("1.0", bind=web.address)
        assert web.listeners() == [f"{web.address}:8001"]
        web.deploy("1.0", bind="0.0.0.0")
    load.assert_nothing_lost()
    assert web.listeners() == ["0.0.0.0:8001"]
    web.assert_serves("1.0")


def test_version_and_port_change_at_once(web):
    with Load(web.url(8001), web.url(8000)) as load:
        web.deploy("1.1", port=8000)
    load.assert_nothing_lost()
    assert web.listeners() == ["0.0.0.0:8000"]
    web.assert_serves("1.1")


def test_a_port_that_another_program_holds_changes_nothing(web):
    web.sh("systemd-run --unit=squatter python3 -m http.server 8002")
    until(lambda: "0.0.0.0:8002" in web.listeners())
    pid, lines = web.main_pid("1.1"), len(web.ledger())
    with Load(web.url(8000)) as load:
        outcome = web.apply("1.1", port=8002)
    web.sh("systemctl stop squatter")
    load.assert_nothing_lost()
    assert outcome.code != 0
    assert "port 8002 is taken: python3" in outcome.failed
    assert web.main_pid("1.1") == pid
    assert len(web.ledger()) == lines
    web.assert_serves("1.1")


def test_an_address_that_cannot_be_bound_changes_nothing(web):
    # The address is there when the settings are looked at; systemd finds that it may not be bound.
    web.sh("mkdir -p /etc/systemd/system/globoapp-0.0.0.0:8003.socket.d && printf '[Socket]\\nBindToDevice=nosuch\\n' "
           ">/etc/systemd/system/globoapp-0.0.0.0:8003.socket.d/fault.conf")  # fmt: skip
    pid = web.main_pid("1.1")
    with Load(web.url(8000)) as load:
        outcome = web.apply("1.1", port=8003)
    web.sh("rm -r /etc/systemd/system/globoapp-0.0.0.0:8003.socket.d")
    load.assert_nothing_lost()
    assert outcome.code != 0
    assert "0.0.0.0:8003 cannot be listened on: " in outcome.failed
    assert "What served goes on." in outcome.failed
    assert web.main_pid("1.1") == pid
    assert web.call("globoapp.releases")["PACK1_1"]["state"] == "live"
    assert web.listeners() == ["0.0.0.0:8000"]
    web.assert_serves("1.1")
