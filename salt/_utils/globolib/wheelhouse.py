"""
The wheelhouse (setting ``wheels``): the wheels that a lock wants, each compared with the lock's hashes, and uv.

A uv that comes from there runs as root before anything of a release does: it is taken only where its wheel is one
that this tree pins (:mod:`globolib.uv_digests`).
"""

import logging
import os
import platform
import shutil
import zipfile
from collections.abc import Mapping

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from globolib import fetch, files, lockfile, uv_digests
from globolib.errors import Failure
from globolib.layout import Layout
from globolib.minion import Minion
from globolib.settings import Settings

log = logging.getLogger(__name__)

UV = ".uv-"  # and the first 12 digits of its wheel's SHA-256
Offer = Mapping[tuple[str, Version], Mapping[str, str | None]]


def offer(minion: Minion, settings: Settings) -> Offer:
    """
    What the wheelhouse has: ``{(normalized name, version): {file name: SHA-256 or None where it is not told}}``.
    Raises Failure where it cannot be listed.
    """
    offered: dict[tuple[str, Version], dict[str, str | None]] = {}
    for file, digest in sorted(fetch.listing(minion, settings, settings.wheels).items()):
        try:
            name, version, _, _ = parse_wheel_filename(file)
        except (InvalidWheelFilename, InvalidVersion):  # SHA256SUMS, and what else may be there
            continue
        offered.setdefault((name, version), {})[file] = digest
    return offered


def wheels(minion: Minion, settings: Settings, lock: str, python: str, offered: Offer) -> list[str]:
    """
    Fetch the wheels of a lock (its text) for a version of Python (``"3.11.2"``); each is one that the lock names by
    its hash. Returns the paths of the local copies.

    Raises Failure naming what the wheelhouse does not have, before anything is fetched, or a wheel with another hash.
    """
    wanted = [entry for entry in lockfile.entries(lock) if entry.applies(python)]
    missing = [entry.pin for entry in wanted if (entry.name, Version(entry.version)) not in offered]
    if missing:
        raise Failure(
            f"{settings.wheels} has no wheel of {', '.join(missing)}: run make wheels where the master's files come "
            "from"
        )
    return [
        path
        for entry in wanted
        for path in _verified(minion, settings, entry, offered[entry.name, Version(entry.version)])
    ]


def _verified(
    minion: Minion, settings: Settings, entry: lockfile.Entry, candidates: Mapping[str, str | None]
) -> list[str]:
    """The local copies of the wheels of one package that the lock admits: one or more, for several Pythons."""
    paths, other = [], []
    for file, told in candidates.items():
        if told is not None and told not in entry.hashes:  # nothing that would be of use
            other.append(f"{file} has SHA-256 {told}")
            continue
        path = fetch.file(minion, settings, _url(settings, file), told)
        digest = told or files.sha256(path)
        if digest in entry.hashes:
            paths.append(path)
        else:
            other.append(f"{file} has SHA-256 {digest}")
    if not paths:
        raise Failure(f"{settings.wheels} has no wheel of {entry.pin} with a hash of the lock: {', '.join(other)}")
    return paths


def _url(settings: Settings, file: str) -> str:
    return f"{settings.wheels.rstrip('/')}/{file}"


def uv_wheel(minion: Minion, settings: Settings, offered: Offer) -> str:
    """
    The path of a local copy of a uv wheel for this kind of processor. Raises Failure: the wheelhouse has none, or
    none that this tree pins.
    """
    files_offered = {
        file: digest
        for (name, _), candidates in offered.items()
        if name == "uv"
        for file, digest in candidates.items()
        if _runs_here(file)
    }
    other = []
    for file, told in files_offered.items():
        here = None if told else fetch.file(minion, settings, _url(settings, file))
        digest = files.sha256(here) if here else told
        if digest in uv_digests.DIGESTS:
            return here or fetch.file(minion, settings, _url(settings, file), digest)
        other.append(f"{file} has SHA-256 {digest}, which is none that this tree pins")
    raise Failure(", ".join(other) or f"no wheel of uv for {platform.machine()}")


def _runs_here(file: str) -> bool:
    """Whether a wheel's platform (``manylinux_2_17_x86_64``) is this machine's."""
    return any(tag.platform.endswith(f"_{platform.machine()}") for tag in parse_wheel_filename(file)[3])


def is_pinned_uv(name: str) -> bool:
    """Whether a name is that of a uv that :func:`uv_program` has unpacked and would use again."""
    return name in {f"{UV}{digest[:12]}" for digest in uv_digests.DIGESTS}


def uv_program(layout: Layout, source: str) -> str:
    """
    The path of the uv that comes from ``source``: that itself, or the program out of its wheel, which is unpacked
    once. Raises Failure: it cannot be unpacked.
    """
    if not source.endswith(".whl"):
        return source
    target = layout.virtualenv(f"{UV}{files.sha256(source)[:12]}")
    if os.path.exists(target):
        return target
    temporary = f"{target}.part"
    try:
        files.make_directory(layout.virtualenvs)
        with zipfile.ZipFile(source) as archive:
            members = [member for member in archive.namelist() if member.endswith(".data/scripts/uv")]
            with archive.open(members[0]) as packed, open(temporary, "wb") as program:
                shutil.copyfileobj(packed, program)
                program.flush()
                os.fchmod(program.fileno(), 0o755)
                os.fsync(program.fileno())
        os.replace(temporary, target)
    except (OSError, zipfile.BadZipFile, LookupError) as error:
        raise Failure(f"the uv in {source} could not be unpacked: {error}") from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return target
