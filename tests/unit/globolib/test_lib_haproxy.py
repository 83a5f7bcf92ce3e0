"""HAProxy's runtime socket, with Debian's HAProxy before servers of our own; and the pillar that is about it."""

import hashlib
import re
import socket
import threading

import haproxy as real
import pytest
from globolib import balancer, haproxy
from globolib.errors import Failure
from polling import until


class Here:
    """HAProxy with two servers, web1 and web2, and what a test asks of it."""

    def __init__(self, work, level="admin"):
        self.webs = {"web1": real.Backend(), "web2": real.Backend()}
        self.proxy = real.HAProxy(work, self.webs, level)
        self.path, self.guard = self.proxy.socket, str(work / "guard")

    def statuses(self):
        return {name: one["status"] for name, one in haproxy.shown("api", self.path).items()}

    def drain(self, name, wait=5):
        return haproxy.drain("api", name, wait, self.path, self.guard)

    def ready(self, name, wait=5):
        return haproxy.ready("api", name, wait, self.path)

    def close(self):
        self.proxy.close()
        for one in self.webs.values():
            one.close()


@pytest.fixture
def here(tmp_path):
    made = Here(tmp_path)
    until(lambda: made.statuses() == {"web1": "UP", "web2": "UP"})
    yield made
    made.close()


def test_a_server_is_taken_out_and_back(here):
    assert here.drain("web1") == {"drained": True, "sessions": 0, "comment": "web1 is drained"}
    assert here.statuses() == {"web1": "DRAIN", "web2": "UP"}
    assert here.drain("web1")["drained"] is True, "a second time does no harm"
    assert here.ready("web1") == {"status": "UP", "comment": "web1 is taken back: UP"}
    assert here.statuses() == {"web1": "UP", "web2": "UP"}


def test_it_waits_for_the_requests_under_way_and_says_how_many_are_left(here):
    answers = []
    client = threading.Thread(target=lambda: answers.append(here.proxy.get("/slow")))
    client.start()
    until(lambda: sum(web.held for web in here.webs.values()))
    (busy,) = (name for name, web in here.webs.items() if web.held)
    told = here.drain(busy, wait=0.3)
    assert (told["sessions"], told["comment"]) == (1, f"{busy} is drained, and 1 requests have not ended in 0.3 s")
    ended = []
    waiter = threading.Thread(target=lambda: ended.append(here.drain(busy, wait=30)))
    waiter.start()
    here.webs[busy].go.set()
    waiter.join(20)
    client.join(20)
    assert (ended[0]["sessions"], answers) == (0, ["HTTP/1.0 200 OK"])


def test_the_last_one_that_takes_requests_keeps_them(here):
    here.drain("web1")
    told = here.drain("web2")
    assert told["drained"] is False
    assert told["comment"] == "web2 keeps its requests: no other server of api takes any"
    assert here.statuses() == {"web1": "DRAIN", "web2": "UP"}


def test_of_two_at_the_same_moment_one_keeps_its_requests(here):
    told = []
    both = [threading.Thread(target=lambda name=name: told.append(here.drain(name))) for name in here.webs]
    for one in both:
        one.start()
    for one in both:
        one.join(20)
    assert sorted(one["drained"] for one in told) == [False, True]


def test_what_a_person_has_put_into_maintenance_stays_there(here):
    haproxy.ask("set server api/web1 state maint", here.path)
    assert here.drain("web1")["comment"] == here.ready("web1")["comment"] == "web1 is in maintenance: left so"
    assert here.statuses()["web1"] == "MAINT"


def test_one_that_is_not_well_is_told_with_what_its_check_saw(here):
    here.drain("web1")
    here.webs["web1"].status = 503
    until(lambda: here.statuses()["web1"] == "DOWN")
    with pytest.raises(Failure, match=r"HAProxy gives api/web1 no requests: DOWN \(L7STS/503\) after 0.3 s"):
        here.ready("web1", 0.3)
    assert here.ready("web1", 0)["status"] == "DOWN", "its health check decides later"
    here.webs["web1"].status = 200
    until(lambda: here.statuses()["web1"] == "UP")


@pytest.mark.parametrize(
    ("backend", "server", "words"),
    [
        ("apy", "web1", "HAProxy has no backend apy with servers; there are: api"),
        ("api", "web9", "HAProxy has no server web9 in backend api; there are: web1, web2"),
        ("api", "web1; shutdown", "server is 'web1; shutdown': a name of HAProxy is letters"),
        ("api\nquit", "web1", r"backend is 'api\\nquit': a name of HAProxy is letters"),
    ],
)
def test_what_is_not_there_is_named(here, backend, server, words):
    for function in (lambda *args: haproxy.drain(*args, guard=here.guard), haproxy.ready):
        with pytest.raises(Failure, match=words):
            function(backend, server, 1.0, here.path)
    assert set(here.statuses().values()) == {"UP"}


def test_a_socket_without_the_right_to_change_is_named(tmp_path):
    made = Here(tmp_path, "user")
    try:
        until(lambda: made.statuses() == {"web1": "UP", "web2": "UP"})
        with pytest.raises(Failure, match="HAProxy does not set api/web1 to drain: Permission denied"):
            made.drain("web1")
    finally:
        made.close()


