"""Notifications, against a real HTTP server that fails in every way: none is lost, and nobody waits."""

import json
import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from watchmaster import Master, event

PILLAR = """
globoapp:
  notify:
    url: http://127.0.0.1:{port}/hooks/s3cret-token
    timeout: 0.5
"""


class Hook:
    """A webhook endpoint: `mode` is what it does, `got` what it was sent and said 200 to, `seen` all requests."""

    def __init__(self):
        self.mode, self.got, self.seen, self.headers, self.hanging = "ok", [], 0, [], threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.seen += 1
                if hook.mode == "hang":
                    hook.hanging.wait(30)
                    return
                if hook.mode == "close":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if hook.mode == "garbage":
                    self.wfile.write(b"hello\r\n\r\n")
                    return
                if hook.mode == "ok":
                    hook.got.append(json.loads(body))
                    hook.headers.append(dict(self.headers))
                self.send_response({"ok": 200, "error": 500, "missing": 404, "redirect": 302}[hook.mode])
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.listen()

    def listen(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.hanging.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hook():
    made = Hook()
    yield made
    made.close()


@pytest.fixture
def master(tmp_path, hook):
    made = Master(tmp_path)
    made.pillar(PILLAR.format(port=hook.port))
    return made


@pytest.fixture
def clock(master, monkeypatch):
    """The master's monotonic clock, to pass the pauses: a list of one number."""
    now = [1000.0]

    class Clock:
        monotonic = staticmethod(lambda: now[0])

    monkeypatch.setattr("globolib.monitor.notify.time", Clock)
    return now


def deliver(master, clock, seconds):
    for _ in range(seconds):
        master.run("globoapp_watch.deliver")
        clock[0] += 1


def test_an_alert_arrives(master, hook, clock):
    master.run("globoapp.alert", "web1", event("api", "bad", 'no worker of "PACK1_0" runs'))
    assert master.run("globoapp_watch.deliver") == {"sent": 1, "waiting": 0, "unwanted": 0, "dead": 0}
    assert hook.got == [{"text": '[ALERT] web1 api: no worker of "PACK1_0" runs (since 2026-11-23T16:00:00.000Z)'}]
    assert master.run("globoapp.pending") == []
    assert master.run("globoapp_watch.deliver")["sent"] == 0
    assert len(hook.got) == 1


@pytest.mark.parametrize("mode", ["hang", "error", "redirect", "close", "garbage"])
def test_an_endpoint_that_fails_loses_nothing(master, hook, clock, mode, caplog):
    hook.mode = mode
    began = time.monotonic()
    for number in range(5):
        master.run("globoapp.alert", f"web{number}", event("api", "bad"))
    assert time.monotonic() - began < 5, "recording does not wait for an endpoint"
    with caplog.at_level(logging.ERROR):
        deliver(master, clock, 3)
    assert 1 <= hook.seen <= 2, "one that fails is left alone for a while, for all that waits for it"
    assert len(master.run("globoapp.pending")) == 5
    assert "127.0.0.1 failed" in caplog.text
    assert "s3cret" not in caplog.text
    hook.mode = "ok"
    hook.hanging.set()
    deliver(master, clock, 10)
    assert [one["text"].split()[1] for one in hook.got] == [f"web{number}" for number in range(5)]


def test_what_the_endpoint_refuses_is_given_up_at_once(master, hook, clock):
    hook.mode = "missing"
    master.run("globoapp.alert", "web1", event("api", "bad"))
    assert master.run("globoapp_watch.deliver")["dead"] == 1
    assert master.run("globoapp.dead_letters")[0]["why"] == "the webhook at 127.0.0.1 refused it: status 404"


def test_an_endpoint_that_refuses_connections(master, hook, clock):
    hook.close()
    master.run("globoapp.alert", "web1", event("api", "bad"))
    assert master.run("globoapp_watch.deliver")["waiting"] == 1
    assert len(master.run("globoapp.pending")) == 1


def test_the_queue_outlives_the_master(master, hook, clock):
    hook.mode = "error"
    master.run("globoapp.alert", "web1", event("api", "bad"))
    master.run("globoapp_watch.deliver")
    hook.mode = "ok"
    master.load()
    assert master.run("globoapp_watch.deliver")["sent"] == 1
    assert len(hook.got) == 1


def test_pauses_grow(master, hook, clock):
    hook.mode = "error"
    master.run("globoapp.alert", "web1", event("api", "bad"))
    tried = []
    for _ in range(200):
        before = hook.seen
        master.run("globoapp_watch.deliver")
        if hook.seen > before:
            tried.append(clock[0] - 1000)
        clock[0] += 1
    assert tried == [0, 1, 3, 7, 15, 30, 60, 120]


def test_a_template_of_ones_own(master, hook, clock):
    master.pillar(
        PILLAR.format(port=hook.port)
        + """
    headers: {X-Team: web}
    template:
      type: message
      attachments:
        - contentType: application/vnd.microsoft.card.adaptive
          content:
            type: AdaptiveCard
            body: [{type: TextBlock, text: "{host} {probe} {state} {value}"}]
"""
    )
    master.run("globoapp.alert", "web1", event("disk", "bad", "{host} is no field of mine", value=93))
    master.run("globoapp_watch.deliver")
    (card,) = hook.got[0]["attachments"]
    assert card["content"]["body"][0]["text"] == "web1 disk bad 93"
    assert hook.headers[0]["X-Team"] == "web"
    assert hook.headers[0]["Content-Type"] == "application/json"


def test_where_no_webhook_is_named_nothing_piles_up(master, hook, clock):
    master.pillar("globoapp: {bind: 0.0.0.0}")
    master.run("globoapp.alert", "web1", event("api", "bad"))
    assert master.run("globoapp_watch.deliver")["unwanted"] == 1
    assert master.run("globoapp.pending") == []
    assert master.run("globoapp.alerts")["open"], "the alert itself is there"


def test_a_pillar_that_cannot_be_rendered_keeps_the_notification(master, hook, clock):
    master.run("globoapp.alert", "web1", event("api", "bad"))
    master.pillar("globoapp: {% nonsense %}")
    assert master.run("globoapp_watch.deliver")["waiting"] == 1
    master.pillar(PILLAR.format(port=hook.port))
    assert master.run("globoapp_watch.deliver")["sent"] == 1


SHOPS = """
globoapps:
  shop: {{notify: {{url: "http://127.0.0.1:{port}/shop", template: {{text: "{{app}}"}}}}}}
"""


@pytest.mark.parametrize(("beside", "told"), [(PILLAR, ["[ALERT] web1 disk", "shop"]), ("", ["globoapp", "shop"])])
def test_alerts_of_an_app_go_to_its_own_webhook(master, hook, clock, beside, told):
    """What is of no app that pillar names goes where the first app's alerts do."""
    master.pillar((beside + SHOPS).format(port=hook.port))
    master.run("globoapp.alert", "web1", event("disk", "bad"))
    master.run("globoapp.alert", "web1", event("api", "bad", app="shop"))
    assert [one.get("app") for one in master.run("globoapp.pending")] == [None, "shop"]
    master.run("globoapp_watch.deliver")
    assert [one["text"].partition(":")[0] for one in hook.got] == told
