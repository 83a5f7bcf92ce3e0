"""Programs of Debian for tests: this machine's own, or unpacked from their packages into .lab: no service starts."""

import os
import shutil
import subprocess
from pathlib import Path

from prepared import prepared

ROOT = Path(__file__).resolve().parents[2]


def program(name, *packages):
    """Returns (path, environment) of a program (str).

    Args:
        name: what it is called.
        packages: those that have it and the libraries that it needs.

    Raises:
        RuntimeError: where there is neither the program nor the packages.
    """
    own = shutil.which(name)
    if own:
        return own, dict(os.environ)
    target = unpacked(*packages)
    libraries = ":".join(str(path) for path in target.glob("usr/lib/*-linux-gnu"))
    return str(target / "usr/bin" / name), {**os.environ, "LD_LIBRARY_PATH": libraries}


def unpacked(*packages):
    """Returns a directory (Path) with what packages of Debian hold. Raises RuntimeError where they cannot be had."""

    def make(directory):
        download(packages, directory)
        for package in directory.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", str(package), str(directory)], check=True)
            package.unlink()

    return prepared(ROOT / ".lab" / "debian" / packages[0], make)


def download(packages, target):
    """Puts packages of Debian into the directory target (Path). Raises RuntimeError where they cannot be had."""
    done = None
    for command in (["apt-get", "download", *packages], ["apt-get", "update"], ["apt-get", "download", *packages]):
        done = subprocess.run(["nice", *command], cwd=target, capture_output=True, text=True)
        if done.returncode == 0 and "download" in command:
            return
    raise RuntimeError(f"{packages[0]} is not installed, and apt-get download failed: {done.stderr}")
