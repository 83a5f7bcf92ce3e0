"""Debian 12 and Debian 13 side by side: one deploy, each server with the wheels of its own Python."""

import json
import urllib.request

import pytest
from machines import Fleet


@pytest.fixture(scope="module")
def both(fleet):
    """A fleet of its own with web1 on Debian 12 and web2 on Debian 13; down after the tests."""
    these = Fleet("test-suites")
    these.run("down")
    these.run("up", "--web", "1", "--trixie", "1")
    yield these
    these.run("down")


@pytest.mark.parametrize(("version", "path"), [("1.1", "/status/"), ("2.0", "/status/")])
def test_one_deploy_reaches_both(both, version, path):
    settings = {"version": version, "globoapp": {"prove": 0.5, "soak": 0}}
    done = both.salt("web*", "state.apply", "globoapp", f"pillar={json.dumps(settings)}", "--state-output=changes")
    assert done.returncode == 0, done.stdout
    for host in ("web1", "web2"):
        with urllib.request.urlopen(f"http://{both.address(host)}:8000{path}", timeout=10) as answer:
            assert json.load(answer)["version"] == version
    pythons = {
        host: both.exec(
            host, "readlink", f"/opt/globoHUB/desafio/PACK{version.replace('.', '_')}/.venv"
        ).stdout.strip()[-5:]
        for host in ("web1", "web2")
    }
    assert pythons == {"web1": "cp311", "web2": "cp313"}
    assert [one["differences"] for one in both.ask("web*", "globoapp.status").values()] == [[], []]


def test_the_service_is_as_closed_on_debian_13(both):
    unit = "globoapp@PACK2_0.service"
    said = both.exec("web2", "systemd-analyze", "security", "--no-pager", "--threshold=10", unit)
    assert said.returncode == 0, said.stdout
