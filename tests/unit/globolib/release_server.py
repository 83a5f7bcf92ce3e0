"""
gunicorn as far as the package can see it: a main process and a worker that takes requests on the sockets that it was
handed, or on a unix socket. What it answers is in api.py of the release: ``answer()`` gives status and body.

Started with the runtime directory, and for a candidate the path of its socket.
"""

import os
import select
import signal
import socket
import sys

runtime, unix = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
stopping = []


def listening():
    """The sockets to take requests on."""
    if unix:
        own = socket.socket(socket.AF_UNIX)
        own.bind(unix)
        own.listen()
        return [own]
    return [socket.socket(fileno=int(number)) for number in os.environ["SOCKETS"].split()]


def work(sockets):
    """Load the app, say so, and take requests until told to stop."""
    api = {"candidate": bool(unix)}
    with open("api.py") as handle:
        exec(handle.read(), api)
    with open(f"{runtime}/ready-{os.getpid()}", "w"):
        pass
    while not stopping and os.getppid() != 1:
        for ready in select.select(sockets, [], [], 0.01)[0]:
            try:
                client, _ = ready.accept()
            except BlockingIOError:
                continue
            with client:
                client.setblocking(True)
                if client.recv(4096):
                    status, body = api["answer"]()
                    client.sendall(f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
sockets = listening()
for each in sockets:
    each.setblocking(False)
while not stopping:
    worker = os.fork()
    if not worker:
        try:
            work(sockets)
        except SystemExit as end:
            os._exit(end.code)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(3)
        os._exit(0)
    while True:
        try:
            ended, status = os.waitpid(worker, os.WNOHANG)
        except ChildProcessError:
            break
        if ended:
            break
        if stopping:
            os.kill(worker, signal.SIGTERM)
            os.waitpid(worker, 0)
            sys.exit(0)
        select.select([], [], [], 0.005)
    if os.path.exists(f"{runtime}/ready-{worker}"):
        os.unlink(f"{runtime}/ready-{worker}")
    if os.waitstatus_to_exitcode(status) == 3:
        sys.exit(3)
