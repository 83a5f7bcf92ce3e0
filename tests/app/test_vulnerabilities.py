"""What docs/vulnerabilities.md says that this app does not reach, held against the app as it is shipped."""

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from appserver import ROOT

SMUGGLED = b"GET /api/comment/list/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /api/comment/new HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
# The first is CVE-2024-1135, the second CVE-2024-6827; the third is what both come down to.
REQUESTS = {
    "two Transfer-Encodings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "unknown Transfer-Encoding": POST + b"Transfer-Encoding: chunked,gzip\r\nContent-Length: 2\r\n\r\n{}",
    "nothing odd": b"GET /api/comment/list/first HTTP/1.1\r\nHost: x\r\n\r\n",
}
KNOWN = [
    "CVE-2024-1135", "CVE-2024-6827", "CVE-2023-25577", "CVE-2023-23934", "CVE-2023-46136",
    "CVE-2024-34069", "CVE-2024-49767", "CVE-2020-28493", "CVE-2024-22195", "CVE-2024-34064",
    "CVE-2024-56326", "CVE-2025-27516", "CVE-2023-30861", "CVE-2022-40897",
]  # fmt: skip


def test_no_request_reaches_parsers_templates_or_debugger(releases, environments, api_version, tmp_path):
    release = releases(api_version)
    done = subprocess.run(
        [str(release.python), str(Path(__file__).with_name("reach.py"))],
        check=True, cwd=release.directory, capture_output=True, text=True,
        env={**os.environ, "STATE_DIRECTORY": str(tmp_path), **environments(api_version)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["app"] == []
    assert found["careless"] == [
        "cookie parser", "debugger", "form parser", "multipart parser", "template environment", "seen=1; Path=/",
    ]  # fmt: skip


@pytest.mark.parametrize("first", REQUESTS)
def test_a_connection_carries_one_request_so_nothing_can_be_smuggled_behind_it(gunicorn_clients, api_version, first):
    port = gunicorn_clients(api_version).port
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(REQUESTS[first] + SMUGGLED)
        answers = connection.recv(65536)
        try:
            connection.sendall(SMUGGLED)
            while piece := connection.recv(65536):
                answers += piece
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server has closed, with what it was sent unread
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b"smuggled" not in answers


def test_every_known_vulnerability_has_its_row():
    text = (ROOT / "docs" / "vulnerabilities.md").read_text()
    rows = re.findall(r"^\| (CVE-\d+-\d+) \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(KNOWN)
