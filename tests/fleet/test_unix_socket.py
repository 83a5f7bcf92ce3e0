"""`bind` as a unix socket, on a real machine: asked, switched, refused, repaired, and changed from TCP and back."""

import json

import pytest
from polling import until

PATH = "/run/globoapp/shop.sock"
BIND = f"unix:{PATH}"
UNIT = "globoapp-unix:run:globoapp:shop.sock.socket"

# Two clients of the machine itself, until a file is there: each asks the first place that takes its connection.
LOAD = """\
import http.client, json, os, socket, sys, threading, time

asked, lost, places = [], [], sys.argv[2:]


class Connection(http.client.HTTPConnection):
    def connect(self):
        for place in places:
            family, where = (socket.AF_UNIX, place) if "/" in place else (socket.AF_INET, ("127.0.0.1", int(place)))
            self.sock = socket.socket(family)
            self.sock.settimeout(20)
            try:
                return self.sock.connect(where)
            except (ConnectionRefusedError, FileNotFoundError) as error:
                refused = error
        raise refused


def client():
    while not os.path.exists(sys.argv[1]):
        connection = Connection("x")
        try:
            connection.request("GET", "/api/comment/list/nobody-commented")
            status = connection.getresponse().status
            asked.append(status)
            if status not in (200, 404):
                lost.append(str(status))
        except Exception as error:
            lost.append(repr(error))
        finally:
            connection.close()
        time.sleep(0.005)  # the deploy needs a processor, too


clients = [threading.Thread(target=client) for _ in range(2)]
[one.start() for one in clients]
[one.join() for one in clients]
print(json.dumps({"asked": len(asked), "lost": lost}))
"""


class Load:
    """Clients on the machine while a `with` block runs; afterwards `seen` is what came of it."""

    def __init__(self, web, *places):
        self.web, self.places, self.seen = web, places, None

    def __enter__(self):
        self.web.sh(f"cat > /run/load.py <<'END'\n{LOAD}END\nrm -f /run/load.stop /run/load.out")
        words = f"/usr/bin/python3 /run/load.py /run/load.stop {' '.join(self.places)}"
        self.web.sh(f"systemd-run -q --unit=load --collect -p StandardOutput=file:/run/load.out {words}")
        return self

    def __exit__(self, kind, error, trace):
        self.web.sh("touch /run/load.stop")
        self.seen = json.loads(until(lambda: self.web.sh("cat /run/load.out", check=False), 30))

    def assert_nothing_lost(self):
        """Fails the test when a request was lost, or when there were none."""
        assert self.seen["asked"] > 100
        assert self.seen["lost"] == []


@pytest.fixture(scope="module")
def web(fleet, alone):
    """web2 with 1.0 on TCP, and a pillar that wants a unix socket; monitoring leaves it alone."""
    fleet.heal(False, f"globoapp: {json.dumps({'bind': BIND})}\n")
    server = alone("web2")
    server.deploy("1.0", bind="0.0.0.0")
    yield server
    fleet.heal(False)


def over(web, path="/api/comment/list/nobody-commented"):
    """The status of a GET over the unix socket, "000" without an answer; asked on the machine."""
    return web.sh(f"curl -s -m 5 -o /dev/null -w '%{{http_code}}' --unix-socket {PATH} http://x{path}", check=False)


def differences(web):
    return web.call("globoapp.status")["differences"]


def test_from_tcp_to_a_unix_socket_one_of_both_answers_all_the_time(web, say):
    with Load(web, "8000", PATH) as load:
        web.deploy("1.0")
    load.assert_nothing_lost()
    say(f"from TCP: {load.seen['asked']} requests, 0 lost")
    assert (over(web), web.get()[0]) == ("404", None)
    assert web.sh(f"stat -c '%A %U %G' {PATH}") == "srw-rw---- globoapp globoapp"
    assert web.sh("ls /etc/systemd/system/globoapp*.socket") == f"/etc/systemd/system/{UNIT}"


def test_what_is_told_of_it(web):
    health, status = web.call("globoapp.health"), web.call("globoapp.status")
    assert (health["healthy"], health["asked"].startswith(f"{BIND}:/")) == (True, True), health
    assert (status["address"], status["differences"]) == (BIND, [])
    grain = web.call("grains.get", "globoapp")
    assert (grain["bind"], grain["port"]) == (BIND, None)
    line = web.ledger()[-1]
    assert (line["bind"], line["address"], "port" in line) == (BIND, BIND, False)
    web.call("globoapp.health", "report=True")
    shown = until(lambda: web.fleet.runner("globoapp.inventory")["web2"].get("address"), 60)
    assert shown == BIND
    assert web.apply("1.0").green().changed == []


def test_a_switch_under_load_loses_nothing(web, say):
    with Load(web, PATH) as load:
        web.deploy("1.1", soak=0.5)
    load.assert_nothing_lost()
    say(f"a switch: {load.seen['asked']} requests, 0 lost")
    assert web.ledger()[-1]["version"] == "1.1"
    assert differences(web) == []


def test_what_is_in_the_way_is_refused_by_name(web):
    web.sh("echo mine > /run/mine.sock")
    run = web.apply("1.0", bind="unix:/run/mine.sock")
    assert "/run/mine.sock is a regular file; remove it, or choose another path" in run.failed
    journal = "unix:/run/systemd/journal/stdout"
    assert f"{journal} is taken: systemd-journal (process " in web.apply("1.0", bind=journal).failed
    assert (web.sh("cat /run/mine.sock; rm /run/mine.sock"), over(web)) == ("mine", "404")


def test_what_is_broken_of_it_is_told_and_repaired(web):
    web.sh(f"rm {PATH}")
    assert f"{UNIT} is active, yet {PATH} is not there" in differences(web)
    web.deploy("1.1")
    assert (over(web), differences(web)) == ("404", [])
    web.sh(f"systemctl stop '{UNIT}'")
    assert over(web) == "000"
    web.highstate().green()
    assert (over(web), differences(web)) == ("404", [])


def test_after_a_power_cut_it_is_there_again(web):
    web.fleet.cut("web2")
    web.fleet.boot("web2")
    until(lambda: over(web) == "404")
    assert web.sh(f"stat -c '%A %U %G' {PATH}") == "srw-rw---- globoapp globoapp"
    assert differences(web) == []


def test_back_to_tcp_nothing_is_left(web, say):
    with Load(web, PATH, "8000") as load:
        web.deploy("1.1", bind="0.0.0.0")
    load.assert_nothing_lost()
    say(f"back to TCP: {load.seen['asked']} requests, 0 lost")
    web.assert_answers("1.1")
    web.assert_serves("1.1")
    assert web.sh(f"ls {PATH} '/etc/systemd/system/{UNIT}' 2>/dev/null", check=False) == ""
    assert web.sh("systemctl list-units --all --no-legend --plain 'globoapp-unix*'") == ""
