"""Packages of Debian for machines of the lab, which may reach no mirror: apt installs them from a directory."""

import base64
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

from debian import ROOT, download
from prepared import prepared

ISOLATE = """
[ -e /srv/debs/sources ] || { mkdir -p /srv/debs/sources && mv /etc/apt/sources.list* /srv/debs/sources/; }
rm -rf /etc/apt/sources.list* /var/lib/apt/lists/*  # what a run that was killed has left
mkdir -p /etc/apt/sources.list.d
"""
# The directory becomes the only source that apt has.
INSTALL = """
set -e
base64 -d | tar -C /srv/debs -x
echo 'deb [trusted=yes] file:/srv/debs ./' > /etc/apt/sources.list.d/debs.list
"""
REMOVE = """
rm -rf /etc/apt/sources.list.d; mv /srv/debs/sources/* /etc/apt/; rm -rf /srv/debs /var/lib/apt/lists/*
"""


def _index(directory):
    """Writes apt's index (Packages) of the packages in directory (Path)."""
    entries = []
    for path in sorted(directory.glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "--field", str(path)], check=True, capture_output=True, text=True).stdout
        held = path.read_bytes()
        more = f"Filename: ./{path.name}\nSize: {len(held)}\nSHA256: {hashlib.sha256(held).hexdigest()}\n"
        entries.append(control.rstrip("\n") + "\n" + more)
    (directory / "Packages").write_text("\n".join(entries))


def repository(*packages):
    """Returns a directory (Path) with packages of Debian and apt's index of them."""

    def make(directory):
        download(packages, directory)
        _index(directory)

    return prepared(Path(ROOT) / ".lab" / "debs" / packages[0], make)


def isolate(server):
    """Leaves apt on a web server no source at all; take_away() undoes that."""
    server.sh(ISOLATE)


def offer(server, *packages):
    """Lets apt on a web server install these packages, and no other ones; take_away() undoes that."""
    isolate(server)
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for path in repository(*packages).iterdir():
            archive.add(path, path.name)
    script = base64.b64encode(held.getvalue()).decode()
    server.fleet.exec(server.name, "sh", "-c", INSTALL, input=script, check=True)


def take_away(server):
    """Gives apt on a web server its own sources back."""
    server.sh(REMOVE)
