"""Files from a repository that is slow, wrong or hostile: within the deadline, verified, and no credential astray."""

import base64
import contextlib
import functools
import hashlib
import http.server
import os
import ssl
import subprocess
import threading
import time

import pytest
from globolib import checks, fetch, https, waiting
from globolib.errors import Failure
from globolib.settings import Credentials

CONTENT = b"content\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TOKEN = Credentials(token="geheim-token")
USER = Credentials(user="me", password="geheim wört")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The paths of a certificate for localhost, its own CA, and of its key."""
    directory = tmp_path_factory.mktemp("ca")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext "
        "subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out ca.pem"
    )
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    return directory / "ca.pem", directory / "key.pem"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by what a test has put into ``server.answers``: path -> function of the handler."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client has had enough
            self.server.answers.get(self.path, lambda handler: handler.say(404))(self)

    def say(self, status, body=b"", **headers):
        self.send_response(status, headers.pop("reason", None))
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    """An https server on a port of its own."""

    def __init__(self, certificate):
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.answers, self.seen = {}, []
        self.url = f"https://localhost:{self.server_port}"
        threading.Thread(target=functools.partial(self.serve_forever, 0.01), daemon=True).start()

    def serve(self, path, body=CONTENT, **headers):
        self.answers[path] = lambda handler: handler.say(200, body, **headers)

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what is tested


@pytest.fixture
def start(certificate):
    """A function that starts a Server."""
    servers = []

    def started():
        servers.append(Server(certificate))
        return servers[-1]

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(start):
    """A Server that has /dir/a.zip."""
    server = start()
    server.serve("/dir/a.zip")
    return server


@pytest.fixture
def settings(settings, server, certificate):
    """Settings whose source is on the server."""
    return settings.at(source=f"{server.url}/dir/a.zip", ca=str(certificate[0]))


def failure(minion, settings, url=None, **more):
    """The line of the Failure to fetch ``url``, by default the source; nothing of it is left in the cache."""
    with pytest.raises(Failure) as caught:
        fetch.file(minion, settings, url or settings.source, **more)
    line = str(caught.value)
    assert line.isprintable() and "geheim" not in line
    left = [name for _, _, names in os.walk(minion.cache) for name in names]
    assert left == []
    return line


def test_a_file_is_fetched_once_while_its_checksum_is_the_same(minion, settings, server, umask):
    path = fetch.file(minion, settings, settings.source, DIGEST.upper())
    with open(path, "rb") as handle:
        assert handle.read() == CONTENT
    assert path == f"{minion.cache}/globoapp/localhost:{server.server_port}/dir/a.zip"
    assert os.stat(path).st_mode & 0o7777 == 0o644
    assert {os.stat(directory).st_mode & 0o7777 for directory, _, _ in os.walk(minion.cache)} == {0o755}
    fetch.file(minion, settings, settings.source, DIGEST)
    assert len(server.seen) == 1
    fetch.file(minion, settings, settings.source)
    assert len(server.seen) == 2


def test_what_is_not_what_was_wanted_is_not_kept(minion, settings):
    line = failure(minion, settings, sha256="0" * 64)
    assert f"does not match its checksum: SHA-256 is {DIGEST}, expected {'0' * 64}; publish it again" in line


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        (404, None, "/dir/a.zip is not there"),
        (401, None, "refused the credentials (status 401): see globoapp:credentials"),
        (403, None, "refused the credentials (status 403): see globoapp:credentials"),
        (500, "\x1b[31mred", "/dir/a.zip: status 500 red"),
        (204, None, "status 204 No Content"),
    ],
)
def test_another_status_is_told(minion, settings, server, status, reason, line):
    server.answers["/dir/a.zip"] = lambda handler: handler.say(status, reason=reason)
    assert failure(minion, settings.at(credentials=TOKEN)).endswith(line)


def test_a_server_that_is_busy_is_asked_again(minion, settings, server):
    def busy(handler):
        if len(server.seen) < 3:
            handler.say(503, Retry_After="3600")
        else:
            handler.say(200, CONTENT)

    server.answers["/dir/a.zip"] = busy
    started = time.monotonic()
    assert fetch.file(minion, settings, settings.source, DIGEST, deadline=20)
    assert len(server.seen) == 3 and time.monotonic() - started < 60  # and not the hour that it asks for


def test_a_server_that_stays_busy_is_told(minion, settings, server, monkeypatch):
    monkeypatch.setattr(https, "BACKOFF", 0)
    server.answers["/dir/a.zip"] = lambda handler: handler.say(503, Retry_After="3600")
    assert failure(minion, settings, deadline=20).endswith("status 503 Service Unavailable")
    assert waiting.until(lambda: True if len(server.seen) == 4 else None, 10)  # the server notes it after its answer


def drip_body(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"x")
        time.sleep(0.05)


def drip_headers(handler):
    for _ in range(100):
        handler.wfile.write(b"H")
        handler.wfile.flush()
        time.sleep(0.05)


@pytest.mark.parametrize("drip", [drip_body, drip_headers])
def test_the_deadline_is_for_all_of_it(minion, settings, server, drip):
    """Each byte comes in time, and the file never."""
    server.answers["/dir/a.zip"] = drip
    started = time.monotonic()
    assert failure(minion, settings, deadline=0.5).endswith("could not be fetched: not complete after 0.5 s")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("told", [True, False])
def test_a_file_that_is_too_large_is_not_read_to_its_end(minion, settings, server, told):
    def large(handler):
        handler.send_response(200)
        if told:
            handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        for _ in range(1 << 20):
            handler.wfile.write(b"x" * 1000)

    server.answers["/dir/a.zip"] = large
    assert failure(minion, settings, limit=1 << 20).endswith("a.zip is larger than 1048576 bytes")


def test_a_file_that_ends_early_is_told(minion, settings, server):
    def short(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(CONTENT)

    server.answers["/dir/a.zip"] = short
    assert "could not be fetched: " in failure(minion, settings)


def test_what_ends_early_unnoticed_by_the_library_is_told(minion, settings, server, monkeypatch):
    """urllib3 1.26, which Salt 3006 may bring, does not compare lengths."""
    server.answers["/dir/a.zip"] = lambda handler: handler.say(200, CONTENT, Content_Length="100")

    class Lenient:
        status_code, headers = 200, {"Content-Length": "100"}

        class raw:
            stream = staticmethod(lambda size, decode_content: [CONTENT])

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *error: None  # noqa: E731

    monkeypatch.setattr(https, "_answer", lambda *arguments: Lenient())
    assert failure(minion, settings).endswith("it ended after 8 of 100 bytes")


def test_nothing_that_listens(minion, settings, monkeypatch):
    monkeypatch.setattr(https, "BACKOFF", 0)
    line = failure(minion, settings, "https://localhost:9/a.zip?signature=secret")
    assert "could not be fetched: " in line and "refused" in line and line.count("signature") == 1


def test_a_ca_that_is_none_is_named(minion, settings, tmp_path):
    (tmp_path / "no.pem").write_text("nothing")
    for wrong, why in (("nowhere.pem", "No such file"), ("no.pem", "no certificate"), (".", "directory")):
        line = failure(minion, settings.at(ca=f"{tmp_path}/{wrong}"))
        assert line.startswith(f"ca is '{tmp_path}/{wrong}': no certificates can be read from it ("), line
        assert why.lower() in line.lower().replace("_", " ")


def test_a_certificate_of_somebody_else(minion, settings, monkeypatch):
    monkeypatch.setattr(https, "BACKOFF", 0)
    for system in (https.SYSTEM_CA, "/nowhere"):
        monkeypatch.setattr(https, "SYSTEM_CA", system)
        assert "certificate verify failed" in failure(minion, settings.at(ca=None))


BASIC = "Basic " + base64.b64encode("me:geheim wört".encode()).decode()


@pytest.mark.parametrize(("secret", "header"), [(TOKEN, "Bearer geheim-token"), (USER, BASIC), (None, None)])
def test_credentials_go_to_the_host_of_source_and_netrc_nowhere(
    minion, settings, server, secret, header, tmp_path, monkeypatch
):
    (tmp_path / "netrc").write_text("machine localhost login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    settings = settings.at(credentials=secret)
    server.serve("/wheels/b.whl")
    fetch.file(minion, settings, settings.source)
    fetch.file(minion, settings, f"{server.url}/wheels/b.whl")
    assert server.seen == [("/dir/a.zip", header), ("/wheels/b.whl", header)]


def test_the_wheels_of_another_host_are_fetched_without_credentials(minion, settings, start):
    other = start()
    other.serve("/b.whl")
    other.answers["/c.whl"] = lambda handler: handler.say(401)
    settings = settings.at(credentials=TOKEN)
    fetch.file(minion, settings, f"{other.url}/b.whl")
    assert other.seen == [("/b.whl", None)]
    with pytest.raises(Failure, match="wants credentials .status 401., and they are sent to the host of source only"):
        fetch.file(minion, settings, f"{other.url}/c.whl")


def redirect(target):
    return lambda handler: handler.say(302, Location=target)


def test_a_redirect_takes_credentials_along_on_the_same_host_only(minion, settings, server, start):
    other = start()
    other.answers["/moved"] = redirect(f"{server.url}/end")
    server.serve("/end")
    server.answers["/dir/a.zip"] = redirect("../near")
    server.answers["/near"] = redirect(f"{other.url}/moved")
    fetch.file(minion, settings.at(credentials=TOKEN), settings.source, DIGEST)
    bearer = "Bearer geheim-token"
    assert server.seen == [("/dir/a.zip", bearer), ("/near", bearer), ("/end", bearer)]
    assert other.seen == [("/moved", None)]


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("http://localhost:1/a?x=secret", "is redirected to http://localhost:1: only https without credentials is"),
        ("file:///etc/shadow", "is redirected to file://: only https"),
        ("https://me:secret@localhost:1/", "is redirected to https://localhost:1: only https"),
        ("https://[::1", "could not be fetched: ValueError"),
        ("https://localhost:70000/secret", "could not be fetched: "),
        ("https://localhost:1/\x01?secret", "could not be fetched: "),
        ("/dir/a.zip", "is redirected more than 5 times"),
    ],
)
def test_a_redirect_that_is_not_followed(minion, settings, server, target, line, monkeypatch):
    monkeypatch.setattr(https, "RETRIES", 0)
    server.answers["/dir/a.zip"] = redirect(target)
    told = failure(minion, settings.at(credentials=TOKEN))
    assert line in told and "secret" not in told


@pytest.mark.parametrize("secret", ["geheim\n", "geheim\r\nX: y", "geheim\u2028", " geheim"])
def test_credentials_that_break_a_header_are_in_no_error(minion, settings, secret):
    for credentials in (Credentials(token=secret), Credentials(user=secret, password=secret)):
        try:
            fetch.file(minion, settings.at(credentials=credentials), settings.source)
        except Failure as error:
            assert "geheim" not in str(error)


@pytest.mark.parametrize(
    ("credentials", "line"),
    [
        ({"token": "geheim"}, None),
        ({"user": "m e", "password": "geheim: wört\u20ac"}, None),
        (None, None),
        ({"token": "geheim\n"}, "credentials:token begins or ends with white space"),
        ({"user": "me", "password": " geheim"}, "credentials:password begins or ends with white space"),
        ({"token": "geheim geheim"}, "credentials:token holds a character that no header can carry"),
        ({"token": "geheimö"}, "credentials:token holds a character"),
        ({"user": "me:geheim", "password": "geheim"}, "credentials:user holds a character"),
        ({"user": "me", "password": "geheim\r\nX-Evil: 1"}, "credentials:password holds a character"),
        ({"user": "me", "password": "geheim\u2028geheim"}, "credentials:password holds a character"),
        ({"user": "me"}, "credentials must be either user and password, or token"),
        ({"token": ""}, "credentials must be either user and password, or token"),
        ("geheim", "credentials must be either user and password, or token"),
    ],
)
def test_credentials_are_judged_without_a_word_of_them(credentials, line):
    problem = checks.credentials_problem(credentials)
    assert problem is line is None or (problem.startswith(line) and "geheim" not in problem)


def test_an_address_that_leaves_the_cache_is_refused(minion, settings, server):
    assert "with . or .. in its path" in failure(minion, settings, f"{server.url}/../../etc/passwd")


def test_a_cache_that_cannot_be_written(minion, settings, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(Failure, match=r"a\.zip could not be kept in .*/cache/globoapp"):
        fetch.file(minion, settings, settings.source)


@pytest.mark.parametrize("url", ["file://{}/dist/a.zip", "salt://dist/a.zip"])
def test_a_file_of_the_master_or_a_directory(minion, settings, tmp_path, url):
    url = url.format(tmp_path)
    with pytest.raises(Failure, match=r"a\.zip is not there$"):
        fetch.file(minion, settings, url)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "a.zip").write_bytes(CONTENT)
    assert fetch.file(minion, settings, url, DIGEST) == fetch.file(minion, settings, url) == f"{tmp_path}/dist/a.zip"
    with pytest.raises(Failure, match="does not match its checksum"):
        fetch.file(minion, settings, url, "0" * 64)
    with pytest.raises(Failure, match="larger than 7 bytes"):
        fetch.file(minion, settings, url, limit=7)


def test_a_file_that_cannot_be_read(minion, settings, tmp_path, monkeypatch):
    (tmp_path / "a").touch()

    def broken(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fetch.files, "sha256", broken)
    with pytest.raises(Failure, match="/a cannot be read: Input/output error"):
        fetch.file(minion, settings, f"file://{tmp_path}/a", DIGEST)


def test_what_a_directory_and_a_master_list(minion, settings, tmp_path):
    (tmp_path / "wheels" / "deep").mkdir(parents=True)
    for name in ("wheels/b.whl", "wheels/a.whl", "wheels/deep/c.whl", "wheelsother.whl"):
        (tmp_path / name).touch()
    assert fetch.listing(minion, settings, f"file://{tmp_path}/wheels") == {"a.whl": None, "b.whl": None, "deep": None}
    assert fetch.listing(minion, settings, "salt://wheels/") == {"a.whl": None, "b.whl": None}
    assert fetch.listing(minion, settings, "salt://") == {"wheelsother.whl": None}
    assert fetch.listing(minion, settings, "file:///nowhere/at/all") == {}


def test_what_a_repository_lists(minion, settings, server):
    sums = f"{DIGEST}  a.whl\n\n{'A' * 64} *b.whl\r\n{DIGEST}  a.whl\n"
    server.serve("/wheels/SHA256SUMS", sums.encode())
    assert fetch.listing(minion, settings, f"{server.url}/wheels/") == {"a.whl": DIGEST, "b.whl": "a" * 64}
    with pytest.raises(Failure, match="/other/SHA256SUMS is not there"):
        fetch.listing(minion, settings, f"{server.url}/other")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        *(
            (f"{DIGEST}  {name}", f"has the entry {name!r}")
            for name in ("../a.whl", "a/b.whl", ".bashrc", "a..whl", "/a")
        ),
        (f"{DIGEST}  a\x1b[31mb.whl", "has the entry 'ab.whl'"),
        (f"{'0' * 64}  good.whl", "has two entries for good.whl, with different SHA-256"),
        ("<html>login</html>", "has a line that is no SHA-256 and name: '<html>login</html>'"),
        ("\udcff\udcff", "has a line that is no SHA-256 and name: "),
        (f"{DIGEST} a.whl", "has a line that is no SHA-256 and name: "),
        (f"{DIGEST}  a b.whl", "has a line that is no SHA-256 and name: "),
    ],
)
def test_a_list_with_anything_else_is_refused_by_the_entry(minion, settings, server, line, told):
    body = f"{DIGEST}  good.whl\n{line}\n".encode("utf-8", "surrogateescape")
    server.serve("/wheels/SHA256SUMS", body)
    with pytest.raises(Failure) as caught:
        fetch.listing(minion, settings, f"{server.url}/wheels")
    assert told in str(caught.value) and str(caught.value).isprintable()
