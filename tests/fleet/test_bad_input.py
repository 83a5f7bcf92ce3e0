"""Bad input: one clear line for each problem, all at once, before anything is touched; what served goes on."""

import re

import pytest
from deploys import apply, listing, main_pid, serves

# Something else that listens on web1, on a port of its own.
OTHER_PORT = 8123


@pytest.fixture(scope="module", autouse=True)
def undisturbed(fleet, serving_1_0):
    """Around all tests of this file: nothing on the host changes, and the same process goes on serving."""
    before = listing(fleet, "web1"), main_pid(fleet, "web1", "PACK1_0")
    yield
    assert not listing(fleet, "web1") ^ before[0]
    assert main_pid(fleet, "web1", "PACK1_0") == before[1]
    serves(fleet, "web1", "1.0")


def refused(fleet, host, **pillar):
    """The lines with which a deploy is refused: nothing else is in its output."""
    run = apply(fleet, host, **pillar)
    assert run.code != 0
    (only,) = run.states[host]
    assert only["result"] is False
    assert only["changes"] == {}
    first, *lines = only["comment"].splitlines()
    assert first == "Nothing was touched. To be put right first:"
    assert all(line.startswith("  - ") for line in lines)
    return [line.removeprefix("  - ") for line in lines]


def assert_lines(lines, *patterns):
    """Fails the test unless each pattern matches one line of its own, and there are no others."""
    for pattern in patterns:
        assert len([line for line in lines if re.match(pattern, line)]) == 1, (pattern, lines)
    assert len(lines) == len(patterns), lines


def test_numbers_where_text_should_be_and_text_where_numbers_should_be(fleet):
    lines = refused(
        fleet, "web1", version=1.10, port="8000", globoapp={"prot": 8080, "bind": "eth7", "soak": "5s", "keep": 0}
    )
    assert_lines(
        lines,
        r'version is the number 1\.1: to YAML 1\.10 and 1\.1 are one number; write it in quotes, version: "1\.1"$',
        r"port is '8000': a whole number without quotes, from 1 to 65535$",
        r"bind is 'eth7': neither an IP address nor an interface; this host has host0 \(10\.[\d.]+\), lo ",
        r"globoapp:prot is no setting: did you mean .*\bport\b.*\?$",
        r"soak is '5s': seconds, a number from 0 to 3600$",
        r"keep is 0: ",
    )


def test_path_tricks_and_ports_that_are_none(fleet):
    lines = refused(
        fleet, "web1", version="../1.0", port=65536, globoapp={"bind": "10.255.255.1", "root": "/opt/../etc"}
    )
    assert_lines(
        lines,
        r"version is '\.\./1\.0': two to four numbers with dots are a version, like ",
        r"port is 65536: it must be from 1 to 65535$",
        r"bind is '10\.255\.255\.1': no address of this host; this host has ",
        r"root is '/opt/\.\./etc': an absolute path of letters",
    )


def test_an_unknown_version_on_a_port_that_is_taken(fleet):
    server = ["--unit=other", "--collect", "python3", "-m", "http.server", str(OTHER_PORT), "--directory", "/usr/share"]
    fleet.exec("web1", "systemd-run", *server, check=True)
    try:
        listens = ["sh", "-c", f"until ss -ltn | grep -q ':{OTHER_PORT} '; do sleep 0.1; done"]
        fleet.exec("web1", *listens, check=True)
        lines = refused(fleet, "web1", version="9.9", port=OTHER_PORT)
    finally:
        fleet.exec("web1", "systemctl", "stop", "other", check=True)
    assert_lines(
        lines,
        r"version 9\.9 is unknown: salt://globoapp-9\.9\.zip\S* is not there\. The source has 1\.0, 1\.1, 2\.0.*; "
        r"on this host there is (.*, )?1\.0",
        rf"port {OTHER_PORT} is taken: python3 \(process \d+\) listens on 0\.0\.0\.0:{OTHER_PORT}; stop it or choose",
    )


def test_an_artifact_that_is_not_what_was_published(fleet):
    # A version that the host does not have: of one that it has its own copy is taken.
    lines = refused(fleet, "web1", version="2.0", port=0, globoapp={"checksum": "0" * 64})
    assert_lines(
        lines,
        r"salt://globoapp-2\.0\.zip does not match its checksum: SHA-256 is [0-9a-f]{64}, expected 0{64}; publish it ",
        r"port is 0: it must be from 1 to 65535$",
    )


def test_nothing_named_and_nothing_deployed(fleet):
    lines = refused(fleet, "web1", globoapp={"name": "other", "root": "/opt/other/root", "port": 9001})
    assert_lines(lines, r"version is missing: nothing is deployed here yet, .* say pillar='\{\"version\": \"1\.0\"\}'$")


def test_a_host_that_cannot_make_virtualenvs(fleet):
    """No python3-venv and no uv. What 1.0 needs is there already, so it is a version with another lock."""
    package = "/usr/lib/python3.11/ensurepip"
    fleet.exec("web1", "mv", package, f"{package}.away", check=True)
    try:
        lines = refused(fleet, "web1", version="2.0", globoapp={"wheels": "salt://nowhere"})
    finally:
        fleet.exec("web1", "mv", f"{package}.away", package, check=True)
    assert_lines(
        lines,
        r"/usr/bin/python3 cannot make a virtualenv: install python3-venv, or serve a uv wheel at salt://nowhere ",
    )


def test_no_room_on_the_disk(fleet):
    fleet.exec("web1", "sh", "-c", "mkdir /run/small && mount -t tmpfs -o size=16m small /run/small", check=True)
    try:
        pillar = {"name": "globoapp", "root": "/run/small/root", "reserve": 10}
        lines = refused(fleet, "web1", version="1.1", port=9001, globoapp=pillar)
        assert fleet.exec("web1", "ls", "/run/small", check=True).stdout == ""
    finally:
        fleet.exec("web1", "sh", "-c", "umount /run/small && rmdir /run/small", check=True)
    assert_lines(
        lines,
        r"no room on the disk of /run/small/root: 16 MiB free, \d+ MiB wanted \(of these 10 MiB to stay free, pillar ",
    )
