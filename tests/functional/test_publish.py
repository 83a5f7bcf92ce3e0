"""tools/publish.py against a real nginx with WebDAV, TLS and passwords, also with a connection that breaks."""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from distribution import ROOT, made_dist, tools_python
from nginx import Nginx

PREFIX = "GLOBOAPP_REPOSITORY"
LARGE = 5_000_000  # bytes, less than the uv wheel has


class Relay:
    """Passes connections on to the port `target`, but cuts the first `cuts` of those that send over LARGE bytes."""

    def __init__(self, target, cuts):
        self.target, self.cuts = target, cuts
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        """Takes connections until the listener is closed."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self.copy, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, False), daemon=True).start()

    def copy(self, source, target, counted):
        """Copies bytes until one side ends, or until the cut."""
        passed = 0
        try:
            while data := source.recv(65536):
                passed += len(data)
                if counted and passed > LARGE and self.cuts > 0:
                    self.cuts -= 1
                    break
                target.sendall(data)
        except OSError:
            pass  # the other direction closed both
        for end in (source, target):
            with contextlib.suppress(OSError):  # it is closed already
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="session")
def tools():
    """Returns (python, dist): what runs the tools, and a dist/ with all that there is to publish."""
    return tools_python(), made_dist()


@pytest.fixture
def server(tmp_path):
    """Returns a started Nginx."""
    running = Nginx(tmp_path / "nginx").start()
    yield running
    running.stop()


@pytest.fixture
def publish(tools, server):
    """Returns a function that publishes a version; it checks that no credentials are in what comes out."""
    python, dist = tools

    def run(version="1.1", dist=dist, **environment):
        given = {
            "": server.url, "_USER": server.user, "_PASSWORD": server.password,
            **{name.replace("URL", ""): value for name, value in environment.items() if name.startswith(("_", "URL"))},
        }  # fmt: skip
        variables = {f"{PREFIX}{name}": value for name, value in given.items() if value is not None}
        others = {name: value for name, value in environment.items() if not name.startswith(("_", "URL"))}
        keep = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        done = subprocess.run(
            [str(python), str(ROOT / "tools" / "publish.py"), version, "--dist", str(dist)],
            check=False, capture_output=True, text=True, timeout=120,
            env={**keep, "REQUESTS_CA_BUNDLE": str(server.certificate), "NETRC": "/dev/null", **variables, **others},
        )  # fmt: skip
        for secret in (server.password, server.token, "wrong-one"):
            assert secret not in done.stdout + done.stderr
        return done

    return run


def published(server):
    """Returns name -> bytes of all files that server (Nginx) has."""
    base = server.files / "raw"
    return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}


def puts(server):
    """Returns how many PUTs server (Nginx) has answered with success."""
    log = (server.work / "access.log").read_text()
    return sum('"PUT ' in line and '" 201 ' in line for line in log.splitlines())


def test_all_that_a_server_needs_arrives_whole(publish, server, tools):
    done = publish()
    assert done.returncode == 0, done.stderr
    files = published(server)
    assert {"globoapp-1.1.zip", "globoapp-1.1.zip.sha256", "globoapp-1.1.sbom.json", "wheels/SHA256SUMS"} < set(files)
    assert files["globoapp-1.1.zip"] == (tools[1] / "globoapp-1.1.zip").read_bytes()
    base = server.files / "raw"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "globoapp-1.1.zip.sha256"], cwd=base, check=True)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=base / "wheels", check=True)
    names = [name for name in files if name.endswith(".whl")]
    assert sum(name.startswith("wheels/uv-") for name in names) == 1
    assert not any(name.startswith("wheels/werkzeug-3") for name in names)  # that is 2.0's
    sent = [line.split()[6] for line in (server.work / "access.log").read_text().splitlines() if '"PUT ' in line]
    assert sent[-1] == "/raw/globoapp-1.1.zip.sha256"


def test_what_is_published_installs_without_an_index(publish, server, tmp_path):
    from appserver import uv_program

    assert publish("2.0").returncode == 0
    subprocess.run([str(uv_program()), "--quiet", "venv", str(tmp_path / "venv")], check=True)
    subprocess.run(
        [str(uv_program()), "--quiet", "--offline", "pip", "install", "--python", str(tmp_path / "venv"), "--no-index",
         "--find-links", str(server.files / "raw" / "wheels"), "--require-hashes", "-r", "app/2.0/requirements.lock"],
        check=True, cwd=ROOT,
    )  # fmt: skip


def test_publishing_again_sends_nothing(publish, server):
    publish()
    before, count = published(server), puts(server)
    done = publish()
    assert done.returncode == 0
    assert "all there already" in done.stdout
    assert (published(server), puts(server)) == (before, count)


def test_a_second_version_sends_what_is_new_and_the_index_gains(publish, server):
    publish("1.0")
    count = puts(server)
    assert publish("1.1").returncode == 0
    assert puts(server) == count + 3  # the lock is the same: zip, checksum, bill of materials
    assert publish("2.0").returncode == 0
    listed = {line.split()[1] for line in published(server)["wheels/SHA256SUMS"].decode().splitlines()}
    assert listed == {Path(name).name for name in published(server) if name.endswith(".whl")}


@pytest.mark.parametrize("name", ["globoapp-1.1.zip", "wheels/click-7.1.2-py2.py3-none-any.whl"])
def test_other_bytes_under_a_name_are_an_error_and_nothing_is_sent(publish, server, name):
    target = server.files / "raw" / name
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"something else")
    done = publish()
    assert done.returncode == 1
    assert name in done.stderr
    assert hashlib.sha256(b"something else").hexdigest() in done.stderr
    assert "never changes" in done.stderr and "Nothing was sent" in done.stderr
    assert published(server) == {name: b"something else"}


def test_a_token_stands_in_for_user_and_password(publish, server):
    assert publish(_USER=None, _PASSWORD=None, _TOKEN=server.token).returncode == 0
    assert publish(_USER=None, _PASSWORD=None, _TOKEN="wrong-one").returncode == 1


def test_a_netrc_file_does_too_but_never_instead_of_a_token(publish, server, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text(f'machine 127.0.0.1 login {server.user} password "{server.password}"\n')
    netrc.chmod(0o600)
    assert publish(_USER=None, _PASSWORD=None, NETRC=str(netrc)).returncode == 0
    netrc.write_text("machine 127.0.0.1 login nobody password wrong-one\n")
    assert publish(_USER=None, _PASSWORD=None, NETRC=str(netrc)).returncode == 1
    assert publish(_USER=None, _PASSWORD=None, _TOKEN=server.token, NETRC=str(netrc)).returncode == 0


@pytest.mark.parametrize("given", [{"_PASSWORD": "wrong-one"}, {"_USER": None, "_PASSWORD": None}])
def test_wrong_or_no_credentials_are_named_as_such(publish, server, given):
    done = publish(**given)
    assert done.returncode == 1
    assert "HTTP 401: the credentials are wrong" in done.stderr
    assert f"{PREFIX}_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr
    assert published(server) == {}


@pytest.mark.parametrize(("given", "words"), [
    ({"URL": None}, "GLOBOAPP_REPOSITORY is not set"),
    ({"URL": "https://me:wrong-one@127.0.0.1/raw"}, "holds credentials"),
    ({"URL": "http://repository.invalid/raw"}, "use https"),
    ({"URL": "repository/raw"}, "is none: https://HOST/PATH"),
    ({"_PASSWORD": None}, "GLOBOAPP_REPOSITORY_USER is set and GLOBOAPP_REPOSITORY_PASSWORD is not"),
    ({"REQUESTS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt"}, "REQUESTS_CA_BUNDLE names a file"),
    ({"REQUESTS_CA_BUNDLE": "/no/such/file"}, "/no/such/file"),
])  # fmt: skip
def test_what_is_set_wrong_is_said_in_one_line(publish, given, words):
    done = publish(**given)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_connection_cut_in_mid_transfer_is_tried_again(publish, server):
    relay = Relay(server.port, cuts=2)
    done = publish(URL=f"https://127.0.0.1:{relay.port}/raw")
    assert done.returncode == 0, done.stderr
    assert relay.cuts == 0
    assert done.stderr.count("trying again") + done.stdout.count("trying again") >= 2
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=server.files / "raw" / "wheels", check=True)


def test_a_server_that_stays_away_is_given_up_and_the_next_run_goes_on_from_there(publish, server):
    relay = Relay(server.port, cuts=1000)
    done = publish(URL=f"https://127.0.0.1:{relay.port}/raw")
    assert done.returncode == 1
    assert "gave up after 5 attempts, run it again later" in done.stderr
    assert "uv-" in done.stderr and "Traceback" not in done.stderr
    there = published(server)
    assert there and "globoapp-1.1.zip.sha256" not in there
    count = puts(server)
    relay.cuts = 0
    assert publish(URL=f"https://127.0.0.1:{relay.port}/raw").returncode == 0
    assert puts(server) == count + len(published(server)) - len(there)


@pytest.mark.parametrize(("name", "content", "words"), [
    ("globoapp-1.1.zip", b"PK", "globoapp-1.1.zip does not match its checksum"),
    ("globoapp-1.1.zip.sha256", None, "globoapp-1.1.zip.sha256 is missing; make it: make dist"),
    ("wheels/click-7.1.2-py2.py3-none-any.whl", None, "click-7.1.2-py2.py3-none-any.whl is missing"),
    ("wheels/SHA256SUMS", b"", "no wheel of click, flask, gunicorn"),
])  # fmt: skip
def test_what_is_damaged_here_is_not_sent(publish, server, tools, tmp_path, name, content, words):
    dist = Path(shutil.copytree(tools[1], tmp_path / "dist"))
    (dist / name).unlink()
    if content is not None:
        (dist / name).write_bytes(content)
    done = publish(dist=dist)
    assert done.returncode == 1
    assert words in done.stderr
    assert published(server) == {}


@pytest.mark.parametrize(("extra", "words"), [
    ("if ($request_method = HEAD) { return 404; }", "the repository now has nothing"),
    ("dav_methods off;", "HTTP 405"),
    ("limit_except GET { deny all; }", "HTTP 403"),
])  # fmt: skip
def test_a_repository_that_does_not_keep_what_is_put_is_noticed(publish, server, extra, words):
    server.stop()
    server.extra = f"location = /raw/globoapp-1.1.zip {{ {extra} }}"
    server.start()
    done = publish()
    assert done.returncode == 1
    assert words in done.stderr
    assert "globoapp-1.1.zip.sha256" not in published(server)
