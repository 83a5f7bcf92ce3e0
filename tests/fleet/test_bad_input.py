"""Bad input: one clear line for each problem, all at once, before anything is touched; what served goes on."""

import re

import pytest
from polling import until
from server import Server

# Something else that listens on web1, on a port of its own.
OTHER_PORT = 8123


@pytest.fixture(scope="module")
def web(fleet, serving_1_0):
    """web1. Around all tests of this file: nothing on the host changes, and the same process goes on serving."""
    server = Server(fleet, "web1")
    before = server.listing(), server.main_pid("1.0")
    yield server
    assert sorted(server.listing() ^ before[0]) == []
    assert server.main_pid("1.0") == before[1]
    server.assert_answers("1.0")


def refused(web, version=None, **settings):
    """The lines with which a deploy is refused: nothing else is in its output."""
    run = web.apply(version, **settings)
    assert run.code != 0
    (only,) = run.states
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


def test_numbers_where_text_should_be_and_text_where_numbers_should_be(web):
    lines = refused(web, 1.10, port="8000", prot=8080, bind="eth7", soak="5s", keep=0)
    assert_lines(
        lines,
        r'version is the number 1\.1: to YAML 1\.10 and 1\.1 are one number; write it in quotes, version: "1\.1"$',
        r"port is '8000': a whole number without quotes, from 1 to 65535$",
        r"bind is 'eth7': neither an IP address nor an interface; this host has host0 \(10\.[\d.]+\), lo ",
        r"globoapp:prot is an unknown setting; did you mean .*\bport\b.*\?$",
        r"soak is '5s': seconds, a number from 0 to 3600$",
        r"keep is 0: ",
    )


def test_path_tricks_and_ports_that_are_none(web):
    lines = refused(web, "../1.0", port=65536, bind="10.255.255.1", root="/opt/../etc")
    assert_lines(
        lines,
        r"version is '\.\./1\.0': two to four numbers with dots are a version, like ",
        r"port is 65536: it must be from 1 to 65535$",
        r"bind is '10\.255\.255\.1': not an address of this host; this host has ",
        r"root is '/opt/\.\./etc': an absolute path of letters",
    )


def test_an_unknown_version_on_a_port_that_is_taken(web):
    web.sh(f"systemd-run --unit=other --collect python3 -m http.server {OTHER_PORT} --directory /usr/share")
    try:
        until(lambda: web.sh(f"ss -Hltn 'sport = {OTHER_PORT}'"))
        lines = refused(web, "9.9", port=OTHER_PORT)
    finally:
        web.sh("systemctl stop other")
    assert_lines(
        lines,
        r"version 9\.9 is unknown: salt://globoapp-9\.9\.zip\S* is not there\. The source has 1\.0, 1\.1, 2\.0.*; "
        r"on this host there is (.*, )?1\.0",
        rf"port {OTHER_PORT} is taken: python3 \(process \d+\) listens on 0\.0\.0\.0:{OTHER_PORT}; stop it or choose",
    )


def test_an_artifact_that_is_not_what_was_published(web):
    # A version that the host does not have: of one that it has its own copy is taken.
    lines = refused(web, "2.0", port=0, checksum="0" * 64)
    assert_lines(
        lines,
        r"salt://globoapp-2\.0\.zip does not match its checksum: SHA-256 is [0-9a-f]{64}, expected 0{64}; publish it ",
        r"port is 0: it must be from 1 to 65535$",
    )


def test_nothing_named_and_nothing_deployed(web):
    lines = refused(web, name="other", root="/opt/other/root", port=9001)
    assert_lines(lines, r"version is missing: nothing is deployed here yet, .* say pillar='\{\"version\": \"1\.0\"\}'$")


def test_a_host_that_cannot_make_virtualenvs(web):
    """No python3-venv and no uv. What 1.0 needs is there already, so it is a version with another lock."""
    package = "/usr/lib/python3.11/ensurepip"
    web.sh(f"mv {package} {package}.away")
    try:
        lines = refused(web, "2.0", wheels="salt://nowhere")
    finally:
        web.sh(f"mv {package}.away {package}")
    assert_lines(
        lines,
        r"/usr/bin/python3 cannot make a virtualenv: install python3-venv, or serve a uv wheel at salt://nowhere ",
    )


def test_no_room_on_the_disk(web):
    web.sh("mkdir /run/small && mount -t tmpfs -o size=16m small /run/small")
    try:
        lines = refused(web, "1.1", port=9001, root="/run/small/root", reserve=10)
        assert web.sh("ls /run/small") == ""
    finally:
        web.sh("umount /run/small && rmdir /run/small")
    assert_lines(
        lines,
        r"no room on the disk of /run/small/root: 16 MiB free, \d+ MiB wanted \(of these 10 MiB to stay free, pillar ",
    )
