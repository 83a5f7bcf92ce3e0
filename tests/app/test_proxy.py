"""The real nginx, with the site that a deploy writes, in front of the real app."""

import contextlib
import http.server
import json
import os
import socket
import socketserver
import threading
import time

import pytest
from appserver import wait_for
from frontend import Frontend, answer
from globolib import files, nginx, systemd
from globolib.address import Address
from globolib.errors import Failure
from ports import free_port

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="nginx tries a site in a mount namespace: root is needed")
LIST = "/api/comment/list/1"


@pytest.fixture
def front(serve, tmp_path, monkeypatch):
    """A function that starts a Frontend of the app 1.1 (or of the port upstream) with more of the setting proxy."""
    made = []

    def start(upstream=None, **proxy):
        upstream = upstream or serve("1.1").listener.getsockname()[1]
        made.append(Frontend(tmp_path / f"front{len(made)}", upstream, **proxy))
        monkeypatch.setattr(nginx, "HERE", made[-1].place)
        monkeypatch.setattr(systemd, "unit", lambda name: made[-1].unit)
        assert set(nginx.take_up(made[-1].settings)) == {"site", "start"}
        return made[-1]

    yield start
    for one in made:
        one.stop()


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the request's headers as JSON, and with as many more bytes as the path says."""

    def do_GET(self):
        body = json.dumps({name.lower(): self.headers.get_all(name) for name in self.headers}).encode()
        body += b" " * int(self.path.rpartition("/")[2] or 0)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def echo():
    """The port of a server that answers with what it was asked with."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def logged(frontend):
    """The lines of the access log (bytes)."""
    return (frontend.work / "logs/globoapp-access.log").read_bytes().splitlines()


def status_of(frontend):
    return frontend.get(LIST)[0]


@pytest.mark.parametrize("count", [8, 50])
def test_idle_clients_do_not_stop_the_service(front, count):
    frontend = front(idle_timeout=60)
    with contextlib.ExitStack() as clients:
        for number in range(count):
            client = clients.enter_context(frontend.connect() if number % 2 else socket.create_connection(
                ("127.0.0.1", frontend.port)
            ))  # fmt: skip
            if number % 2:
                client.sendall(b"POST /api/comment/new HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
        if count > 20:  # more than one address may have under way
            assert status_of(frontend) == 429
            frontend.change(connections=0)
        assert [status_of(frontend) for _ in range(10)] == [404] * 10


def test_a_body_that_drips_reaches_the_app_when_it_is_complete(front):
    frontend = front(connections=0)
    body = json.dumps({"email": "a@example.com", "comment": "slow", "content_id": 7}).encode()
    head = f"POST /api/comment/new HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    with contextlib.ExitStack() as clients:
        slow = [clients.enter_context(frontend.connect()) for _ in range(12)]  # the app has 4 threads
        for client in slow:
            client.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n")
        for at in range(len(body) - 1):
            for client in slow:
                client.sendall(body[at : at + 1])
        assert status_of(frontend) == 404
        for client in slow:
            client.sendall(body[-1:])
        assert {answer(client)[0] for client in slow} == {200}


def test_a_silent_client_is_let_go(front):
    frontend = front(idle_timeout=1)
    with frontend.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost")
        assert client.recv(100) == b""


def test_a_body_that_is_too_large_is_refused(front):
    frontend = front(max_body="2k")
    head = b"POST /api/comment/new HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    assert frontend.send(head + b"Content-Length: 2049\r\n\r\n" + b" " * 2049)[0] == 413
    assert frontend.send(head + b"Content-Length: 2048\r\n\r\n" + b" " * 2048)[0] not in (0, 413)


def test_one_client_has_no_more_connections_than_it_may(front):
    frontend = front(connections=2)
    with contextlib.ExitStack() as clients:
        for _ in range(2):
            client = clients.enter_context(frontend.connect())
            client.sendall(b"POST /api/comment/new HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
        wait_for(lambda: status_of(frontend) == 429, "the limit")
        asked = nginx.Health(path=LIST, status=404, json={"status": "NOT-FOUND"})
        assert nginx.unwell(frontend.settings.layout, asked, 5) is None, "the health check is not limited"
    wait_for(lambda: status_of(frontend) == 404, "the end of the limit")


def test_static_files_are_those_of_the_deployed_release_and_nothing_else(front):
    frontend = front(static={"/static/": "static"})
    root = frontend.work / "root"
    for release in ("PACK1_0", "PACK1_1"):
        (root / release / "static").mkdir(parents=True)
        (root / release / "static/a.css").write_text(release)
        (root / release / "api.py").write_text("secret")
        (root / release / "static/link").symlink_to("../api.py")
        (root / release / "static/passwd").symlink_to("/etc/passwd")
    (root / "current").symlink_to("PACK1_0")
    assert frontend.get("/static/a.css")[::2] == (200, b"PACK1_0")
    (root / "PACK1_1/static/new.css").write_text("new")
    (root / "PACK1_1/static/b").mkdir()
    (root / "PACK1_1/static/b/c d.css").write_text("deep")
    assert frontend.get("/static/new.css")[0] == 404
    (root / ".globoapp/beside").symlink_to("../PACK1_1")
    assert frontend.get("/static/new.css")[::2] == (200, b"new"), "pages of the new release ask before it is deployed"
    assert frontend.get("/static/b/c%20d.css")[::2] == (200, b"deep")
    assert frontend.get("/static/a.css")[::2] == (200, b"PACK1_0")
    etag = frontend.get("/static/a.css")[1]["etag"]
    (root / "new").symlink_to("PACK1_1")
    os.utime(root / "PACK1_1/static/a.css", (time.time() + 2,) * 2)
    (root / "new").rename(root / "current")
    assert frontend.get("/static/a.css", f"If-None-Match: {etag}")[::2] == (200, b"PACK1_1")
    (root / "PACK1_1/static/beside").symlink_to("../api.py")
    (root / "current").unlink()
    (root / "current").symlink_to("PACK1_0")
    assert frontend.get("/static/beside")[0] == 403
    assert frontend.get("/static/link")[0] == frontend.get("/static/passwd")[0] == 403
    assert frontend.get("/static/a.css", method="POST")[0] == 405
    for path in (
        "/static../api.py",
        "/static/../api.py",
        "/static/%2e%2e/api.py",
        "/static/..%2fapi.py",
        "/static",
        "/static/b",
    ):
        status, _, body = frontend.get(path)
        assert (status in (301, 400, 403, 404), b"secret" in body) == (True, False), path


def test_gzip_for_what_is_large_enough_and_only_who_asks(front, echo):
    frontend = front(upstream=echo)
    status, headers, body = frontend.get("/5000", "Accept-Encoding: gzip")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert len(body) < 2000
    assert "content-encoding" not in frontend.get("/5000")[1]
    assert "content-encoding" not in frontend.get("/0", "Accept-Encoding: gzip")[1]
    frontend.change(gzip=False)
    assert "content-encoding" not in frontend.get("/5000", "Accept-Encoding: gzip")[1]


FORGED = [
    *(
        "X-Forwarded-For: 6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: evil",
        "Proxy: x",
    ),
    *(
        "X-Forwarded-Protocol: ssl",
        "X-Forwarded-Ssl: on",
        "Forwarded: for=6.6.6.6",
        "X-Request-ID: 1",
        "X_Forwarded_For: 6",
    ),
    *("X-Forwarded-Port: 1", "X-Forwarded-Prefix: /evil", "X-Forwarded-Server: evil", "X-Kept: yes"),
    "X_Forwarded_For: 6.6.6.6",
]


def test_what_a_client_says_of_itself_is_replaced(front, echo):
    frontend = front(upstream=echo)
    seen = json.loads(frontend.get("/", *FORGED)[2])
    assert seen["x-forwarded-for"] == seen["x-real-ip"] == ["127.0.0.1"]
    host = f"api.example.com:{frontend.port}"
    assert seen["x-forwarded-host"] == seen["host"] == [host]
    assert (seen["x-forwarded-proto"], seen["x-forwarded-port"]) == (["https"], [str(frontend.port)])
    gone = {"forwarded", "proxy", "x-forwarded-protocol", "x-forwarded-ssl", "x-forwarded-prefix", "x_forwarded_for"}
    assert seen.keys() & {*gone, "x-forwarded-server"} == set()
    assert len(seen["x-request-id"][0]) == 32
    assert seen["x-kept"] == ["yes"]


HOSTILE = [
    *(b'"', b"\\", b'", "status": 200, "x": "', b"\x01\x1b[31m", b"\xff\xfe", "ü€".encode(), b"{}", b"%22%0a\\u0000"),
]


@pytest.mark.parametrize("bad", HOSTILE, ids=range(len(HOSTILE)))
def test_a_line_of_the_log_is_one_json_object_whatever_a_client_sends(front, echo, bad):
    frontend = front(upstream=echo)
    frontend.get("/", b"User-Agent: a" + bad, b"Referer: b" + bad)
    frontend.send(b"GET /0?q=" + bad.replace(b" ", b"+") + b"/0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    frontend.send(b"GET / HTTP/1.1\r\nHost: x" + bad + b"\r\nConnection: close\r\n\r\n")
    frontend.send(b"\x00\xff" + bad + b"\r\n\r\n")
    frontend.get("/last")
    wait_for(lambda: b"/last" in b"".join(logged(frontend)), "the log")
    lines = [json.loads(line.decode("utf-8")) for line in logged(frontend)]
    keys = "time client id method host uri protocol status bytes seconds upstream upstream_status upstream_seconds"
    assert {tuple(line) for line in lines} == {(*keys.split(), "referer", "agent")}
    assert all(line["client"] == "127.0.0.1" for line in lines)
    shown = bad.decode("ascii", "replace")
    assert lines[0]["agent"] in (f"a{shown}", "(not ASCII)", "")


def test_reloads_under_load_lose_nothing(front):
    frontend = front(connections=0)
    lost, sent, over = [], [0], threading.Event()

    def client():
        while not over.is_set():
            sent[0] += 1
            status = status_of(frontend)
            if status != 404:
                lost.append(status)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    for number in range(6):
        assert set(frontend.change(max_body=f"{number + 2}m")) == {"site"}
    over.set()
    for one in clients:
        one.join()
    assert lost == []
    assert sent[0] > 20


def test_what_nginx_refuses_changes_nothing(front):
    frontend = front()
    site = nginx.HERE.site("globoapp")
    before, pid = files.read(site), frontend.process.pid
    missing = {"self_signed": False, "certificate": "/nowhere/c.pem", "key": "/nowhere/k.pem"}
    with pytest.raises(Failure, match=r"nginx refuses the site of globoapp, which was not taken up: .*/nowhere/c\.pem"):
        frontend.change(**missing)
    assert (files.read(site), frontend.process.pid) == (before, pid)
    assert status_of(frontend) == 404


def test_somebody_elses_fault_is_told_as_such(front):
    frontend = front()
    other = frontend.work / "etc/conf.d/other.conf"
    other.write_text("lisen 1;\n")
    with pytest.raises(Failure, match=r"broken without this app's part of it; put it right first: .*\"lisen\".*other"):
        frontend.change(max_body="2m")
    assert status_of(frontend) == 404
    (frontend.work / "etc/nginx.conf").write_text("events {} http {}")
    other.unlink()
    with pytest.raises(Failure, match=r"nginx\.conf does not include .*conf\.d/\*\.conf"):
        frontend.change(max_body="2m")


def test_a_reload_that_fails_is_undone(front):
    frontend = front()
    site = nginx.HERE.site("globoapp")
    before = files.read(site)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        frontend.settings = frontend.settings.at(deadline=1)
        with pytest.raises(Failure, match=r"(?s)1 s after its reload.*bind\(\).*\nWhat nginx had before was put back"):
            frontend.change(server_name=["a.example"], redirect_port=port)
    assert files.read(site) == before
    assert status_of(frontend) == 404
    assert frontend.change(max_body="2m"), "nginx takes up the next one"


def test_it_is_taken_away(front):
    frontend = front()
    settings = frontend.settings.at(proxy=None)
    assert set(nginx.steps(settings)) == {"remove"}
    assert set(nginx.take_up(settings)) == {"remove"}
    assert not os.path.exists(nginx.HERE.site("globoapp"))
    assert nginx.taken_up(settings.layout) is None
    assert nginx.steps(settings) == nginx.take_up(settings) == {}
    with pytest.raises(ConnectionRefusedError):
        frontend.connect()


def test_http_leads_to_https(front):
    port = free_port()
    frontend = front(server_name=["api.example.com"], redirect_port=port)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /a?b=c HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n")
        status, headers, _ = answer(client)
    assert (status, headers["location"]) == (308, f"https://api.example.com:{frontend.port}/a?b=c")


def test_another_port_of_the_app_is_found_while_it_moves(front, echo, serve):
    frontend = front()
    layout = frontend.settings.layout
    gone = frontend.settings.port
    moving = frontend.settings.at(port=echo)
    assert "site" in nginx.prepare(moving, Address("127.0.0.1", gone))
    assert frontend.get("/0")[0] == 200
    closed = frontend.settings.at(port=1)
    assert "site" in nginx.prepare(closed, Address("127.0.0.1", echo))
    assert frontend.get("/0")[0] == 200, "nobody is on port 1 yet"
    assert "site" in nginx.take_up(moving)
    assert nginx.steps(moving) == {}
    assert nginx.taken_up(layout).port == frontend.port


class UnixServer(http.server.ThreadingHTTPServer):
    """The same on a unix socket."""

    address_family = socket.AF_UNIX

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0

    def get_request(self):
        client, _ = super().get_request()
        return client, ("unix", 0)


def test_an_app_on_a_unix_socket_is_asked_there_and_found_while_it_moves(front, echo, tmp_path):
    path = str(tmp_path / "shop.sock")
    frontend = front(upstream=echo)
    with UnixServer(path, Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        moving = frontend.settings.at(bind=f"unix:{path}", address=f"unix:{path}", port=0)
        assert "site" in nginx.prepare(moving, Address("127.0.0.1", echo))
        assert f"server unix:{path} max_fails=0;" in files.read(nginx.HERE.site("globoapp"))
        assert frontend.get("/0")[0] == 200
        assert "site" in nginx.take_up(moving)
        assert nginx.steps(moving) == {}
        status, _, body = frontend.get("/0")
        assert (status, json.loads(body)["x-forwarded-for"]) == (200, ["127.0.0.1"])
        server.shutdown()
    assert frontend.get("/0")[0] == 502, "the port is not asked any more"


def test_a_certificate_that_was_renewed_is_seen(front):
    frontend = front()
    one, key = frontend.settings.layout.self_signed
    os.unlink(one)
    nginx.certificate.make(one, key, (), "globoapp")
    why = nginx.steps(frontend.settings)["reload"]
    assert f"it shows another certificate than {one} holds" in why
    asked = nginx.Health(path=LIST, status=404, json={"status": "NOT-FOUND"})
    assert nginx.unwell(frontend.settings.layout, asked, 5) is None, "no alert for a renewal"
    assert set(nginx.take_up(frontend.settings)) == {"reload"}
    assert nginx.steps(frontend.settings) == {}


def test_who_is_dead_is_told(front, serve):
    server = serve("1.1")
    frontend = front(upstream=server.listener.getsockname()[1])
    layout, asked = frontend.settings.layout, nginx.Health(path=LIST, status=404, json={"status": "NOT-FOUND"})
    assert nginx.unwell(layout, asked, 5) is None
    server.close()
    assert "the proxy nginx answers, and by it GET" in nginx.unwell(layout, asked, 5)
    frontend.stop()
    assert nginx.unwell(layout, asked, 5).startswith("nginx does not answer at https://127.0.0.1:")
    assert set(nginx.take_up(frontend.settings)) == {"start"}


def test_a_certificate_of_ones_own(front):
    frontend = front()
    pair = [str(frontend.work / name) for name in ("own.pem", "own.key")]
    nginx.certificate.make(*pair, ("api.example.com",), "x")
    own = {"self_signed": False, "certificate": pair[0], "key": pair[1], "server_name": ["api.example.com"]}
    assert set(frontend.change(**own)) == {"site"}
    assert frontend.get(LIST)[1]["strict-transport-security"] == "max-age=31536000"
    assert nginx.where(frontend.settings, frontend.settings.front).certificate == pair[0]
    assert nginx.steps(frontend.settings) == {}


def test_all_addresses_of_both_families(front):
    frontend = front(address="::")
    assert status_of(frontend) == 404
    with frontend.connect("::1") as client:
        client.sendall(b"GET /.globoapp-proxy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert len(answer(client)[2].strip()) == 64
    assert frontend.get("/.globoapp-proxy")[0] == 200, "127.0.0.1 in its IPv6 form is near, too"


def test_two_apps_on_one_port_are_told_apart_by_their_names(front, echo):
    frontend = front(server_name=["api.example.com"])
    setting = {**frontend.settings.proxy, "server_name": ["shop.example.com"]}
    shop = frontend.settings.at(name="shop", root=str(frontend.work / "shop"), port=echo, proxy=setting)
    os.makedirs(shop.layout.own)
    nginx.prepare(shop, None)
    assert set(nginx.take_up(shop)) == {"site"}
    assert nginx.steps(shop) == nginx.steps(frontend.settings) == {}
    assert frontend.get(LIST)[0] == 404
    seen = frontend.send(b"GET /0 HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
    assert json.loads(seen[2])["host"] == [f"shop.example.com:{frontend.port}"]
    assert set(nginx.take_up(shop.at(proxy=None))) == {"remove"}
    assert nginx.steps(frontend.settings) == {}
