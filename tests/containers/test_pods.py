"""The rendered manifests, run for real by podman: what an API server would do with them is not tested here."""

import base64
import http.client
import json
import subprocess

import comment_load
import containers
import postgres
import pytest
import requests
from conftest import rendered
from polling import until


@pytest.fixture(scope="module")
def documents(published, tmp_path_factory):
    """The manifests of 2.0 on a port that is free."""
    section = {"port": containers.free_port(), "graceful_timeout": 20, "environment": {"TEXT": "a: $(HOME)\n'\"é😀"}}
    return rendered(tmp_path_factory.mktemp("manifests"), "2.0", section, {"image": published})


@pytest.fixture(scope="module")
def web(podman, documents):
    """(container, its own URL) of the Deployment, once its startupProbe has passed."""
    name = podman.play(documents)
    until(lambda: probed(podman, documents, name, "startupProbe"), 60)
    (port,) = container_of(documents)["ports"]
    return name, f"http://127.0.0.1:{port['containerPort']}"


def container_of(documents):
    (container,) = documents["serve/deployment"]["spec"]["template"]["spec"]["containers"]
    return container


def probed(podman, documents, name, kind):
    """Whether a probe of the Deployment passes, asked as the kubelet does."""
    container = container_of(documents)
    probe, (port,) = container[kind], container["ports"]
    if "exec" in probe:
        return podman.run("exec", name, *probe["exec"]["command"], check=False).returncode == 0
    asked = http.client.HTTPConnection("127.0.0.1", port["containerPort"], timeout=probe["timeoutSeconds"])
    try:
        asked.connect()
        if "tcpSocket" in probe:
            return True
        get = probe["httpGet"]
        asked.request("GET", get["path"], headers={each["name"]: each["value"] for each in get["httpHeaders"]})
        return 200 <= asked.getresponse().status < 400
    except OSError:
        return False
    finally:
        asked.close()


def test_comments_are_posted_and_listed(web):
    body = {"email": "a@example.com", "comment": "hi", "content_id": 1}
    assert requests.post(f"{web[1]}/api/comment/new", json=body, timeout=10).json()["status"] == "SUCCESS"
    assert requests.get(f"{web[1]}/api/comment/list/1", timeout=10).json() == [
        {"comment": "hi", "email": "a@example.com"}
    ]


@pytest.mark.parametrize("kind", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_its_probes_pass(podman, documents, web, kind):
    assert probed(podman, documents, web[0], kind)


def test_it_is_nobody_and_may_nothing(podman, web):
    code = (
        "import json, os; status = dict(line.split(':\\t') for line in open('/proc/1/status') if ':\\t' in line);"
        "print(json.dumps([os.getuid(), os.getgid(), *(status[key].strip() for key in"
        " ('CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp'))]))"
    )
    assert podman.python(web[0], code) == [10001, 10001, "0" * 16, "0" * 16, "1", "2"]


def test_it_can_write_only_where_it_has_to(podman, documents, web):
    writable = [mount["mountPath"] for mount in container_of(documents)["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/tmp", "/var/lib/globoapp"]
    code = """
import json, os
def written(directory):
    try:
        open(f"{directory}/written", "w").close()
        os.unlink(f"{directory}/written")
        return True
    except OSError:
        return False
named = [top for top, _, _ in os.walk("/") if not top.startswith(("/proc", "/sys", "/dev"))]
print(json.dumps(sorted(top for top in named if written(top))))
"""
    # /run is podman's own: it makes one for every container whose root file system is read-only.
    assert [top for top in podman.python(web[0], code) if not top.startswith("/run")] == sorted(writable)


def test_it_has_what_pillar_says(podman, web):
    code = "import json, os; print(json.dumps([os.environ['TEXT'], json.load(open('/etc/globoapp/gunicorn.json'))]))"
    text, settings = podman.python(web[0], code)
    assert text == "a: $(HOME)\n'\"é😀"
    assert settings["graceful_timeout"] == 20


def stored(podman, name):
    """How many comments the app has kept."""
    code = """
import sqlite3
print(*sqlite3.connect("/var/lib/globoapp/comments.sqlite3").execute("SELECT count(*) FROM comments").fetchone())
"""
    return podman.python(name, code)


def in_hand(podman, name):
    """How many requests the app has taken up and not answered."""
    code = "import glob; print(sum(int(open(path).read().split()[1]) for path in glob.glob('/tmp/progress-*')))"
    return podman.python(name, code)


def test_term_under_load_loses_nothing_that_was_accepted(podman, documents, web):
    """
    Each comment that was stored has had its answer, and each that had its answer is stored; a request that is in hand
    at TERM, and comes to its end long after it, too.
    """
    name, url = web
    before = stored(podman, name)
    grace = documents["serve/deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    body = json.dumps({"email": "slow@example.com", "comment": "slow", "content_id": "slow"})
    slow = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=30)
    slow.putrequest("POST", "/api/comment/new")
    slow.putheader("Content-Type", "application/json")
    slow.putheader("Content-Length", str(len(body)))
    slow.endheaders(body[:5].encode())
    until(lambda: in_hand(podman, name) == 1)
    slow.send(body[5:6].encode())  # who says nothing for 10 s is cut off
    load = comment_load.CommentLoad(url).start()
    try:
        until(lambda: len(load.acknowledged) > 50)
        slow.send(body[6:7].encode())
        stopping = subprocess.Popen(podman.command("stop", "-t", str(grace), name), env=podman.environment)
        until(lambda: "Handling signal: term" in podman.run("logs", name).stderr)
        slow.send(body[7:].encode())
        assert slow.getresponse().status == 200, podman.run("logs", name).stderr
        assert stopping.wait(timeout=grace) == 0
    finally:
        acknowledged = load.stop()
        slow.close()
    inspected = json.loads(podman.run("inspect", name).stdout)[0]["State"]
    assert (inspected["ExitCode"], inspected["OOMKilled"]) == (0, False), "it was killed"
    pod = name.removesuffix("-web")
    until(lambda: "Exited" in podman.run("pod", "inspect", pod, "--format", "{{.State}}").stdout)
    podman.run("pod", "start", pod)
    until(lambda: probed(podman, documents, name, "startupProbe"), 60)
    assert comment_load.lost(url, [*acknowledged, ("slow", "slow")]) == []
    assert stored(podman, name) - before == len(acknowledged) + 1


@pytest.fixture
def database():
    """(server, name of an empty database)"""
    server = postgres.Postgres().start()
    try:
        yield server, server.new_database()
    finally:
        server.close()


def test_the_release_command_runs_as_its_job_says(podman, published, database, tmp_path):
    """podman knows no Job: its container is run with what the Job says, beside a database on a socket."""
    server, name = database
    url = server.url(name).replace(str(server.work), "/database")
    documents = rendered(tmp_path, "3.1", {"environment": {"DATABASE_URL": url}}, {"image": published})
    pod = documents["prepare/job"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    data = documents["prepare/secret"]["data"]
    environment = [f"--env={key}={base64.b64decode(value).decode()}" for key, value in data.items()]
    user = "{runAsUser}:{runAsGroup}".format(**pod["securityContext"])
    words = ["run", "--rm", "--network=none", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]
    words += [f"--user={user}", f"--volume={server.work}:/database", *environment]
    for _ in range(2):  # a Job may run twice
        podman.run(*words, f"--entrypoint={json.dumps(container['command'])}", container["image"])
    assert server.rows("SELECT version_num FROM alembic_version", name) == ["0002"]
