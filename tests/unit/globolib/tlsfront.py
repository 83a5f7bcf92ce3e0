"""A TLS server in the place of nginx: what health checks and the beacon see of a proxy."""

import dataclasses
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from globolib import certificate, files, health, proxy


class Front:
    """A TLS server; `site` is the digest that it has, `answer` (status, body) that of the app by it."""

    def __init__(self, directory):
        self.site, self.answer, self.asked = "", (200, b'{"status": "UP"}'), []
        self.pair = str(directory / "tls/c.pem"), str(directory / "tls/k.pem")
        certificate.make(*self.pair, ["api.example"], "x")
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                front.asked.append((self.path, self.headers["Host"]))
                mark = self.path == proxy.MARK
                status, body = (200, front.site.encode()) if mark else front.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.pair)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *args: None
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.place = health.Tls("127.0.0.1", self.server.server_address[1], self.pair[0], "api.example")

    def note(self, layout):
        """Makes it what the last deploy has put in front of the app."""
        files.make_directory(layout.own)
        also = health.first_certificate(self.pair[0])
        files.write_json(layout.proxy, dataclasses.asdict(dataclasses.replace(self.place, also=also)))

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
