"""Fixtures of the app's tests: each version by Flask's test client and by a real gunicorn, from its artifact."""

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest
import requests
from appserver import ROOT, Release, Server
from distribution import made_dist
from postgres import Postgres

VERSIONS = sorted(path.parent.name for path in (ROOT / "app").glob("*/manifest.json"))
HERE = Path(__file__).parent


class Answer:
    """status (int), body (bytes) and headers (a mapping) of an answer."""

    def __init__(self, status, body, headers):
        self.status = status
        self.body = body
        self.headers = headers

    @property
    def json(self):
        """Returns the body as JSON; raises ValueError where it is none."""
        return json.loads(self.body)


class Client:
    """What the tests speak to; send() is the transport: (method, path, body, headers) to Answer."""

    def __init__(self, version, send, port=None):
        self.version = version
        self.send = send
        self.port = port  # where a gunicorn listens

    def get(self, path):
        """Sends a GET for path (str); returns the Answer."""
        return self.send("GET", path, b"", {})

    def post(self, body, content_type="application/json", path="/api/comment/new"):
        """Sends a POST of body (bytes, or an object to send as JSON); returns the Answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, data, {"Content-Type": content_type} if content_type else {})


@pytest.fixture(scope="session")
def dist():
    """Returns dist/ (Path) as it is to be."""
    return made_dist()


@pytest.fixture(scope="session")
def releases(dist, tmp_path_factory):
    """Returns a function from a version to its Release, unpacked once."""
    found = {}

    def release(version):
        if version not in found:
            found[version] = Release(version, tmp_path_factory.mktemp(f"release-{version}"))
        return found[version]

    return release


@pytest.fixture(scope="session")
def postgres():
    """Returns a running Postgres, for tests that do it no harm."""
    server = Postgres()
    yield server.start()
    server.close()


@pytest.fixture(scope="session")
def migrated(releases):
    """Returns a function from a Postgres and a version to the name of a new database with the version's schema."""
    templates = {}

    def make(server, version):
        if (server, version) not in templates:
            templates[server, version] = server.new_database()
            command, options = releases(version).command({"DATABASE_URL": server.url(templates[server, version])})
            subprocess.run(command, check=True, capture_output=True, **options)
        return server.new_database(templates[server, version])

    return make


@pytest.fixture(scope="session")
def environments(releases, migrated, request):
    """Returns a function from a version to the environment (dict) that it needs: a database, one for the session."""
    made = {}

    def environment(version):
        if "release_command" not in releases(version).manifest:
            return {}
        if version not in made:
            server = request.getfixturevalue("postgres")
            url = server.url(migrated(server, version))
            made[version] = {"DATABASE_URL": url, "COMMENTS_PER_MINUTE": "1000000"}
        return made[version]

    return environment


@pytest.fixture
def serve(releases, environments, tmp_path):
    """Returns a function that starts a Server of a version; all are stopped at the end of the test."""
    servers = []

    def start(version, wait=True, **options):
        environment = options.pop("environment", None) or environments(version)
        server = Server(releases(version), options.pop("state", tmp_path), environment=environment, **options)
        servers.append(server)
        return server.start(wait)

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def gunicorn_clients(releases, environments, tmp_path_factory):
    """Returns a function from a version to a Client of a gunicorn with it, one for the session."""
    servers = {}

    def client(version):
        if version not in servers:
            state = tmp_path_factory.mktemp(f"state-{version}")
            servers[version] = Server(releases(version), state, environment=environments(version)).start()
        url, port = servers[version].url, servers[version].listener.getsockname()[1]

        def send(method, path, body, headers):
            answer = requests.request(method, url + path, data=body, headers=headers, timeout=10)
            return Answer(answer.status_code, answer.content, answer.headers)

        return Client(version, send, port)

    yield client
    for server in servers.values():
        server.close()


@pytest.fixture(scope="session")
def flask_clients(releases, environments, tmp_path_factory):
    """Returns a function from a version to a Client of its Flask test client, one process for the session."""
    processes = {}

    def client(version):
        if version not in processes:
            release = releases(version)
            state = str(tmp_path_factory.mktemp(f"unit-{version}"))
            environment = {**os.environ, "STATE_DIRECTORY": state, **environments(version)}
            processes[version] = subprocess.Popen(
                [str(release.python), str(HERE / "testclient.py")], cwd=release.directory, env=environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        process = processes[version]

        def send(method, path, body, headers):
            request = {"method": method, "path": path, "headers": headers, "body": base64.b64encode(body).decode()}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            return Answer(answer["status"], base64.b64decode(answer["body"]), answer.get("headers", {}))

        return Client(version, send)

    yield client
    for process in processes.values():
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=20)


def pytest_configure(config):
    """Makes the mark known that limits a test to some versions."""
    config.addinivalue_line("markers", "versions(*versions): the versions of the app that the test is about")


def pytest_generate_tests(metafunc):
    """Gives every test with `client` or `api_version` each version, or those of its `versions` mark."""
    mark = metafunc.definition.get_closest_marker("versions")
    chosen = [version for version in VERSIONS if not mark or version in mark.args]
    if "api_version" in metafunc.fixturenames:
        metafunc.parametrize("api_version", chosen)
    if "client" in metafunc.fixturenames:
        transports = ("flask_clients", "gunicorn_clients")
        metafunc.parametrize(
            "client", [(version, transport) for version in chosen for transport in transports], indirect=True,
            ids=lambda param: f"{param[0]}-{param[1].split('_')[0]}",
        )  # fmt: skip


@pytest.fixture
def client(request):
    """Returns a Client of the version and transport that the test is parametrised with."""
    version, transport = request.param
    return request.getfixturevalue(transport)(version)


@pytest.fixture
def content_id():
    """Returns a content_id (str) that no other test uses."""
    content_id.last = getattr(content_id, "last", 0) + 1
    return f"test-{os.getpid()}-{content_id.last}"
