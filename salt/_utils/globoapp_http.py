"""
One HTTP question to the service, over TCP or over the private unix socket of a candidate.

http.client and not requests: requests speaks no AF_UNIX, and this asks every 20 ms.
"""

import http.client
import json
import socket
import threading
import time

MOST = 65536  # bytes of an answer that are looked at


class _Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(where, path, timeout):
    """
    GET ``path`` once.

    where
        ``("tcp", host, port)`` or ``("unix", socket path)``.
    timeout
        Seconds for connecting, and for each read.

    Returns ``{"status": int, "body": str, "seconds": float}``. Raises OSError or
    http.client.HTTPException when no HTTP answer came.
    """
    started = time.monotonic()
    if where[0] == "unix":
        connection = _Unix(where[1], timeout)
    else:
        connection = http.client.HTTPConnection(where[1], where[2], timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close", "User-Agent": "globoapp-health"})
        answer = connection.getresponse()
        body = answer.read(MOST)
        if answer.length and len(body) < MOST:
            raise http.client.IncompleteRead(body, answer.length)
    finally:
        connection.close()
    return {"status": answer.status, "body": body.decode("utf-8", "replace"), "seconds": time.monotonic() - started}


def judge(answer, expected):
    """
    What is wrong with an answer.

    expected
        A manifest's ``health``: ``{"path", "status": 200, "json": {a subset of the answer's object}}``.

    Returns None when it is as it should be, else a phrase that holds what was seen.
    """
    shown = answer["body"].strip().replace("\n", " ")[:200]
    if answer["status"] != expected.get("status", 200):
        return f"status {answer['status']} in place of {expected.get('status', 200)}, body: {shown!r}"
    subset = expected.get("json")
    if not subset:
        return None
    try:
        body = json.loads(answer["body"])
    except ValueError:
        return f"the body is not JSON: {shown!r}"
    if not isinstance(body, dict):
        return f"the body is no JSON object: {shown!r}"
    wrong = [
        f"{key} is {body.get(key)!r} in place of {value!r}" for key, value in subset.items() if body.get(key) != value
    ]
    return "; ".join(wrong) or None


def once(where, expected, timeout):
    """
    Ask and judge in one.

    Returns ``(problem, answer)``: problem None when healthy; answer None when there was none.
    """
    try:
        answer = ask(where, expected["path"], timeout)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {type(error).__name__}: {error}", None
    return judge(answer, expected), answer


class _Probe(threading.Thread):
    """
    Asks the service at a steady pace while a deploy switches, and counts what it saw.

    A request counts as failed when no answer came or its status is 500 or above: what a client
    would call an outage. ``gap`` is the longest time between two good answers.
    """

    def __init__(self, where, path, interval=0.02, timeout=5):
        super().__init__(name="globoapp-probe", daemon=True)
        self._where, self._path = where, path
        self._interval, self._timeout = interval, timeout
        self._over = threading.Event()
        self.sent = self.failed = 0
        self.gap = 0.0
        self.first_failure = None

    def run(self):
        last = time.monotonic()
        while not self._over.is_set():
            begun = time.monotonic()
            self.sent += 1
            try:
                status = ask(self._where, self._path, self._timeout)["status"]
                failure = f"status {status}" if status >= 500 else None
            except (OSError, http.client.HTTPException) as error:
                failure = f"{type(error).__name__}: {error}"
            now = time.monotonic()
            if failure:
                self.failed += 1
                self.first_failure = self.first_failure or failure
            else:
                self.gap, last = max(self.gap, now - last), now
            self._over.wait(max(0, self._interval - (now - begun)))
        self.gap = max(self.gap, time.monotonic() - last if self.failed else 0)

    def finish(self):
        """
        Stop asking.

        Returns ``{"sent": int, "failed": int, "longest_gap_ms": float}``, with
        ``first_failure`` when there was one.
        """
        self._over.set()
        self.join(self._timeout + 1)
        seen = {"sent": self.sent, "failed": self.failed, "longest_gap_ms": round(self.gap * 1000, 1)}
        if self.first_failure:
            seen["first_failure"] = self.first_failure
        return seen


def probe(where, path):
    """
    Start a :class:`_Probe` that asks ``path`` at ``where`` every 20 ms.

    Returns it; call its ``finish()`` for the figures.
    """
    started = _Probe(where, path)
    started.start()
    return started
