"""Artifacts and wheels from an https repository, with credentials from an encrypted pillar; every way to be wrong."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from distribution import ROOT, tools_python
from nginx import Nginx
from polling import until
from server import Server

HOST, PORT, TREE = "web1", 9100, "/opt/fetched"
CA = "/etc/globoapp-test-ca.pem"
GPG = "gpg --homedir /etc/salt/gpgkeys --batch --quiet"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """A dist/ with versions 1.0 to 1.4 of an app that is 1.1 under another name."""
    apps, dist = tmp_path_factory.mktemp("apps"), tmp_path_factory.mktemp("dist")
    for version in ("1.0", "1.1", "1.2", "1.3", "1.4"):
        shutil.copytree(ROOT / "app" / "1.1", apps / version)
        manifest = json.loads((apps / version / "manifest.json").read_text())
        manifest.update(name="fetched", version=version)
        manifest["health"]["json"]["version"] = version
        (apps / version / "manifest.json").write_text(json.dumps(manifest))
    command = [sys.executable, ROOT / "tools/artifact.py", "--app", apps, "--dist", dist]
    subprocess.run(command, check=True, capture_output=True)
    (dist / "wheels").symlink_to(ROOT / "dist" / "wheels")
    return dist


@pytest.fixture(scope="module")
def repository(fleet, artifacts, tmp_path_factory):
    """A started Nginx on the machines' network that has all of them, published by the tool."""
    subnet = fleet.status()["subnet"]
    slow = "location ~ 1[.]3[.]zip$ { limit_rate 1k; }"
    server = Nginx(tmp_path_factory.mktemp("nginx"), address=subnet.replace(".0/24", ".1"), extra=slow).start()
    environment = {
        **os.environ, "GLOBOAPP_REPOSITORY": server.url, "GLOBOAPP_REPOSITORY_USER": server.user,
        "GLOBOAPP_REPOSITORY_PASSWORD": server.password, "REQUESTS_CA_BUNDLE": str(server.certificate),
    }  # fmt: skip
    for version in ("1.0", "1.1", "1.2", "1.3", "1.4"):
        subprocess.run(
            [tools_python(), ROOT / "tools/publish.py", version, "--name", "fetched", "--dist", artifacts],
            check=True, env=environment, capture_output=True,
        )  # fmt: skip
    yield server
    server.stop()


@pytest.fixture(scope="module")
def site(fleet, repository):
    """Sets the credentials in the master's pillar, encrypted for its key; all of it is gone after the tests."""
    key = f"mkdir -p -m 700 /etc/salt/gpgkeys && {GPG} --passphrase '' --quick-gen-key pillar@example.com"
    fleet.exec("master", "sh", "-c", key, check=True)
    fleet.exec(HOST, "tee", CA, input=repository.certificate.read_text(), check=True)

    def encrypt(password):
        command = f"{GPG} --armor --trust-model always --recipient pillar@example.com --encrypt"
        text = fleet.exec("master", "sh", "-c", command, input=password, check=True).stdout
        lines = "".join(f"      {line}\n" for line in text.splitlines())
        fleet.heal(
            False, f"#!yaml|gpg\ngloboapp:\n  credentials:\n    user: {repository.user}\n    password: |\n{lines}"
        )

    yield encrypt
    forget = "gpgconf --homedir /etc/salt/gpgkeys --kill all; rm -rf /etc/salt/gpgkeys"
    fleet.exec("master", "sh", "-c", forget)
    units = "/etc/systemd/system"
    for command in (
        "systemctl stop 'fetched@*.service' 'fetched-*.socket'",
        f"rm -rf {TREE} {CA} {units}/fetched* {units}/multi-user.target.wants/fetched* /var/cache/salt/minion/globoapp",
        "systemctl daemon-reload; userdel fetched",
    ):
        fleet.exec(HOST, "sh", "-c", command)
    fleet.heal(False)
    fleet.ask(HOST, "grains.delkey", "fetched", "force=True")


def arguments(repository, version, **more):
    settings = {
        "name": "fetched", "root": TREE, "source": repository.url + "/{name}-{version}.zip",
        "wheels": repository.url + "/wheels", "ca": CA, "prove": 0, "soak": 0, **more,
    }  # fmt: skip
    pillar = {"version": version, "port": PORT, "globoapp": settings}
    return ["state.apply", "globoapp", "pillar=" + json.dumps(pillar), "--state-output=changes"]


