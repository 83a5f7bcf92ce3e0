# gunicorn's settings for every release: what differs between releases is in their manifest, what pillar says in
# gunicorn.json beside this file. Managed by Salt. Read by gunicorn at start, from the release's directory.
import collections
import contextlib
import functools
import json
import os
import socket
import struct
import threading
import time
from typing import Any

with open("manifest.json", encoding="utf-8") as handle:
    manifest = json.load(handle)
try:
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "gunicorn.json"), encoding="utf-8") as handle:
        told = json.load(handle)
except FileNotFoundError:
    told = {}

_runtime = os.environ["RUNTIME_DIRECTORY"]

worker_class = "gthread"
# State in the memory of a process: two of them would each have half of it. A manifest that says nothing and wants one
# worker is taken to mean that.
_single = manifest.get("single_process", manifest.get("workers", 1) == 1)
workers = 1 if _single else told.get("workers") or manifest.get("workers", 1)
threads = told.get("threads") or manifest.get("threads", 4)
# A keep-alive client of a worker that ends loses its next request: gunicorn closes after each answer.
keepalive = 0
graceful_timeout = told.get("graceful_timeout", 30)
timeout = told.get("timeout", 30)
max_requests = told.get("max_requests", 0)
max_requests_jitter = told.get("max_requests_jitter", 0)
errorlog = "-"
accesslog = "-" if told.get("access_log") else None
# gunicorn 25 and later open a command socket in the home directory, one path for all instances; 20.0.4 ignores this.
control_socket_disable = True
worker_tmp_dir = _runtime

# Seconds for which a client may be silent in the middle of its request, or not take its answer: gunicorn's threads
# wait for it without limit, and a handful of such clients would hold them all. (socket(7): SO_RCVTIMEO; what is
# accepted inherits it.)
SILENCE = 10


def when_ready(server: Any) -> None:
    """The sockets are there: what is accepted from them inherits the limit, and of a unix socket is given it."""
    for listener in server.LISTENERS:
        _limit(listener.sock)
        if listener.sock.family == socket.AF_UNIX:
            listener.accept = functools.partial(_accepted, listener.sock)


def _limit(connected: socket.socket) -> None:
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connected.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", SILENCE, 0))


def _accepted(listening: socket.socket) -> tuple[socket.socket, Any]:
    client, address = listening.accept()
    _limit(client)
    return client, address


def post_worker_init(worker: Any) -> None:
    """The worker has loaded the app: say so where the deploy looks (READY=1 is sent long before)."""
    worker.progress = os.open(f"{_runtime}/progress-{worker.pid}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    _progress(worker)
    with open(f"{_runtime}/ready-{worker.pid}", "w", encoding="ascii"):
        pass


# The requests that this worker has taken up and not answered.
_in_hand = 0
# Two threads must not write their counts in the wrong order.
_counting = threading.Lock()


def _progress(worker: Any, more: int = 0) -> None:
    """
    Note that the worker gets on: the time by a clock that all processes of the host share and that nobody sets. One
    that notes nothing for long while questions wait is stuck; one that is only slow is not. After it, the requests in
    hand: of a worker that is killed when graceful_timeout is over, those that were cut.
    """
    global _in_hand
    with _counting:
        _in_hand += more
        os.pwrite(worker.progress, b"%020d %04d\n" % (time.monotonic_ns(), _in_hand), 0)


def pre_request(worker: Any, request: Any) -> None:
    """A request has come in."""
    _progress(worker, 1)


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    """A request was answered."""
    _progress(worker, -1)


def worker_exit(server: Any, worker: Any) -> None:
    """In a worker that ends in order: if it has answered its max_requests, that is no crash."""
    if worker.nr >= worker.max_requests:
        with open(f"{_runtime}/recycled-{worker.pid}", "w", encoding="ascii"):
            pass


# The workers that ended last, for who watches a deploy: marks of older ones are taken away.
_ended: Any = collections.deque()


def child_exit(server: Any, worker: Any) -> None:
    """A worker has ended: it is not ready any more."""
    for mark in ("ready", "progress"):
        with contextlib.suppress(FileNotFoundError):  # it ended before it had loaded the app
            os.unlink(f"{_runtime}/{mark}-{worker.pid}")
    _ended.append(worker.pid)
    while len(_ended) > 100:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{_runtime}/recycled-{_ended.popleft()}")