def test_where_nobody_answers_that_is_told(tmp_path, monkeypatch):
    path = str(tmp_path / "admin.sock")
    with pytest.raises(Failure, match=f"nobody listens at {path}: HAProxy does not run"):
        haproxy.shown("api", path)
    monkeypatch.setattr(haproxy, "DEADLINE", 0.3)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(path)
        with pytest.raises(Failure, match="nobody listens at .*: HAProxy does not run"):
            haproxy.shown("api", path)
        mute.listen()
        with pytest.raises(Failure, match="HAProxy does not answer at .*timed out"):
            haproxy.shown("api", path)


def test_what_is_not_haproxy_is_told(tmp_path):
    path = str(tmp_path / "admin.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()

        def answer():
            client, _ = other.accept()
            with client:
                client.recv(100)
                client.sendall(b"hello\n\x1b[2Jworld\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(Failure, match="does not answer as HAProxy does: hello"):
            haproxy.shown("api", path)


def test_a_guard_that_another_process_holds_is_named(here, monkeypatch):
    with (
        haproxy._alone(here.guard),
        pytest.raises(Failure, match="another process holds"),
        haproxy._alone(here.guard, 0),
    ):
        pass


def test_whose_configuration_it_is(tmp_path):
    path = str(tmp_path / "haproxy.cfg")
    assert haproxy.foreign("", path) is None, "there is none"
    (tmp_path / "haproxy.cfg").write_text("global\n")
    packaged = f"\n {path} {hashlib.md5(b'global' + bytes([10])).hexdigest()}\n /etc/logrotate.d/haproxy 1\n"
    assert haproxy.foreign(packaged, path) is None, "the package's own"
    assert f"{path} was not written by this tree" in haproxy.foreign("", path)
    (tmp_path / "haproxy.cfg").write_text("global # mine\n")
    assert f"{path} was not written by this tree" in haproxy.foreign(packaged, path)
    (tmp_path / "haproxy.cfg").write_text(f"{haproxy.WRITTEN} x\nglobal\n")
    assert haproxy.foreign("", path) is None, "this tree's"


GOOD = {"minions": ["lb1"]}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (GOOD, []),
        ({**GOOD, "backend": "api", "server": "web_1", "wait": 0.5 + 1}, []),
        ("lb1", ["globoapp:balancer is 'lb1': a mapping of minions, backend, server, wait"]),
        ({}, ["globoapp:balancer:minions is None: a list of the minion ids of the load balancers"]),
        ({"minions": "lb1"}, ["globoapp:balancer:minions is 'lb1': a list of the minion ids"]),
        ({**GOOD, "bakend": "x"}, ["globoapp:balancer:bakend is an unknown setting; did you mean backend?"]),
        ({**GOOD, "server": "web1;x"}, ["globoapp:balancer:server is 'web1;x': the name that HAProxy has for it"]),
        ({**GOOD, "wait": 0}, ["globoapp:balancer:wait is 0: seconds, a number from 1 to 3600"]),
        ({**GOOD, "wait": True}, ["globoapp:balancer:wait is True: seconds"]),
    ],
)
def test_what_is_wrong_with_the_setting(section, words):
    found = balancer.problems(section)
    assert len(found) == len(words)
    assert all(one.startswith(begin) for one, begin in zip(found, words, strict=True)), found


def test_the_setting_of_a_server():
    assert balancer.of(None, "web1") is None
    assert balancer.of(GOOD, "web1") == balancer.Balancer(("lb1",), "globoapp", "web1", 30)
    given = {"minions": ["b", "a", "b"], "backend": "api", "server": "one", "wait": 5}
    assert balancer.of(given, "web1") == balancer.Balancer(("b", "a"), "api", "one", 5)


SERVERS = {"web1": "10.0.0.1:8000"}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (None, "globoapp_balancer is None in pillar: a mapping of backends"),
        ({"a b": {}}, "globoapp_balancer has 'a b': the name of a backend"),
        ({"api": []}, r"globoapp_balancer:api is \[\]: a mapping of bind, servers and check"),
        ({"api": {}}, "globoapp_balancer:api:servers is {}: a mapping of names to address:port"),
        ({"api": {"servers": SERVERS, "binds": 1}}, "api:binds is an unknown setting; there are: bind, servers, check"),
        ({"api": {"servers": SERVERS, "bind": ":80\nglobal"}}, "api:bind has ':80.nglobal': what HAProxy's bind takes"),
        ({"api": {"servers": {"web 1": "10.0.0.1:80"}}}, "api:servers has 'web 1': the name of a server"),
        ({"api": {"servers": {"web1": "10.0.0.1"}}}, "api:servers:web1 is '10.0.0.1': address:port"),
        (
            {"api": {"servers": SERVERS, "check": {"pth": "/"}}},
            "api:check is {'pth': '/'}: a mapping of path and status",
        ),
        ({"api": {"servers": SERVERS, "check": {"path": "/a b"}}}, "api:check:path is '/a b': the path of the app's"),
        ({"api": {"servers": SERVERS, "check": {"path": "/#"}}}, "api:check:path is '/#': the path of the app's"),
        ({"api": {"servers": SERVERS, "check": {"status": "200"}}}, "api:check:status is '200': the status"),
    ],
)
def test_what_is_wrong_with_the_backends(section, words):
    _, (problem,) = balancer.backends(section)
    assert re.search(words, problem), problem


def test_backends_have_their_defaults():
    assert balancer.backends({"api": {"servers": SERVERS}, "shop": {"bind": [":81", ":82"], "servers": SERVERS}}) == (
        {
            "api": {"bind": [":80"], "servers": SERVERS, "check": {"path": "/status/", "status": 200}},
            "shop": {"bind": [":81", ":82"], "servers": SERVERS, "check": {"path": "/status/", "status": 200}},
        },
        [],
    )
