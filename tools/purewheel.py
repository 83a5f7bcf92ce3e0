"""Makes a pure Python wheel out of an sdist, byte for byte the same on every machine.

MarkupSafe 1.1.1 has no wheel for Python 3.10 and later. Its optional C module only makes escaping faster, so
the wheel is put together from the Python files of the hash-verified sdist: no compiler, no setup.py run, no
build backend whose version would show in the result. That makes the wheel's hash a constant that a lock can name.
"""

import base64
import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import checkout  # noqa: F401, it makes globolib importable
import fixedzip
from globolib import lockfile

# Pins without a wheel for the Pythons of the fleet.
PINS = ("markupsafe==1.1.1",)
WHEEL = "Wheel-Version: 1.0\nGenerator: globoapp-purewheel\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def record(files, own_name):
    """Returns the RECORD (bytes) of a wheel that holds files (a dict of name to bytes) and itself as own_name."""
    lines = []
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(files[name])}")
    return "\n".join([*lines, f"{own_name},,", ""]).encode()


def make_wheel(sdist, directory):
    """Takes the path of an sdist with its packages under src/; returns the path of the wheel made in directory.

    Raises ValueError where the sdist has no src/ packages.
    """
    stem = Path(sdist).name[: -len(".tar.gz")]
    info = f"{stem}.dist-info"
    files = {f"{info}/WHEEL": WHEEL.encode()}
    packages = set()
    with tarfile.open(sdist, "r:gz") as archive:
        for member in archive.getmembers():
            name = PurePosixPath(member.name)
            if not member.isfile():
                continue
            if name.parts[1] == "src" and name.suffix == ".py":
                packages.add(name.parts[2])
                files["/".join(name.parts[2:])] = archive.extractfile(member).read()
            elif name.parts[1:] == ("PKG-INFO",):
                files[f"{info}/METADATA"] = archive.extractfile(member).read()
            elif len(name.parts) == 2 and name.name.startswith("LICENSE"):
                files[f"{info}/{name.name}"] = archive.extractfile(member).read()
    if not packages:
        raise ValueError(f"{sdist}: no Python package under src/, so no pure wheel can be made of it")
    files[f"{info}/top_level.txt"] = ("\n".join(sorted(packages)) + "\n").encode()
    files[f"{info}/RECORD"] = record(files, f"{info}/RECORD")
    wheel = Path(directory) / f"{stem}-py3-none-any.whl"
    fixedzip.write_whole(wheel, fixedzip.zip_bytes(files))
    return wheel


def pip_download(requirements, directory, *options, environment=None):
    """Downloads what requirements (str, each with its hashes) names into directory (Path), checked by pip.

    options are more options of pip, environment that of its process (dict; None for our own).
    Raises subprocess.CalledProcessError where pip fails; it has said why by then.
    """
    listing = directory / "requirements.txt"
    listing.write_text(requirements, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-qq", "--no-deps"]
    command += ["--require-hashes", "--dest", str(directory), "--requirement", str(listing), *options]
    subprocess.run(command, check=True, env=environment)
    listing.unlink()


def fetch_sdist(name, lock, directory):
    """Downloads the sdist of the package name, as lock (str) pins it, into directory (Path); returns its path.

    pip reads the metadata of an sdist by its setup.py, for which it gets the setuptools that the lock pins: not
    the newest one of the day, and not that of this machine.
    """
    directory.mkdir(parents=True, exist_ok=True)
    pip_download(lockfile.entry(lock, "setuptools").text, directory, "--only-binary", ":all:")
    (setuptools,) = directory.glob("setuptools-*.whl")
    with zipfile.ZipFile(setuptools) as wheel:
        wheel.extractall(directory / "build-tools")
    environment = {**os.environ, "PYTHONPATH": str(directory / "build-tools")}
    pip_download(
        lockfile.entry(lock, name).text,
        directory,
        "--no-binary",
        ":all:",
        "--no-build-isolation",
        environment=environment,
    )
    (sdist,) = directory.glob("*.tar.gz")
    return sdist
