"""The rendered manifests, run for real by podman: what an API server would do with them is not tested here."""

import http.client
import json
import time

import comment_load
import containers
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


def test_term_under_load_loses_nothing_that_was_accepted(podman, documents, web):
    """Each comment that was stored has had its answer, and each that had its answer is stored."""
    name, url = web
    before = stored(podman, name)
    grace = documents["serve/deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    load = comment_load.CommentLoad(url).start()
    try:
        until(lambda: len(load.acknowledged) > 50)
        begun = time.monotonic()
        podman.run("stop", "-t", str(grace), name)
        assert time.monotonic() - begun < grace, "it was killed"
    finally:
        acknowledged = load.stop()
    inspected = json.loads(podman.run("inspect", name).stdout)[0]["State"]
    assert (inspected["ExitCode"], inspected["OOMKilled"]) == (0, False)
    podman.run("start", name)
    until(lambda: probed(podman, documents, name, "startupProbe"), 60)
    assert comment_load.lost(url, acknowledged) == []
    assert stored(podman, name) - before == len(acknowledged)
