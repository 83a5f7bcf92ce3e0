#!/usr/bin/env python3
"""Puts a version into an artifact repository: wheels and their index, bill of materials, zip, and last its checksum.

What the repository has with the same bytes is left alone, so a cut run is taken up by running it again; other bytes
under one of the names are an error, found before anything is sent. wheels/SHA256SUMS, the index that servers read, is
the one file that changes: it gains lines. GLOBOAPP_REPOSITORY is the URL. Credentials are never arguments:
GLOBOAPP_REPOSITORY_TOKEN, or GLOBOAPP_REPOSITORY_USER and GLOBOAPP_REPOSITORY_PASSWORD, or netrc.
"""

import argparse
import hashlib
import os
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import checkout
import repository
from globolib import lockfile
from globolib.errors import Failure

ROOT = checkout.ROOT
INDEX = "wheels/SHA256SUMS"


def read_verified(dist, checksums):
    """Returns name -> bytes of the files that checksums (str, as of sha256sum) lists in dist (Path).

    Raises RepositoryError naming every file that is not what it says.
    """
    found, problems = {}, []
    for line in checksums.splitlines():
        digest, name = line.split(maxsplit=1)
        path = dist / name
        if not path.is_file():
            problems.append(f"{path} is missing")
            continue
        found[name] = path.read_bytes()
        if hashlib.sha256(found[name]).hexdigest() != digest:
            problems.append(f"{path} does not match its checksum")
    if problems:
        raise repository.RepositoryError("; ".join(problems) + "; make it again: make dist")
    return found


def wanted_wheels(lock, checksums):
    """Returns the lines of checksums (str) whose wheels lock (str) admits by their hash, and those of uv.

    Raises RepositoryError naming each package of lock that has no wheel.
    """
    lines = [line.split(maxsplit=1) for line in checksums.splitlines()]
    digests = {digest for digest, _ in lines}
    entries = lockfile.entries(lock)
    missing = [entry.name for entry in entries if not digests.intersection(entry.hashes)]
    if missing:
        raise repository.RepositoryError(
            f"the wheelhouse has no wheel of {', '.join(missing)}; make it again: make dist"
        )
    hashes = {digest for entry in entries for digest in entry.hashes}
    return "".join(f"{digest}  {name}\n" for digest, name in lines if digest in hashes or name.startswith("uv-"))


def collect(dist, name):
    """Returns (wheels, release), two dicts of file name to bytes, of the artifact name ("globoapp-1.1") in dist (Path).

    The checksum is the last of release: a version is there when its checksum is, and then with all that it needs.
    """
    for path in (dist / f"{name}.zip.sha256", dist / "wheels" / "SHA256SUMS"):
        if not path.is_file():
            raise repository.RepositoryError(f"{path} is missing; make it: make dist")
    checksum = (dist / f"{name}.zip.sha256").read_text()
    archive = read_verified(dist, checksum)
    with zipfile.ZipFile(dist / f"{name}.zip") as unpacked:
        lock, sbom = unpacked.read("requirements.lock").decode(), unpacked.read("sbom.json")
    wheels = read_verified(dist / "wheels", wanted_wheels(lock, (dist / "wheels" / "SHA256SUMS").read_text()))
    release = {f"{name}.sbom.json": sbom, **archive, f"{name}.zip.sha256": checksum.encode()}
    return {f"wheels/{wheel}": content for wheel, content in wheels.items()}, release


def merged_index(index, wheels):
    """Returns index (bytes of a SHA256SUMS, or None) with lines for wheels (dict of "wheels/NAME" to bytes) added."""
    lines = dict(reversed(line.split(maxsplit=1)) for line in (index or b"").decode().splitlines())
    lines.update((name.split("/")[1], hashlib.sha256(content).hexdigest()) for name, content in wheels.items())
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(lines.items())).encode()


def send(files, remote):
    """Puts files (dict of name to bytes) into remote (Repository), in their order."""
    for number, (name, content) in enumerate(files.items(), 1):
        remote.put(name, content)
        print(f"[{number}/{len(files)}] {name}: sent {len(content)} bytes", flush=True)


def publish(wheels, release, remote):
    """Puts wheels, their index and release (dicts of name to bytes) into remote (Repository); returns how many it sent.

    Raises RepositoryError, before anything is sent, where the repository has one of them with other bytes.
    """
    files = {**wheels, **release}
    with ThreadPoolExecutor(4) as pool:
        there = dict(zip(files, pool.map(remote.digest, files), strict=True))
    wanted = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    other = [name for name in files if there[name] not in (None, wanted[name])]
    if other:
        listed = "\n".join(f"  {remote.url}/{name}: has {there[name]}, here {wanted[name]}" for name in other)
        raise repository.RepositoryError(
            f"the repository has other bytes under {len(other)} of the names (sha256), and a version never changes:\n"
            f"{listed}\nNothing was sent. Give the change a new version."
        )
    before = remote.read(INDEX)
    index = merged_index(before, wheels)
    todo = {name: content for name, content in wheels.items() if there[name] is None}
    if index != before:
        todo[INDEX] = index
    todo.update((name, content) for name, content in release.items() if there[name] is None)
    send(todo, remote)
    return len(todo)


def main(argv=None):
    """Publishes the version that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--name", default="globoapp", help="the app's name in its manifest")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist")
    options = parser.parse_args(argv)
    try:
        url = os.environ.get("GLOBOAPP_REPOSITORY")
        if not url:
            raise repository.RepositoryError("GLOBOAPP_REPOSITORY is not set: the https URL of the artifact repository")
        remote = repository.Repository(url, repository.credentials(os.environ))
        sent = publish(*collect(options.dist, f"{options.name}-{options.version}"), remote)
    except (repository.RepositoryError, Failure) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 1
    print(f"{options.name} {options.version}: {f'{sent} files sent' if sent else 'all there already'}, {remote.url}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
