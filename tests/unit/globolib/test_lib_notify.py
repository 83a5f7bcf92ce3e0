"""What is sent to people: one bad notification stops nothing, and no endpoint holds up the others or the master."""

import logging
import socket
import threading
import time
from types import SimpleNamespace

import pytest
import requests
from fakecache import NOW, alert
from globolib.monitor import notice, notify, webhook
from machine import wait


class Hook:
    """Stands in for requests.post: `answer` is a status or an exception, `got` what was sent."""

    def __init__(self, monkeypatch):
        self.answer, self.got, self.now, self.context, self.headers = 200, [], [1000.0], {}, {}
        monkeypatch.setattr(webhook.requests, "post", self.post)
        monkeypatch.setattr(notify, "time", SimpleNamespace(monotonic=lambda: self.now[0]))

    def post(self, url, **sent):
        self.got.append(sent)
        if isinstance(self.answer, Exception):
            raise self.answer
        made = requests.Response()
        made.headers.update(self.headers)
        made.status_code, made.raw = self.answer, type("Raw", (), {"close": lambda _: None, "release_conn": None})()
        return made


@pytest.fixture
def hook(monkeypatch):
    return Hook(monkeypatch)


def notifier(store, hook, section):
    def ask(minion, app):
        if isinstance(section, Exception):
            raise section
        return section

    return notify.Notifier(store, ask, hook.context)


def queue(store, *numbers):
    for number in numbers:
        entry = {"alert": alert(message=f"m{number}"), "state": "bad", "time": NOW}
        store.put("queue", f"{number:020}", entry)


URL = "http://hook.example/s3cret"


@pytest.mark.parametrize(
    "bad",
    [
        {}, {"alert": 5}, {"alert": {}}, {"alert": alert(), "state": "worse", "time": NOW}, ValueError("torn"), "text",
        {"alert": alert(), "state": "bad"}, {"alert": alert(), "state": "bad", "time": NOW, "attempts": "x"},
    ],
)  # fmt: skip
def test_one_that_is_broken_goes_to_the_dead_letters_and_the_rest_goes_on(store, cache, hook, bad):
    queue(store, 1, 3)
    cache.records["globoapp/queue"][f"{2:020}"] = bad
    sender = notifier(store, hook, {"url": URL})
    assert sender.deliver() == {"sent": 2, "waiting": 0, "unwanted": 0, "dead": 1}
    assert [sent["json"]["text"].split()[3] for sent in hook.got] == ["m1", "m3"]
    assert sender.pending() == []
    assert sender.dead_letters(drop=True)[0]["why"]
    assert sender.dead_letters() == []


@pytest.mark.parametrize(
    "answer",
    [
        500,
        302,
        408,
        425,
        429,
        requests.exceptions.ConnectTimeout(URL),
        ValueError(f"timeout of {URL}"),
        UnicodeError(URL),
        TypeError(),
    ],
)
def test_one_that_fails_waits_and_is_given_up_in_the_end(store, hook, answer, caplog):
    caplog.set_level(logging.DEBUG)
    queue(store, 1, 2)
    hook.answer = answer
    sender = notifier(store, hook, {"url": URL})
    for number in range(notify.ATTEMPTS):
        assert len(sender.pending()) == 2, number
        sender.deliver()
        hook.now[0] += 300
    assert [entry["message"] for entry in sender.pending()] == ["m2"]
    assert "50 attempts failed" in sender.dead_letters()[0]["why"]
    hook.answer = 200
    assert sender.deliver()["sent"] == 1
    assert "s3cret" not in caplog.text + str(sender.dead_letters())


@pytest.mark.parametrize(
    "section",
    [
        "text", ["url"], {"url": 5}, {"url": ["x"]}, {"url": URL, "headers": "x"}, {"url": URL, "timeout": "5"},
        {"url": URL, "timeout": 0}, {"url": URL, "timeout": 3600}, {"url": URL, "timeout": True},
        ValueError("a pillar with errors"),
    ],
)  # fmt: skip
def test_settings_that_are_wrong_keep_the_notification_and_are_said_once(store, hook, section, caplog):
    queue(store, 1, 2)
    sender = notifier(store, hook, section)
    for _ in range(9):
        assert sender.deliver() == {"sent": 0, "waiting": 2, "unwanted": 0, "dead": 0}
        hook.now[0] += 1
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
    hook.now[0] += 60
    assert notifier(store, hook, {"url": URL}).deliver()["sent"] == 2


