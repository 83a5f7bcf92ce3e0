"""Any WSGI app by pillar alone: a third-party one from the package index beside globoapp on one server."""

import json
import shutil
import subprocess
import sys

import pytest
from machines import CHECKOUT

MANIFEST = {
    "name": "httpbin",
    "version": "0.10.2",
    "wsgi": "httpbin:app",
    "workers": 1,
    "threads": 2,
    "python": ">=3.9",
    "requirements": "requirements.lock",
    "health": {"path": "/status/200", "status": 200},
}
SETTINGS = {"port": 9000, "name": "httpbin", "root": "/opt/httpbin", "wheels": "salt://httpbin-wheels"}


@pytest.fixture(scope="module")
def httpbin(tmp_path_factory):
    """httpbin as an artifact and a wheelhouse among what the master serves; gone after the tests."""
    dist = CHECKOUT / "dist"
    wheels, source = dist / "httpbin-wheels", tmp_path_factory.mktemp("app") / "0.10.2"
    source.mkdir()
    shutil.rmtree(wheels, ignore_errors=True)
    pip = [sys.executable, "-m", "pip"] if _has_pip() else ["python3", "-m", "pip"]
    wanted = ["httpbin==0.10.2", "gunicorn==23.0.0"]
    subprocess.run([*pip, "wheel", "--quiet", "--wheel-dir", wheels, *wanted], check=True)
    lines = []
    for wheel in sorted(wheels.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        digest = subprocess.run(["sha256sum", wheel], check=True, capture_output=True, text=True).stdout.split()[0]
        lines.append(f"{name.replace('_', '-')}=={version} --hash=sha256:{digest}\n")
    (source / "requirements.lock").write_text("".join(lines))
    (source / "manifest.json").write_text(json.dumps(MANIFEST))
    made = subprocess.run(
        [sys.executable, CHECKOUT / "tools/artifact.py", "--app", source.parent, "--dist", dist], check=False
    )
    assert made.returncode == 0
    yield "0.10.2"
    shutil.rmtree(wheels)
    for path in dist.glob("httpbin-*.zip*"):
        path.unlink()


def _has_pip():
    return subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0


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
