"""The certificate of a proxy: whether it is fit, found by a TLS handshake in memory; and one for labs, by openssl."""

import os
import shutil
import ssl
import stat
import tempfile
import time
from collections.abc import Sequence

from globolib import commands, files, health, proxy
from globolib.errors import Failure

DAYS = 365  # of a self-signed one
RENEW = 30  # it is made anew when so few days are left
SOON = 14  # days before its end when a person is told


def days_left(certificate: str, key: str, names: Sequence[str]) -> float:
    """
    How many days a certificate is good for. A server with it and its key is asked for each name, in this process.

    certificate, key
        PEM files.
    names
        What clients will ask for; of ``*.example.com`` one is tried.

    Raises Failure: a file cannot be used, the key is another one's, it is not valid now, or not for a name.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for what, path in (("certificate", certificate), ("key", key)):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise Failure(f"proxy:{what} is {path}: it cannot be read: {error.strerror}") from None
    if stat.S_IMODE(os.stat(key).st_mode) & 0o007:
        raise Failure(f"proxy:key is {key}: every account of this host can use it; chmod 600, and think of a new one")
    try:
        server.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in str(error) or "key values mismatch" in str(error):
            raise Failure(f"proxy:key is {key}: it is not the key of {certificate}") from None
        raise Failure(
            f"proxy:certificate is {certificate}: it cannot be used with {key}: {error.reason or error}; both are to "
            "be PEM files, the key without a password"
        ) from None
    ends = []
    for name in names or [""]:
        asked = proxy.asked_as(name)
        try:
            ends.append(_handshake(server, certificate, asked))
        except ssl.SSLCertVerificationError as error:
            raise Failure(
                f"proxy:certificate is {certificate}: clients would refuse it"
                f"{f' as {asked}' if asked else ''}: {error.verify_message}"
            ) from None
        except (OSError, ValueError) as error:
            raise Failure(f"proxy:certificate is {certificate}: it cannot be used: {error}") from None
    return (min(ends) - time.time()) / 86400


def _handshake(server: ssl.SSLContext, certificate: str, name: str) -> float:
    """When the certificate ends, in seconds of the epoch."""
    client = health.tls_context(certificate, bool(name))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks = client.wrap_bio(to_client, to_server, server_hostname=name or None)
    answers = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        try:
            asks.do_handshake()
            break
        except ssl.SSLWantReadError:
            try:
                answers.do_handshake()
            except ssl.SSLWantReadError:
                continue
    told = asks.getpeercert() or {}
    return ssl.cert_time_to_seconds(str(told["notAfter"]))


def cannot_make() -> list[str]:
    """Why no certificate can be made on this host: a line, or none."""
    if shutil.which("openssl"):
        return []
    return ["proxy:self_signed is true: there is no openssl on this host to make the certificate; install it"]


def make(certificate: str, key: str, names: Sequence[str], name: str) -> bool:
    """
    A self-signed certificate with its key; one that is still good stays. Returns whether it was made.

    names
        The names that it is for.
    name
        The app's, where there are none.

    Raises Failure: openssl is not there, or fails.
    """
    try:
        if days_left(certificate, key, names) > RENEW:
            return False
    except Failure:
        pass
    directory = os.path.dirname(certificate)
    files.make_directory(directory, 0o700)
    subject = names[0] if names and len(names[0]) <= 64 else name
    shown = ",".join(f"DNS:{each}" for each in names or [name.replace("_", "-")])
    with tempfile.TemporaryDirectory(dir=directory) as work:
        made = {path: os.path.join(work, os.path.basename(path)) for path in (key, certificate)}
        commands.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            + ["-days", str(DAYS), "-subj", f"/CN={subject}", "-addext", f"subjectAltName={shown}"]
            + ["-keyout", made[key], "-out", made[certificate]],
            60,
            shown=3,
        )
        for path, mode in ((key, 0o600), (certificate, 0o644)):
            files.write(path, files.read(made[path]) or "", mode)
    return True
