#!/usr/bin/env python3
"""Makes dist/<name>-<version>.zip and its .sha256 from app/<version>, the same bytes on any machine and any day.

A version never changes: where the zip is there with other content, or app/released.json names another digest
for the version, nothing is written and the exit code is 1.
"""

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path

import checkout
import fixedzip
from globolib import lockfile
from globolib import manifest as manifests
from globolib.errors import Failure

ROOT = checkout.ROOT
VERSION = re.compile(r"\d+(\.\d+)+")
REQUIRED = ("name", "version", "wsgi", "workers", "threads", "python", "requirements", "health")


class ArtifactError(Exception):
    """An artifact that cannot or may not be made; the text says why and what to do."""


def versions(app):
    """Returns the versions (list of str, oldest first) that have a directory in app (Path)."""
    found = [entry.name for entry in app.iterdir() if entry.is_dir() and VERSION.fullmatch(entry.name)]
    return sorted(found, key=lambda version: [int(part) for part in version.split(".")])


def read_manifest(source):
    """Returns the manifest (dict) of the app directory source (Path); raises ArtifactError with all that is wrong.

    What a server would refuse is refused here, by the same rules.
    """
    path = source / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: no readable manifest: {error}") from error
    if not isinstance(manifest, dict):
        raise ArtifactError(f"{path}: no readable manifest: it is not a JSON object")
    problems = [f"{path}: {key!r} is missing" for key in REQUIRED if key not in manifest]
    name = str(manifest.get("name"))
    problems += [f"{source}: {problem}" for problem in manifests.problems(manifest, name, source.name)]
    if "lock_sha256" in manifest:
        problems.append(f"{path}: 'lock_sha256' is added when the artifact is made; take it out")
    lock = source / str(manifest.get("requirements"))
    try:
        lockfile.entries(lock.read_text(encoding="utf-8"))
    except OSError:
        problems.append(f"{lock}: no such file; make it with: make lock")
    except (ValueError, Failure) as error:
        problems.append(f"{lock}: {error}; make it again with: make lock")
    if problems:
        raise ArtifactError("\n".join(problems))
    return manifest


def build(source):
    """Takes the app directory source (Path); returns the artifact's name (without .zip) and its bytes."""
    manifest = read_manifest(source)
    files = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for pattern in ("*.py", "sbom.json", "alembic.ini", "migrations/**/*.py")
        for path in source.glob(pattern)
    }
    lock = (source / manifest["requirements"]).read_bytes()
    files[manifest["requirements"]] = lock
    manifest["lock_sha256"] = hashlib.sha256(lock).hexdigest()
    files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    return f"{manifest['name']}-{manifest['version']}", fixedzip.zip_bytes(files)


def make(source, dist, released):
    """Makes the artifact of the app directory source (Path) in dist (Path); returns its path and whether it is new.

    released is a dict of version to the digest it was released with. Raises ArtifactError where the version
    exists with other content.
    """
    name, content = build(source)
    digest = hashlib.sha256(content).hexdigest()
    target = dist / f"{name}.zip"
    if released.get(source.name, digest) != digest:
        raise ArtifactError(
            f"{source}: version {source.name} was released with sha256 {released[source.name]}\n"
            f"  (app/released.json), and this directory now makes {digest}.\n"
            "  A version never changes: put the directory back as it was (git log app/released.json), "
            "or give the change a new version."
        )
    new = not target.exists()
    if not new and target.read_bytes() != content:
        old = hashlib.sha256(target.read_bytes()).hexdigest()
        raise ArtifactError(
            f"{target}: version {source.name} exists with other content (sha256 {old}; {source} makes {digest}).\n"
            "  A version never changes: give the change a new version, "
            f"or, if that file never left this machine: rm {target}"
        )
    dist.mkdir(parents=True, exist_ok=True)
    if new:
        fixedzip.write_whole(target, content)
    checksum = dist / f"{name}.zip.sha256"
    line = f"{digest}  {name}.zip\n".encode()
    if not checksum.exists() or checksum.read_bytes() != line:
        fixedzip.write_whole(checksum, line)
    return target, new


def main(argv=None):
    """Makes the artifacts that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", nargs="*", help="versions to make; without one, all that app/ has")
    parser.add_argument("--app", type=Path, default=ROOT / "app", help="directory with one directory per version")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where the artifacts go")
    parser.add_argument("--release", action="store_true", help="write the digests to released.json, for good")
    options = parser.parse_args(argv)
    record = options.app / "released.json"
    released = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    known = versions(options.app)
    failed = False
    for version in options.version or known:
        try:
            if version not in known:
                raise ArtifactError(f"{options.app / version}: no such version; there are: {', '.join(known)}")
            target, new = make(options.app / version, options.dist, released)
        except ArtifactError as error:
            print(error, file=sys.stderr)
            failed = True
            continue
        print(f"{target.name}: {'made' if new else 'up to date'}")
        released[version] = hashlib.sha256(target.read_bytes()).hexdigest()
    if options.release and not failed:
        ordered = {version: released[version] for version in known if version in released}
        fixedzip.write_whole(record, (json.dumps(ordered, indent=2) + "\n").encode())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
