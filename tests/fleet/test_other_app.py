"""Any WSGI app by pillar alone: a third-party one from the package index beside globoapp on one server."""

import json

import others
import pytest

SETTINGS = {"port": 9000, "name": "httpbin", "root": "/opt/httpbin", "wheels": "salt://httpbin-wheels"}


@pytest.fixture(scope="module")
def httpbin(tmp_path_factory):
    """httpbin as an artifact and a wheelhouse among what the master serves; gone after the tests."""
    with others.published(tmp_path_factory.mktemp("app"), versions=["0.10.2"], **others.HTTPBIN):
        yield "0.10.2"


@pytest.fixture
def web(alone):
    """web2 with globoapp 1.1 on it; httpbin is taken off again."""
    server = alone("web2", "1.1")
    yield server
    server.sh(
        "systemctl disable --now 'httpbin@PACK0_10_2.service'; systemctl stop 'httpbin-*.socket';"
        " rm -rf /opt/httpbin /etc/systemd/system/httpbin*; systemctl daemon-reload; userdel httpbin",
        check=False,
    )
    server.call("grains.delkey", "httpbin", "force=True")


@pytest.mark.long
def test_a_third_party_app_runs_beside_globoapp(web, httpbin):
    web.deploy(httpbin, **SETTINGS)
    assert json.loads(web.get("/get?a=1", 9000)[1])["args"] == {"a": "1"}
    web.assert_answers("1.1")
    # A second run of either changes nothing. Each has its own unit, user, tree and grain.
    assert web.deploy(httpbin, **SETTINGS).changed == []
    assert web.deploy(None).changed == []
    web.assert_serves("1.1")
    owners = web.sh("ps -o user= -C gunicorn").split()
    assert {"httpbin", "globoapp"} <= set(owners)
    grains = web.call("grains.item", "httpbin", "globoapp")
    assert (grains["httpbin"]["version"], grains["globoapp"]["version"]) == ("0.10.2", "1.1")
