"""HAProxy from Debian, as our own process, before servers that tests make."""

import os
import shutil
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from debian import unpacked
from polling import until

PACKAGES = (
    "haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1", "libreadline8", "readline-common"
)  # fmt: skip
CONFIGURATION = """
global
    stats socket {socket} level {level}
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    timeout check 500ms
frontend entry
    bind {entry}
    default_backend api
backend api
    option httpchk GET /
    default-server check inter 200ms fall 2 rise 1
{servers}
"""


def program():
    """Returns (path, environment) of HAProxy: this machine's, or of Debian's package unpacked in .lab."""
    own = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if own:
        return own, dict(os.environ)
    root = unpacked(*PACKAGES)
    libraries = ":".join(str(path) for path in root.glob("*/lib/*-linux-gnu")) + ":"
    libraries += ":".join(str(path) for path in root.glob("lib/*-linux-gnu"))
    return str(root / "usr/sbin/haproxy"), {**os.environ, "LD_LIBRARY_PATH": libraries}


class Backend:
    """A server that answers `status` (int), and holds GET /slow until `go` is set."""

    def __init__(self):
        here = self
        self.status, self.go, self.held = 200, threading.Event(), 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/slow":
                    here.held += 1
                    here.go.wait(30)
                self.send_response(here.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_port}"

    def close(self):
        """Ends it."""
        self.go.set()
        self.server.shutdown()
        self.server.server_close()


class HAProxy:
    """HAProxy in the directory work (Path) with a backend "api" of {name: Backend}.

    `socket` is its runtime socket, `entry` takes requests.
    """

    def __init__(self, work, servers, level="admin"):
        self.socket, self.entry = str(work / "admin.sock"), str(work / "entry.sock")
        lines = "\n".join(f"    server {name} {one.address}" for name, one in servers.items())
        names = {"socket": self.socket, "entry": self.entry, "level": level, "servers": lines}
        (work / "haproxy.cfg").write_text(CONFIGURATION.format(**names))
        path, environment = program()
        command = [path, "-db", "-f", str(work / "haproxy.cfg")]
        with open(work / "log", "w") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        until(lambda: os.path.exists(self.socket) or self.process.poll() is not None)
        assert self.process.poll() is None, (work / "log").read_text()

    def get(self, path):
        """Asks for a path; returns the first line of the answer (str)."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.entry)
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return client.makefile("rb").readline().decode().strip()

    def close(self):
        """Ends it."""
        self.process.kill()
        self.process.wait()
