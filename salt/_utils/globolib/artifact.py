"""
The artifact of a version: where it comes from, whether it is what it should be, what it says.

An artifact is a zip with ``api.py``, ``manifest.json`` and the lock directly inside, beside it
``<artifact>.sha256``. A copy stays under the root: repairing and going back need no master.
"""

import hashlib
import json
import lzma
import os
import posixpath
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from globolib import fetch as sources
from globolib import files, lockfile, manifest, text
from globolib.errors import Failure
from globolib.host import Record
from globolib.layout import order
from globolib.manifest import Manifest
from globolib.minion import Minion
from globolib.settings import Settings

# What a zip may unpack to. A zip bomb is caught by what it declares: zipfile never reads more than that of a member.
MEMBERS = 10_000
UNPACKED = 512 << 20  # bytes
RATIO = 100  # bytes unpacked for each packed; source code has 3 to 5
SMALL = 16 << 20  # bytes that no ratio makes suspicious
TEXT = 4 << 20  # bytes of the manifest, and of the lock
# All that zipfile and its decompressors raise on bytes that are no sound zip: NotImplementedError and a too deep JSON
# are RuntimeErrors, BadZipFile is an Exception by itself, wrong UTF-8 and wrong JSON are ValueErrors.
UNSOUND = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, RuntimeError,
    LookupError, OverflowError, MemoryError,
)  # fmt: skip


# Seconds in which a source is to say whether it still has the same: a deploy of what is here does not need it.
ASKED_DEADLINE = 5.0


@dataclass(frozen=True)
class Artifact:
    """
    path
        The zip; None where the host's own copy is gone and the release is what was unpacked.
    size
        Bytes that it takes unpacked.
    """

    path: str | None
    sha256: str
    manifest: Manifest = field(repr=False)
    lock: str = field(repr=False)
    size: int = 0


