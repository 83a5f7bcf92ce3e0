"""What the app reaches: nothing by default, the addresses of `connect` where pillar names them, and nothing else."""

import re

import pytest
from releases import release
from server import Server

# Says what came of a connection: "connected", or the error.
ROUTE = """
import socket
@app.route("/reach/<address>/<int:port>")
def reach(address, port):
    try:
        socket.create_connection((address, port), 2).close()
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return "connected"
"""
REACHED = "connected"
# As where a container's filter denies bpf: the unit runs, without a limit and without an error.
NO_LIMIT = """#!/bin/sh
for word; do shift; case $word in --property=IPAddressDeny=*) ;; *) set -- "$@" "$word";; esac; done
exec /usr/bin/systemd-run "$@"
"""


@pytest.fixture(scope="module")
def web1(fleet, serving_1_0, tmp_path_factory):
    """web1, serving 9.90, which connects where it is told; afterwards 1.0 without `connect`."""
    server = Server(fleet, "web1")
    with release(tmp_path_factory.mktemp("releases"), "9.90", after=ROUTE):
        server.deploy("9.90")
        yield server
        server.deploy("1.0")


@pytest.fixture(scope="module")
def master(fleet):
    """The master's address: salt-master listens on 4505 and 4506."""
    return fleet.address("master")


@pytest.fixture(scope="module")
def web2(fleet):
    """The address of web2, where 1.0 listens on 8000."""
    return fleet.address("web2")


def reached(server, address, port):
    """What the app on a server says of a connection."""
    status, body = server.get(f"/reach/{address}/{port}")
    assert status == 200, body
    return body


def exposure(server):
    """The score of systemd-analyze security for what serves."""
    said = server.sh("systemd-analyze security --no-pager globoapp@PACK9_90.service")
    return re.search(r"Overall exposure level for \S+: ([\d.]+)", said)[1]


def test_by_default_it_reaches_nothing(web1, master, web2, say):
    for address, port in ((master, 4506), (web2, 8000), ("127.0.0.1", 8000)):
        assert reached(web1, address, port) != REACHED
    unit = web1.sh("cat /etc/systemd/system/globoapp@.service")
    assert "PrivateNetwork=yes" in unit and "IPAddressAllow" not in unit
    say(f"exposure without connect: {exposure(web1)}")


def test_what_pillar_names_it_reaches_and_nothing_else(web1, master, web2, say):
    pid = web1.main_pid("9.90")
    run = web1.deploy("9.90", connect=[f"{master}:4506"])
    assert "nothing answers" not in run.text
    assert web1.main_pid("9.90") != pid
    assert reached(web1, master, 4506) == REACHED
    assert reached(web1, web2, 8000).startswith("TimeoutError")
    assert reached(web1, "127.0.0.1", 8000).startswith("TimeoutError")
    assert web1.call("globoapp.health")["healthy"]
    # By address, as the handbook says: a port that was not named is reached as well.
    assert reached(web1, master, 4505) == REACHED
    say(f"exposure with connect: {exposure(web1)}")


def test_a_candidate_has_the_same_limits(web1, master, web2, tmp_path):
    asks = f"""
for at in (({master!r}, 4506), ({web2!r}, 8000)):
    print("marker:", reach(*at), flush=True)
raise SystemExit(1)
"""
    with release(tmp_path, "9.91", after=ROUTE + asks):
        run = web1.apply("9.91", connect=[master], deadline=8)
    said = list(dict.fromkeys(line.split("marker: ")[1] for line in run.failed.splitlines() if "marker: " in line))
    assert said == [REACHED, "TimeoutError: timed out"]


def test_where_nothing_answers_the_deploy_warns_and_goes_on(web1, web2):
    run = web1.deploy("9.90", connect=[f"{web2}:9", f"{web2}:8000"])
    assert f"connect: nothing answers at {web2}:9: ECONNREFUSED; the deploy goes on" in run.text
    assert f"{web2}:8000:" not in run.text
    assert reached(web1, web2, 8000) == REACHED


def test_a_host_that_cannot_limit_refuses_connect(web1, web2):
    pid = web1.main_pid("9.90")
    web1.fleet.exec("web1", "sh", "-c", "cat > /usr/local/bin/systemd-run", input=NO_LIMIT, check=True)
    web1.sh("chmod +x /usr/local/bin/systemd-run")
    try:
        run = web1.apply("9.90", connect=[web2, "10.99.0.1"])
    finally:
        web1.sh("rm /usr/local/bin/systemd-run")
    assert "connect is set, and systemd is not seen to limit what a service reaches" in run.failed
    assert "a unit with IPAddressDeny=any could send" in run.failed
    assert web1.main_pid("9.90") == pid
