"""
Files that survive a power cut, and the digest that proves a directory unchanged.

The order that makes a write durable: the file's bytes, then the rename, then the directory that
holds the name (rename(2) and fsync(2); a rename alone may be on disk before the bytes are).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# The link to the virtualenv is looked at by itself. Byte code is content: Python would run it in the source's place.
NOT_CONTENT = {".venv"}


def sync_directory(path: str) -> None:
    """
    Flush a directory, so that a name created, renamed or removed in it outlives a power cut.

    path
        A directory that exists. Raises OSError when it does not.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: str, mode: int = 0o755) -> None:
    """
    Make a directory that outlives a power cut, and its parents that are missing, all with ``mode`` whatever the umask
    is. One that exists is left as it is.

    Raises OSError (FileExistsError: something else has that name).
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(os.path.abspath(path))
    make_directory(parent, mode)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if os.path.isdir(path):  # somebody else made it meanwhile
            return
        raise
    os.chmod(path, mode)
    sync_directory(parent)


def write(path: str, text: str, mode: int = 0o644) -> None:
    """
    Replace a file atomically and durably: readers see the old text or the new, never a part.

    path
        The file; its directory must exist.
    text
        str, written as UTF-8.
    mode
        Permission bits of the result.
    """
    directory = os.path.dirname(path)
    # The name tells whose it is when a cut leaves it behind: other apps' files are in the same directories.
    fd, temporary = tempfile.mkstemp(prefix=f".write-{os.path.basename(path)}-", dir=directory)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)  # for `is_being_written`; it goes with the process, however that ends
            handle.write(text)
            handle.flush()
            os.fchmod(handle.fileno(), mode)
            os.fsync(handle.fileno())
            os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(directory)


def is_being_written(temporary: str) -> bool:
    """Whether the writer of a temporary file that :func:`write` has made lives: what it wrote is not left behind."""
    try:
        with open(temporary, "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return True
    except OSError:  # a directory, say: not by `write`
        return False
    return False


def write_json(path: str, data: Any, mode: int = 0o644) -> None:
    """Write ``data`` as one JSON document, by :func:`write`."""
    write(path, json.dumps(data, indent=1, sort_keys=True) + "\n", mode)


def link(path: str, target: str) -> bool:
    """
    Make a symlink, or lead one somewhere else: atomically and durably, it is never gone. Returns whether it changed.
    """
    if os.path.islink(path) and os.readlink(path) == target:
        return False
    fresh = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):  # left by a cut
        os.unlink(fresh)
    os.symlink(target, fresh)
    os.replace(fresh, path)
    sync_directory(os.path.dirname(path))
    return True


def read(path: str) -> str | None:
    """The text of a file, bytes that are no UTF-8 replaced; None when there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def read_json(path: str) -> Any:
    """
    The JSON document in ``path``; None when there is no such file.

    Raises ValueError when the file is there and is not JSON.
    """
    text = read(path)
    return None if text is None else json.loads(text)


def append_line(path: str, line: str, mode: int = 0o644) -> None:
    """
    Append one line durably. A last line that a power cut left without its end is closed first,
    so that the new line is never glued to it.
    """
    created = not os.path.exists(path)
    with open(path, "ab+") as handle:
        if handle.seek(0, os.SEEK_END):
            handle.seek(-1, os.SEEK_END)
            if handle.read(1) != b"\n":
                handle.write(b"\n")
        handle.write(line.encode() + b"\n")
        handle.flush()
        os.fchmod(handle.fileno(), mode)
        os.fsync(handle.fileno())
    if created:
        sync_directory(os.path.dirname(path))


def sync_tree(path: str) -> None:
    """Flush every file and directory below ``path``, and ``path`` itself."""
    # The writing of all begins first: a file system with a journal then has few commits to wait for, not one a file.
    _each_file(path, lambda fd: os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED))
    _each_file(path, os.fsync)
    for directory, _, _ in os.walk(path):
        sync_directory(directory)


def _each_file(path: str, do: Callable[[int], object]) -> None:
    """Call a function with a descriptor of every file below ``path``."""
    for directory, _, names in os.walk(path):
        for full in (os.path.join(directory, name) for name in names):
            if not os.path.islink(full):
                fd = os.open(full, os.O_RDONLY)
                try:
                    do(fd)
                finally:
                    os.close(fd)


def remove_tree(path: str) -> None:
    """
    Remove a directory so that it is never half there under its own name: it is renamed to
    ``.trash-<name>`` beside itself first. What a cut leaves is swept by the next deploy.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        return
    parent, name = os.path.split(path.rstrip("/"))
    trash = os.path.join(parent, f".trash-{name}")
    shutil.rmtree(trash, ignore_errors=True)
    os.rename(path, trash)
    sync_directory(parent)
    shutil.rmtree(trash)


def sha256(path: str) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def contents(path: str) -> dict[str, str]:
    """
    What a directory holds: ``{relative path: sha256}``; a link's value is ``link:<target>``.
    The link to the virtualenv is no content.
    """
    found = {}
    for directory, names, files in os.walk(path):
        names[:] = [name for name in names if name not in NOT_CONTENT]
        for name in files + [n for n in names if os.path.islink(os.path.join(directory, n))]:
            full = os.path.join(directory, name)
            relative = os.path.relpath(full, path)
            if name in NOT_CONTENT:
                continue
            if os.path.islink(full):
                found[relative] = "link:" + os.readlink(full)
            else:
                found[relative] = sha256(full)
    return found


def nearest(path: str) -> str:
    """``path``, or its nearest parent that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def noexec(path: str) -> str:
    """The nearest parent of ``path`` that exists, where its file system is mounted noexec; else empty."""
    there = nearest(path)
    return there if os.statvfs(there).f_flag & os.ST_NOEXEC else ""


def free_bytes(path: str) -> int:
    """Bytes that root may still write on the file system of ``path`` or of its nearest parent that exists."""
    return shutil.disk_usage(nearest(path)).free


def is_read_only(path: str) -> bool:
    """Whether the file system of ``path``, or of its nearest parent that exists, is mounted read-only there."""
    return bool(os.statvfs(nearest(path)).f_flag & os.ST_RDONLY)


@dataclass(frozen=True)
class Inodes:
    """How many files a file system can hold, and how many more."""

    all: int
    free: int


def inodes(path: str) -> Inodes | None:
    """The inodes of the file system of ``path`` or of its nearest parent that exists; None where none are counted."""
    seen = os.statvfs(nearest(path))
    return Inodes(seen.f_files, seen.f_favail) if seen.f_files else None