def read(path: str, settings: Settings, sha256: str | None = None) -> Artifact:
    """
    The artifact in ``path``, whose SHA-256 is computed where the caller has not done so already.

    Raises Failure naming everything that is wrong with it, for whatever bytes.
    """
    try:
        digest = sha256 or files.sha256(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            problems = [text.line(problem) for problem in _problems(members, os.path.getsize(path))]
            if problems:
                raise Failure(f"{path} {'; '.join(problems)}")
            data = json.loads(archive.read(manifest.NAME))
            lock = archive.read(manifest.LOCK).decode()
    except UNSOUND as error:
        raise unsound(path, error) from error
    wrong = manifest.problems(data, settings.name, settings.version)
    if wrong:
        raise Failure(f"{settings.source}: {'; '.join(text.line(problem) for problem in wrong)}")
    return Artifact(path, digest, manifest.parsed(data), lock, sum(member.file_size for member in members))


def unsound(path: str, error: BaseException) -> Failure:
    """What to say of a zip that cannot be read (one of UNSOUND was raised)."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Failure(f"{path} cannot be read as an artifact: {text.line(words, 300)}")


def _problems(members: Sequence[zipfile.ZipInfo], packed: int) -> Iterator[str]:
    """What is wrong with the list of what a zip holds; ``packed`` is its own size in bytes."""
    names = [member.filename for member in members]
    if len(members) > MEMBERS:
        yield f"holds {len(members)} files, more than {MEMBERS}"
        return
    size = sum(member.file_size for member in members)
    if size > UNPACKED:
        yield f"would unpack to {size} bytes, more than {UNPACKED}"
    elif size > SMALL and size > RATIO * packed:
        yield f"would unpack to {size} bytes, more than {RATIO} times its own size: a zip bomb"
    encrypted = [member.filename for member in members if member.flag_bits & 0x1]
    if encrypted:
        yield f"holds encrypted files: {_listed(encrypted)}"
    foreign = [member.filename for member in members if member.compress_type not in _METHODS]
    if foreign:
        yield f"holds files that are neither stored nor deflated: {_listed(foreign)}"
    bad = [member.filename for member in members if not _allowed(member)]
    if bad:
        yield f"holds paths that no release may: {_listed(bad)}"
    twice = [name for name, count in Counter(name.rstrip("/") for name in names).items() if count > 1]
    # A file cannot be a directory too: unpacking would fail at the second.
    parents = {parent for name in names for parent in _parents(name)}
    twice += sorted(parents.intersection(name for name in names if not name.endswith("/")).difference(twice))
    if twice:
        yield f"holds a name twice: {_listed(twice)}"
    missing = [name for name in (manifest.NAME, manifest.LOCK) if name not in names]
    if missing:
        yield f"is no artifact: it holds no {' and no '.join(missing)}"
    large = [member.filename for member in members if member.filename in _TEXTS and member.file_size > TEXT]
    if large:
        yield f"holds files larger than {TEXT} bytes: {_listed(large)}"


_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_TEXTS = (manifest.NAME, manifest.LOCK)


def _allowed(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a plain file or directory with a path that stays inside the release, and can be recorded."""
    name = member.filename.removesuffix("/")
    kind = stat.S_IFMT(member.external_attr >> 16)
    return (
        kind in (0, stat.S_IFREG, stat.S_IFDIR)
        and name == posixpath.normpath(name)
        and not name.startswith("/")
        and not {".", ".."}.union(files.NOT_CONTENT).intersection(name.split("/"))
        and text.line(name) == name
    )


def _parents(name: str) -> Iterator[str]:
    parts = name.rstrip("/").split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def fetch(minion: Minion, settings: Settings) -> Artifact:
    """
    The artifact of ``settings.version`` from its source, its checksum verified.

    Raises Failure: it is not there, does not match its checksum, is no artifact, or has a lock that is none.
    """
    source = settings.source
    expected = (settings.checksum or _checksum_beside(minion, settings)).lower()
    artifact = read(sources.file(minion, settings, source, expected), settings, expected)
    try:
        lockfile.entries(artifact.lock)
    except Failure as error:
        raise Failure(f"{source}: {error}") from error
    return artifact


def _checksum_beside(minion: Minion, settings: Settings, deadline: float = sources.DEADLINE) -> str:
    url = f"{settings.source}.sha256"
    with open(sources.file(minion, settings, url, limit=1 << 20, deadline=deadline), "rb") as handle:
        raw = handle.read(200)
    match = re.match(rb"\s*([0-9a-fA-F]{64})\b", raw)
    if not match:
        raise Failure(f"{url} holds no SHA-256 but {text.line(raw.strip(), 80)!r}")
    return match.group(1).decode()


def store(settings: Settings, artifact: Artifact) -> str:
    """
    Keep a copy under the root, durably: complete or not at all. Returns its path.

    Raises Failure: the artifact is not what it was when it was read, or it cannot be written.
    """
    target = settings.layout.artifact(settings.version)
    if artifact.path is None or artifact.path == target:
        return target
    temporary, digest = f"{target}.part", hashlib.sha256()
    try:
        files.make_directory(os.path.dirname(target))
        with open(artifact.path, "rb") as source, open(temporary, "wb") as copy:
            for block in iter(lambda: source.read(1 << 20), b""):
                digest.update(block)
                copy.write(block)
            copy.flush()
            os.fchmod(copy.fileno(), 0o644)
            os.fsync(copy.fileno())
        if digest.hexdigest() != artifact.sha256:
            raise Failure(f"{artifact.path} changed while it was read: SHA-256 is {digest.hexdigest()}; deploy again")
        os.replace(temporary, target)
        files.sync_directory(os.path.dirname(target))
    except OSError as error:
        raise Failure(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return target


def available(minion: Minion, settings: Settings) -> list[str]:
    """
    The versions that the source offers, the oldest first, as far as it can be listed: an https repository has no
    listing that all of them speak.
    """
    base, _, name = settings.source.rpartition("/")
    if base.startswith("https:") or settings.version not in name:
        return []
    base += "/" if base.endswith(":/") else ""
    # The version may be in the name more than once: the same one each time.
    first, *rest = (re.escape(part) for part in name.split(settings.version))
    pattern = re.compile(first + r"(?P<version>\d+(?:\.\d+){1,3})" + "(?P=version)".join(rest) + r"\Z")
    matches = (pattern.match(offered) for offered in sources.listing(minion, settings, base))
    return sorted({match["version"] for match in matches if match}, key=order)


def of(minion: Minion, settings: Settings, record: Record | None, differences: Sequence[str]) -> Artifact:
    """
    What ``settings.version`` is made of: the host's own copy where it has the release, else from the source.

    record, differences
        What the host knows of the release, and how it differs from that (:func:`globolib.release.differences`).

    Raises Failure when neither has it, or it is not what it should be.
    """
    if record is not None:
        own = settings.layout.artifact(settings.version)
        if _digest(own) == record.sha256:
            return read(own, settings, record.sha256)
        if not differences:
            return Artifact(None, record.sha256, record.manifest, record.lock)
    artifact = fetch(minion, settings)
    if record is not None and record.sha256 != artifact.sha256:
        raise _republished(settings, artifact.sha256, record)
    return artifact


def _republished(settings: Settings, sha256: str, record: Record) -> Failure:
    return Failure(
        f"{settings.source} is not what this host has as {settings.release}: SHA-256 {sha256}, here "
        f"{record.sha256}. A version never changes: publish the new content under a new version"
    )


def same_as_published(minion: Minion, settings: Settings, record: Record) -> str | None:
    """
    Whether the source still has what this host has of a release: by the checksum beside the artifact, or the setting
    ``checksum``. Returns None where it has, or why it could not be asked.

    Raises Failure where it has something else.
    """
    try:
        sha256 = (settings.checksum or _checksum_beside(minion, settings, ASKED_DEADLINE)).lower()
    except Failure as error:
        return f"whether {settings.source} still is what this host has could not be asked: {error}"
    if sha256 != record.sha256:
        raise _republished(settings, sha256, record)
    return None


def _digest(path: str) -> str | None:
    """The SHA-256 of a file; None where it cannot be read: it is as good as gone."""
    try:
        return files.sha256(path)
    except OSError:
        return None


def unpack(path: str, directory: str) -> None:
    """
    Unpack an artifact that :func:`read` has judged into a directory that is there and empty. Modes are the caller's
    business. Raises Failure: it is torn; OSError: it cannot be written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(directory)
    except OSError:
        raise
    except UNSOUND as error:
        raise unsound(path, error) from error
