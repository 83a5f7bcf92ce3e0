"""nginx with the site that a deploy writes, as our own process: the real nginx of Debian, below a test's directory."""

import contextlib
import dataclasses
import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path

from appserver import wait_for
from globolib import certificate, nginx
from globolib.host import Unit
from globolib.settings import Settings
from nginx import program
from ports import free_port

MAIN = """
daemon off;
{user}
pid {work}/nginx.pid;
error_log {work}/logs/error.log;
worker_processes 2;
events {{ worker_connections 768; }}
http {{
    access_log {work}/logs/access.log;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    types {{ text/css css; text/plain txt; }}
    include {work}/etc/conf.d/*.conf;
}}
"""


class Frontend:
    """nginx in front of an app that listens on a port of loopback; settings are those of a deploy."""

    def __init__(self, work, upstream, **proxy):
        """work is a directory (Path), upstream the port (int) of the app; proxy is more of the setting."""
        self.work = Path(work)
        for name in ("etc/conf.d", "logs", "root/.globoapp"):
            (self.work / name).mkdir(parents=True, exist_ok=True)
        user = "user root;" if os.geteuid() == 0 else ""
        (self.work / "etc/nginx.conf").write_text(MAIN.format(work=self.work, user=user))
        self.process = None
        self.place = dataclasses.replace(
            nginx.HERE,
            program=str(program()),
            directory=str(self.work / "etc"),
            logs=str(self.work / "logs"),
            control=self.control,
        )
        setting = {"self_signed": True, "address": "127.0.0.1", "port": free_port(), **proxy}
        self.settings = Settings(
            version="1.0", root=str(self.work / "root"), bind="127.0.0.1", address="127.0.0.1", port=upstream,
            proxy=setting, timeout=5, deadline=10,
        )  # fmt: skip
        self.port = setting["port"]
        certificate.make(*self.settings.layout.self_signed, setting.get("server_name", ()), "globoapp")

    def control(self, verb):
        """Does what systemctl does with nginx.service."""
        if verb in ("stop", "restart") and self.process:
            self.stop()
        if verb in ("start", "restart"):
            words = [self.place.program, "-p", str(self.work), "-e", str(self.work / "logs/error.log")]
            self.process = subprocess.Popen([*words, "-c", str(self.work / "etc/nginx.conf")])
            wait_for((self.work / "nginx.pid").exists, "nginx")
        if verb == "reload":
            self.process.send_signal(signal.SIGHUP)

    @property
    def unit(self):
        """nginx.service as systemd would show it."""
        up = self.process is not None and self.process.poll() is None
        return Unit("nginx.service", active="active" if up else "inactive", file_state="enabled")

    def change(self, **proxy):
        """Takes up the setting with other values; returns what nginx.take_up does."""
        settings = self.settings.at(proxy={**self.settings.proxy, **proxy})
        certificate.make(*settings.layout.self_signed, settings.proxy.get("server_name", ()), "globoapp")
        done = nginx.take_up(settings)
        self.settings = settings
        return done

    def connect(self, address="127.0.0.1"):
        """Returns a new TLS connection; no certificate is looked at."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(socket.create_connection((address, self.port), timeout=20))

    def send(self, raw):
        """Sends bytes on a connection of their own; returns (status, headers, body) of the answer."""
        with self.connect() as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(raw)
            return answer(client)

    def get(self, path, *headers, method="GET"):
        """Asks for a path (str) with lines of headers (str or bytes)."""
        lines = [f"{method} {path} HTTP/1.1", "Host: api.example.com", "Connection: close", *headers]
        encoded = [line.encode() if isinstance(line, str) else line for line in lines]
        return self.send(b"\r\n".join([*encoded, b"", b""]))

    def stop(self):
        """Ends nginx."""
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            (self.work / "nginx.pid").unlink(missing_ok=True)
            self.process = None


def answer(client):
    """Reads an answer until the connection is closed: (status, headers, body); status 0 where none came."""
    said = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while block := client.recv(65536):
            said += block
    head, _, body = said.partition(b"\r\n\r\n")
    if not head:
        return 0, {}, b""
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body
