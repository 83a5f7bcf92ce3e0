"""An artifact repository for tests: nginx from Debian with WebDAV, TLS, basic auth and a token, as our own process."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from debian import unpacked

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = """
daemon off;
{user}
pid {work}/nginx.pid;
error_log {work}/error.log;
worker_processes 2;
events {{}}
http {{
    access_log {work}/access.log;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    client_max_body_size 0;
    # A bearer token counts as if the user had given the password.
    map $http_authorization $realm {{ default "repository"; "Bearer {token}" off; }}
    server {{
        listen {address}:{port} ssl;
        ssl_certificate {work}/certificate.pem;
        ssl_certificate_key {work}/key.pem;
        root {work}/files;
        auth_basic $realm;
        auth_basic_user_file {work}/users;
        dav_methods PUT;
        create_full_put_path on;
        {extra}
    }}
}}
"""


def program():
    """Returns the path (Path) of nginx: this machine's, or of Debian's package unpacked in .lab: no service starts.

    Raises RuntimeError where there is neither.
    """
    own = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    return Path(own) if own else unpacked("nginx") / "usr" / "sbin" / "nginx"


class Nginx:
    """The server, in the directory work (Path): files are its files, certificate is what its clients have to trust."""

    def __init__(
        self, work, address="127.0.0.1", user="publisher", password="correct horse", token="a-token", extra=""
    ):
        """extra is more configuration (str) for the server block."""
        self.work = Path(work)
        self.user, self.password, self.token = user, password, token
        self.address, self.extra = address, extra
        with socket.create_server((address, 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"https://{address}:{self.port}/raw"
        self.files = self.work / "files"
        self.certificate = self.work / "certificate.pem"
        self.process = None
        (self.files / "raw").mkdir(parents=True, exist_ok=True)
        self._make_certificate()
        (self.work / "users").write_text(f"{user}:{{PLAIN}}{password}\n")

    def _make_certificate(self):
        """Makes a certificate for the address, signed by itself."""
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=repository", "-addext", f"subjectAltName=IP:{self.address}",
             "-keyout", str(self.work / "key.pem"), "-out", str(self.certificate)],
            check=True, capture_output=True,
        )  # fmt: skip

    def start(self):
        """Starts nginx and waits until it listens; returns self. Raises AssertionError with its log."""
        text = CONFIGURATION.format(
            # nginx's workers run as another user where root starts it, and could not read the directory of a test.
            user="user root;" if os.geteuid() == 0 else "",
            work=self.work, address=self.address, port=self.port, token=self.token, extra=self.extra,
        )  # fmt: skip
        (self.work / "nginx.conf").write_text(text)
        command = [
            str(program()),
            "-p",
            str(self.work),
            "-c",
            str(self.work / "nginx.conf"),
            "-e",
            f"{self.work}/error.log",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((self.address, self.port), timeout=1).close()
                return self
            except OSError:
                log = self.work / "error.log"
                assert self.process.poll() is None, log.read_text() if log.exists() else "nginx ended"
                assert time.monotonic() < deadline, "nginx does not listen"
                time.sleep(0.02)

    def stop(self):
        """Stops nginx, in the middle of whatever it does; its files stay."""
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=20)
            self.process = None
