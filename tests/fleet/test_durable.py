"""2.0 keeps every acknowledged comment: through ten deploys, kill -9s, and the way to 1.1 and back."""

import json
import shutil
import subprocess
import sys
import urllib.request

import pytest
from comment_load import CommentLoad, lost
from machines import CHECKOUT
from polling import until

HOST = "web2"


@pytest.fixture(scope="module")
def twin():
    """2.0.1, which is 2.0 under another number, among what the master serves; gone after the tests."""
    dist, apps = CHECKOUT / "dist", CHECKOUT / ".lab" / "durable"
    shutil.rmtree(apps, ignore_errors=True)
    shutil.copytree(CHECKOUT / "app" / "2.0", apps / "2.0.1")
    manifest = json.loads((apps / "2.0.1" / "manifest.json").read_text())
    manifest["version"] = manifest["health"]["json"]["version"] = "2.0.1"
    (apps / "2.0.1" / "manifest.json").write_text(json.dumps(manifest))
    subprocess.run([sys.executable, CHECKOUT / "tools/artifact.py", "--app", apps, "--dist", dist], check=True)
    yield "2.0.1"
    for path in dist.glob("globoapp-2.0.1.zip*"):
        path.unlink()


@pytest.fixture
def deploy(fleet, twin):
    """A function that deploys a version to the server; afterwards 1.0 stands there again."""

    def run(version):
        pillar = json.dumps({"version": version, "globoapp": {"prove": 0, "soak": 0}})
        done = fleet.salt(HOST, "state.apply", "globoapp", f"pillar={pillar}", "--state-output=changes")
        assert done.returncode == 0, done.stdout

    yield run
    run("1.0")


def version(url):
    with urllib.request.urlopen(f"{url}/status/", timeout=10) as answer:
        return json.load(answer)["version"]


def test_ten_deploys_and_kills_lose_no_comment(fleet, deploy, twin):
    url = f"http://{fleet.address(HOST)}:8000"
    deploy("2.0")
    load = CommentLoad(url, writers=4).start()
    try:
        for number in range(10):
            before = len(load.acknowledged)
            deploy(twin if number % 2 == 0 else "2.0")
            fleet.exec(HOST, "pkill", "-9", "-o", "-u", "globoapp", "gunicorn", check=True)
            until(lambda before=before: len(load.acknowledged) > before, 60)
    finally:
        acknowledged = load.stop()
    print(f"{len(acknowledged)} comments acknowledged, failures {dict(load.failures)}")
    assert len(acknowledged) > 10
    assert lost(url, acknowledged) == []

    # 1.1 beside it, with a virtualenv of its own, and back: what 2.0 had it still has.
    deploy("1.1")
    assert version(url) == "1.1"
    links = fleet.exec(
        HOST, "sh", "-c", "readlink /opt/globoHUB/desafio/PACK1_1/.venv /opt/globoHUB/desafio/PACK2_0/.venv"
    )
    assert len(set(links.stdout.split())) == 2
    deploy("2.0")
    assert lost(url, acknowledged) == []
    fleet.cut(HOST)
    fleet.boot(HOST)
    until(lambda: fleet.ask(HOST, "test.ping").get(HOST), 60)
    assert lost(url, acknowledged) == []
