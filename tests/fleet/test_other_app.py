"""Any WSGI app by pillar alone: a third-party one from the package index beside globoapp on one server."""

import json
import shutil
import subprocess
import sys
import urllib.request

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
PILLAR = {
    "version": "0.10.2",
    "port": 9000,
    "globoapp": {"name": "httpbin", "root": "/opt/httpbin", "wheels": "salt://httpbin-wheels", "prove": 0.5, "soak": 0},
}


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
    yield PILLAR
    shutil.rmtree(wheels)
    for path in dist.glob("httpbin-*.zip*"):
        path.unlink()


def _has_pip():
    return subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0


@pytest.fixture
def server(fleet, httpbin):
    """web2 with globoapp 1.1 on it; httpbin is taken off again."""
    assert fleet.salt("web2", "state.apply", "globoapp", 'pillar={"version": "1.1"}').returncode == 0
    yield "web2"
    fleet.exec(
        "web2",
        "sh",
        "-c",
        "systemctl disable --now 'httpbin@PACK0_10_2.service'; systemctl stop 'httpbin-*.socket';"
        " rm -rf /opt/httpbin /etc/systemd/system/httpbin*; systemctl daemon-reload; userdel httpbin",
    )
    fleet.salt("web2", "grains.delkey", "httpbin", "force=True")


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status, answer.read().decode()


def test_a_third_party_app_runs_beside_globoapp(fleet, server, httpbin):
    address = fleet.address(server)
    done = fleet.salt(server, "state.apply", "globoapp", f"pillar={json.dumps(httpbin)}", "--state-output=changes")
    assert done.returncode == 0, done.stdout
    assert json.loads(get(f"http://{address}:9000/get?a=1")[1])["args"] == {"a": "1"}
    assert json.loads(get(f"http://{address}:8000/status/")[1])["version"] == "1.1"

    again = fleet.ask(server, "state.apply", "globoapp", f"pillar={json.dumps(httpbin)}")[server]
    assert [one["__id__"] for one in again.values() if one["changes"]] == []
    # Each has its own unit, user, tree and grain; globoapp's highstate does not see the other one.
    globoapp = fleet.ask(server, "state.apply", "globoapp")[server]
    assert [one["__id__"] for one in globoapp.values() if one["changes"]] == []
    assert fleet.ask(server, "globoapp.status")[server]["differences"] == []
    owner = fleet.exec(server, "ps", "-o", "user=", "-C", "gunicorn").stdout.split()
    assert {"httpbin", "globoapp"} <= set(owner)
    grains = fleet.ask(server, "grains.item", "httpbin", "globoapp")[server]
    assert (grains["httpbin"]["version"], grains["globoapp"]["version"]) == ("0.10.2", "1.1")
