"""Debian 12 and Debian 13 side by side: one deploy, each server with the wheels of its own Python."""

import pytest
from machines import Fleet
from server import ROOT, Server, all_green, apply, release_of


@pytest.fixture(scope="module")
def both(fleet):
    """A fleet of its own with web1 on Debian 12 and web2 on Debian 13; down after the tests."""
    these = Fleet("test-suites")
    these.run("down")
    these.run("up", "--web", "1", "--trixie", "1")
    yield these
    these.run("down")


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_one_deploy_reaches_both(both, version):
    runs = all_green(apply(both, "web*", version))
    assert set(runs) == {"web1", "web2"}
    pythons = {}
    for name in runs:
        server = Server(both, name)
        server.assert_answers(version)
        server.assert_serves(version)
        pythons[name] = server.sh(f"readlink {ROOT}/{release_of(version)}/.venv")[-5:]
    assert pythons == {"web1": "cp311", "web2": "cp313"}


def test_the_service_is_as_closed_on_debian_13(both):
    unit = "globoapp@PACK2_0.service"
    said = both.exec("web2", "systemd-analyze", "security", "--no-pager", "--threshold=10", unit)
    assert said.returncode == 0, said.stdout