def test_where_no_webhook_is_named_nothing_piles_up(store, hook):
    queue(store, 1)
    assert notifier(store, hook, {}).deliver()["unwanted"] == 1
    assert notifier(store, hook, {}).deliver() == {"sent": 0, "waiting": 0, "unwanted": 0, "dead": 0}


def test_an_address_that_is_none_fails_in_silence_about_it(store, hook, caplog):
    queue(store, 1)
    hook.answer = requests.exceptions.InvalidURL("x")
    assert notifier(store, hook, {"url": "http://[s3cret"}).deliver()["waiting"] == 1
    assert "s3cret" not in caplog.text


def test_what_a_notice_says():
    values = notice.notice(alert(value=93, until=NOW), "clear", NOW)
    assert values["summary"] == f"[clear] web1 api: m (since {NOW} until {NOW})"
    assert notice.fill({"a": ["{host} {nothing}", 5]}, values) == {"a": ["web1 {nothing}", 5]}
    assert [notice.pause(failures) for failures in (0, 1, 9, 99)] == [0, 1, 300, 300]


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_one_that_is_refused_is_given_up_at_once_and_delays_nothing(store, hook, status, monkeypatch):
    queue(store, 1, 2, 3)
    post = hook.post

    def refusing(url, **sent):
        hook.answer = status if "m2" in sent["json"]["text"] else 200
        return post(url, **sent)

    monkeypatch.setattr(webhook.requests, "post", refusing)
    sender = notifier(store, hook, {"url": URL})
    assert sender.deliver() == {"sent": 2, "waiting": 0, "unwanted": 0, "dead": 1}
    (letter,) = sender.dead_letters()
    assert (letter["message"], letter["why"]) == ("m2", f"the webhook at hook.example refused it: status {status}")


def test_what_was_given_up_is_sent_again_on_demand(store, cache, hook):
    queue(store, 1)
    cache.records["globoapp/queue"][f"{2:020}"] = "torn"
    hook.answer = 401
    sender = notifier(store, hook, {"url": URL})
    assert sender.deliver()["dead"] == 2
    hook.answer = 200
    assert [letter["message"] for letter in sender.dead_letters(retry=True)] == ["m1", None]
    assert sender.deliver() == {"sent": 1, "waiting": 0, "unwanted": 0, "dead": 0}
    assert [letter["message"] for letter in sender.dead_letters()] == [None]  # nothing of it can be sent


@pytest.mark.parametrize(
    ("told", "pause"),
    [("7", 7), ("21600", 300), ("0", 1), ("-5", 1), ("Wed, 21 Oct 2099 07:28:00 GMT", 1), ("\u0663", 1)],
)
def test_how_long_an_endpoint_asks_to_be_left_alone_is_bounded(store, hook, told, pause):
    queue(store, 1)
    hook.answer, hook.headers = 429, {"Retry-After": told}
    sender = notifier(store, hook, {"url": URL})
    sender.deliver()
    hook.answer, before = 200, hook.now[0]
    while not sender.deliver()["sent"]:
        hook.now[0] += 1
    assert hook.now[0] - before == pause


@pytest.fixture
def dripping():
    """The address of an endpoint that sends a byte of its answer every 20 ms, and how many clients it has had."""
    clients, over = [], threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def drip(client):
        with client:
            client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.02):
                client.sendall(b"x")

    def serve():
        while True:
            try:
                clients.append(server.accept()[0])
            except OSError:
                return
            threading.Thread(target=drip, args=clients[-1:], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.getsockname()[1]}/", clients=clients, over=over)
    over.set()
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def test_an_answer_that_drips_holds_up_nobody(store, dripping):
    queue(store, 1, 2)
    context = {}
    sender = notify.Notifier(store, lambda minion, app: {"url": dripping.url, "timeout": 0.3}, context)
    began = time.monotonic()
    assert sender.deliver() == {"sent": 0, "waiting": 2, "unwanted": 0, "dead": 0}
    assert time.monotonic() - began < 2
    values = notice.notice(alert(), "bad", NOW)
    attempt = webhook.send({"url": dripping.url}, values, context["globoapp.notify.given_up"])
    assert attempt == webhook.Attempt("its last answer still drips")
    assert len(dripping.clients) == 1
    dripping.over.set()
    assert wait(lambda: not context["globoapp.notify.given_up"][dripping.url].is_alive())
