"""Sockets: what their units say, which there are, and which of them instances get."""

import os

import pytest

UNIT = "globoapp-0.0.0.0:8000.socket"


@pytest.fixture
def sockets(tree, tmp_path):
    """globoapp_socket with unit files of the test's own; `loaded` is what systemd has, `calls` what it was told."""
    module = tree.modules.globoapp_socket
    module.UNITS, module.loaded, module.calls = str(tmp_path / "units"), {}, []
    os.mkdir(module.UNITS)
    tree.salt["globoapp_systemd.show"] = lambda pattern: module.loaded
    for name in ("stop", "systemctl"):
        tree.salt[f"globoapp_systemd.{name}"] = lambda *words, name=name: module.calls.append((name, *words))
    return module


def test_they_come_from_the_disk_and_from_systemd(sockets):
    assert sockets.found("globoapp") == {}
    assert sockets.write("globoapp", "0.0.0.0", 8000) is True
    assert sockets.write("globoapp", "0.0.0.0", 8000) is False
    sockets.loaded["globoapp-10.0.0.5:81.socket"] = {"ActiveState": "active"}
    assert sockets.unit("globoapp", "0.0.0.0", 8000) == UNIT
    assert sockets.found("globoapp") == {"globoapp-10.0.0.5:81.socket": "active", UNIT: "inactive"}


@pytest.mark.parametrize(("address", "listen"), [("10.0.0.5", "10.0.0.5:8000"), ("::1", "[::1]:8000")])
def test_one_listens_where_it_should(sockets, address, listen):
    sockets.write("globoapp", address, 8000)
    with open(f"{sockets.UNITS}/globoapp-{address}:8000.socket") as handle:
        assert f"\nListenStream={listen}\n" in handle.read()


def test_one_that_was_edited_is_seen(sockets):
    assert not sockets.written("globoapp", "0.0.0.0", 8000)
    sockets.write("globoapp", "0.0.0.0", 8000)
    assert sockets.written("globoapp", "0.0.0.0", 8000)
    with open(f"{sockets.UNITS}/{UNIT}", "a") as handle:
        handle.write("Backlog=1\n")
    assert not sockets.written("globoapp", "0.0.0.0", 8000)
    assert sockets.write("globoapp", "0.0.0.0", 8000) is True
    assert sockets.written("globoapp", "0.0.0.0", 8000)


def test_one_goes_with_its_file(sockets):
    sockets.write("globoapp", "0.0.0.0", 8000)
    sockets.remove(UNIT)
    assert os.listdir(sockets.UNITS) == []
    assert sockets.calls == [("stop", UNIT), ("systemctl", "daemon-reload")]


def test_they_are_handed_over_in_order(sockets):
    assert sockets.handed("globoapp") == []
    both = [UNIT, "globoapp-0.0.0.0:81.socket"]
    assert sockets.hand_over("globoapp", both) is True
    assert sockets.hand_over("globoapp", both) is False
    assert sockets.handed("globoapp") == both
    assert sockets.hand_over("globoapp", both[:1]) is True
    assert sockets.handed("globoapp") == both[:1]