def deploy(fleet, repository, version, **more):
    return fleet.salt(HOST, *arguments(repository, version, **more))


def serves(fleet):
    return Server(fleet, HOST).version(PORT)


def fetched(fleet, repository, name):
    """How often the server has fetched a file."""
    lines = (repository.work / "access.log").read_text().splitlines()
    client = fleet.address(HOST) + " "
    return sum(line.startswith(client) and f"GET /raw/{name} " in line and '" 200 ' in line for line in lines)


@pytest.fixture(scope="module")
def standing(fleet, repository, site):
    """1.0 is deployed from the repository; returns what the deploy said."""
    site(repository.password)
    done = deploy(fleet, repository, "1.0")
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_version_is_fetched_once(fleet, repository, standing):
    assert serves(fleet) == "1.0"
    assert fetched(fleet, repository, "fetched-1.0.zip") == 1
    assert deploy(fleet, repository, "1.0").returncode == 0
    assert fetched(fleet, repository, "fetched-1.0.zip") == 1


def refused(fleet, repository, version, *words):
    """A deploy is red, says why, and what stood before serves on."""
    before = serves(fleet)
    done = deploy(fleet, repository, version)
    assert done.returncode != 0
    for word in words:
        assert word in done.stdout, done.stdout
    assert "Total states run:     1" in done.stdout
    assert serves(fleet) == before
    return done.stdout


def test_a_wrong_password_is_named_and_not_shown(fleet, repository, standing, site):
    site("battery staple")
    said = refused(fleet, repository, "1.1", "refused the credentials (status 401)", "globoapp:credentials")
    assert "battery staple" not in said
    site(repository.password)
    assert deploy(fleet, repository, "1.1").returncode == 0
    assert serves(fleet) == "1.1"


def test_a_version_that_is_not_there(fleet, repository, standing):
    refused(fleet, repository, "9.9", "version 9.9 is unknown", "fetched-9.9.zip.sha256 is not there")


def test_a_short_body_and_a_wrong_checksum(fleet, repository, standing):
    archive = repository.files / "raw" / "fetched-1.2.zip"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    refused(fleet, repository, "1.2", "does not match its checksum")
    archive.write_bytes(whole)
    checksum = repository.files / "raw" / "fetched-1.2.zip.sha256"
    checksum.write_text("0" * 64 + "  fetched-1.2.zip\n")
    refused(fleet, repository, "1.2", "does not match its checksum", "expected " + "0" * 64)


def test_the_server_goes_down_in_mid_transfer(fleet, repository, standing):
    before = serves(fleet)
    running = fleet.start("salt", HOST, *arguments(repository, "1.3"), stdout=subprocess.PIPE, text=True)
    part = "find /var/cache/salt/minion/globoapp -name '.part-*'"
    until(lambda: fleet.exec(HOST, "sh", "-c", part).stdout, 60)
    processes = fleet.exec(HOST, "ps", "axwwe").stdout + fleet.exec("master", "ps", "axwwe").stdout
    repository.stop()
    said = running.communicate(timeout=120)[0]
    repository.start()
    assert running.returncode != 0
    assert "/fetched-1.3.zip" in said
    assert "could not be fetched" in said
    assert serves(fleet) == before
    assert not fleet.exec(HOST, "sh", "-c", part).stdout
    assert repository.password not in processes + said


def test_a_token_and_a_pinned_checksum(fleet, repository, standing, artifacts):
    fleet.heal(False, f"globoapp:\n  credentials:\n    token: {repository.token}\n")
    pinned = (artifacts / "fetched-1.4.zip.sha256").read_text()[:64]
    done = deploy(fleet, repository, "1.4", checksum=pinned)
    assert done.returncode == 0, done.stdout
    assert serves(fleet) == "1.4"
    assert fetched(fleet, repository, "fetched-1.4.zip.sha256") == 0


def test_no_secret_is_left_anywhere(fleet, repository, standing):
    """Logs of minion and master, the journal, Salt's caches and the tree on the server."""
    places = f"/var/log /var/cache/salt {TREE} /opt/globoHUB /run /srv/pillar /etc/systemd"
    for host in (HOST, "master"):
        for secret in (repository.password, "battery staple"):
            search = fleet.exec(host, "grep", "-raFl", "--exclude-dir=virtualenvs", secret, *places.split())
            assert search.stdout == "", search.stdout
        assert repository.password not in fleet.exec(host, "journalctl", "--no-pager").stdout
