#!/usr/bin/env python3
"""Locks what each app version runs on: requirements.in -> requirements.lock (every package, with hashes) and sbom.json.

uv resolves. A pin that a lock already has stays until --upgrade. Versions in app/released.json are left alone.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import fixedzip
import purewheel
import sbom
from artifact import ROOT, versions
from globolib import lockfile

HEADER = "# Made by `make lock` from {source}: change that, and run it again.\n"
OWN = "# {pin}, first hash: the py3-none-any wheel that `make wheels` makes of the sdist.\n"
DIGESTS = '"""Made by `make lock`: the SHA-256 of the wheels in tools/requirements-uv.txt, the uv that may build."""\n'
UV = [
    "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-annotate", "--no-header",
    "--no-emit-index-url", "--no-emit-find-links",
]  # fmt: skip


def compile_lock(source, python, previous="", upgrade=False):
    """Returns the lock (str) that uv makes of the requirements file source (Path) for python (str, lowest version).

    previous is the lock so far, whose pins stay where upgrade is False. Raises subprocess.CalledProcessError.
    """
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "requirements.lock"
        target.write_text(without_pure_wheels(previous), encoding="utf-8")
        command = [*UV, "--python-version", python, "--output-file", str(target), source.name]
        # In the directory of source, so that a lock never holds the path of a checkout.
        subprocess.run(command + ["--upgrade"] * upgrade, check=True, cwd=source.parent, stdout=subprocess.DEVNULL)
        return HEADER.format(source=source.name) + target.read_text(encoding="utf-8")


def add_pure_wheels(lock):
    """Returns lock (str) with the hash of our own wheel added to each pin of purewheel.PINS in it."""
    for pin in purewheel.PINS:
        if f"\n{pin} \\\n" not in lock:
            continue
        with tempfile.TemporaryDirectory() as directory:
            wheel = purewheel.make_wheel(purewheel.fetch_sdist(pin.split("==")[0], lock, Path(directory)), directory)
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lock = lock.replace(f"\n{pin} \\\n", f"\n{OWN.format(pin=pin)}{pin} \\\n    --hash=sha256:{digest} \\\n")
    return lock


def without_pure_wheels(lock):
    """Returns lock (str) without what add_pure_wheels added: uv is to see its own lines only."""
    for pin in purewheel.PINS:
        own = re.escape(OWN.format(pin=pin))
        lock = re.sub(rf"^{own}({re.escape(pin)} \\\n)    --hash=\S+ \\\n", r"\1", lock, flags=re.MULTILINE)
    return lock


def lock_version(source, upgrade=False):
    """Locks the app directory source (Path): writes requirements.lock and sbom.json; returns whether they changed."""
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    python = re.search(r">=\s*(\d+\.\d+)", manifest["python"]).group(1)
    target = source / manifest["requirements"]
    previous = target.read_text(encoding="utf-8") if target.exists() else ""
    lock = add_pure_wheels(compile_lock(source / "requirements.in", python, previous, upgrade))
    changed = write_changed(target, lock)
    return write_changed(source / "sbom.json", sbom.make_sbom(manifest, lock)) or changed


def uv_digests(lock):
    """Returns the text of globolib/uv_digests.py: the servers take no uv from a wheelhouse but those of lock (str)."""
    digests = sorted(digest for entry in lockfile.entries(lock) for digest in entry.hashes)
    lines = "".join(f'        "{digest}",\n' for digest in digests)
    return f"{DIGESTS}\nDIGESTS = frozenset(\n    {{\n{lines}    }}\n)\n"


def write_changed(path, text):
    """Writes text to path where it differs from what is there; returns whether it did."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    fixedzip.write_whole(path, text.encode())
    return True


def main(argv=None):
    """Locks the versions that the command line names, and the tools; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", nargs="*", help="versions to lock; without one, all that are not released")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that requirements.in allows")
    options = parser.parse_args(argv)
    app, tools = ROOT / "app", ROOT / "tools"
    record = app / "released.json"
    released = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    for version in options.version or versions(app):
        if version in released:
            print(f"app/{version}: released, left alone")
            continue
        print(f"app/{version}: {'locked' if lock_version(app / version, options.upgrade) else 'unchanged'}")
    if not options.version:
        for name in ("requirements-uv", "requirements"):
            target = tools / f"{name}.txt"
            previous = target.read_text(encoding="utf-8") if target.exists() else ""
            text = compile_lock(tools / f"{name}.in", "3.11", previous, options.upgrade)
            print(f"tools/{name}.txt: {'locked' if write_changed(target, text) else 'unchanged'}")
        uv = (tools / "requirements-uv.txt").read_text(encoding="utf-8")
        write_changed(ROOT / "salt" / "_utils" / "globolib" / "uv_digests.py", uv_digests(uv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
