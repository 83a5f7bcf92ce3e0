#!/usr/bin/env python3
"""Fills dist/wheels with every wheel that the locks in app/ name, for each Python of the fleet, and with uv's.

All are checked against the hashes of the locks; SHA256SUMS lists them. Takes the wheels for the kind of processor that
it runs on. Where nothing changed since the last run it only verifies what is there.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import checkout
import fixedzip
import purewheel
from globolib import lockfile
from globolib.errors import Failure

ROOT = checkout.ROOT
PYTHONS = ("3.11", "3.13")  # Debian 12, Debian 13


def sha256(path):
    """Returns the sha256 (hex) of the file at path (Path)."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def checksums(directory):
    """Returns the text of SHA256SUMS for the wheels in directory (Path)."""
    return "".join(f"{sha256(wheel)}  {wheel.name}\n" for wheel in sorted(directory.glob("*.whl")))


def inputs_digest(requirements):
    """Returns one digest (hex) of all that decides what the wheelhouse holds; requirements is a list of Path."""
    digest = hashlib.sha256(repr((PYTHONS, platform.machine())).encode())
    tools = [Path(module.__file__) for module in (sys.modules[__name__], purewheel, fixedzip, lockfile)]
    for path in [*requirements, *tools]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_complete(wheels, stamp, digest):
    """Tells whether wheels (Path) is what an earlier run with the same inputs digest left, byte for byte."""
    sums = wheels / "SHA256SUMS"
    if not (stamp.exists() and stamp.read_text() == digest and sums.exists()):
        return False
    return sums.read_text() == checksums(wheels)


def split(lock):
    """Takes the text of a lock; returns that of its entries that pip downloads, and the names of those made here."""
    entries = lockfile.entries(lock)
    pure = [entry.name for entry in entries if entry.pin in purewheel.PINS]
    return "".join(entry.text for entry in entries if entry.name not in pure), pure


def pure_wheel(name, lock, directory):
    """Makes the pure wheel of the package name in directory (Path); raises ValueError where lock lacks its hash."""
    wheel = purewheel.make_wheel(purewheel.fetch_sdist(name, lock, directory / "sdist"), directory)
    if sha256(wheel) not in lockfile.entry(lock, name).hashes:
        raise ValueError(f"{wheel.name} has sha256 {sha256(wheel)}, which the lock does not name; run: make lock")


def fill(requirements, uv, directory):
    """Puts the wheels of all requirements and of uv (list of Path, Path) into directory (Path).

    Raises subprocess.CalledProcessError where pip fails, ValueError where a wheel made here is not the locked one.
    """
    jobs = [(purewheel.pip_download, uv.read_text(), "--only-binary", ":all:")]
    pure = {}
    for lock in dict.fromkeys(path.read_text() for path in requirements):
        rest, names = split(lock)
        pure.update((lockfile.entry(lock, name).text, (name, lock)) for name in names)
        for python in PYTHONS:
            jobs.append((purewheel.pip_download, rest, "--only-binary", ":all:", "--python-version", python))
    with ThreadPoolExecutor(4) as pool, tempfile.TemporaryDirectory(dir=directory) as scratch:
        tasks = []
        for number, (function, text, *options) in enumerate(jobs):
            own = Path(scratch) / str(number)
            own.mkdir()
            tasks.append(pool.submit(function, text, own, *options))
        for name, lock in pure.values():
            own = Path(scratch) / name
            own.mkdir()
            tasks.append(pool.submit(pure_wheel, name, lock, own))
        for task in tasks:
            task.result()
        for wheel in sorted(Path(scratch).glob("*/*.whl")):
            os.replace(wheel, directory / wheel.name)
    (directory / "SHA256SUMS").write_text(checksums(directory))


def main(argv=None):
    """Brings the wheelhouse up to date; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--app", type=Path, default=ROOT / "app", help="directory with one directory per version")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="the wheelhouse is wheels/ in it")
    options = parser.parse_args(argv)
    started = time.monotonic()
    requirements = sorted(options.app.glob("*/requirements.lock"))
    uv = ROOT / "tools" / "requirements-uv.txt"
    wheels, stamp = options.dist / "wheels", options.dist / ".wheels-inputs"
    digest = inputs_digest([*requirements, uv])
    if is_complete(wheels, stamp, digest):
        print(f"{wheels.name}: up to date")
        return 0
    options.dist.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.dist, prefix=".wheels-") as scratch:
        fresh = Path(scratch) / "wheels"
        fresh.mkdir()
        try:
            fill(requirements, uv, fresh)
        except (subprocess.CalledProcessError, ValueError, Failure) as error:
            print(f"{wheels}: not made, left as it was: {error}", file=sys.stderr)
            return 1
        if wheels.exists():
            shutil.move(wheels, Path(scratch) / "old")
        os.replace(fresh, wheels)
    fixedzip.write_whole(stamp, digest.encode())
    count = len(list(wheels.glob("*.whl")))
    print(f"{wheels.name}: {count} wheels for Python {', '.join(PYTHONS)} in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
