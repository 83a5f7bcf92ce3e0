"""
Releases on the host: ``<root>/PACKX_Y``, complete or absent, and what each was made of.

``<root>/.globoapp/releases/PACKX_Y.json`` records the SHA-256 of every file at the time it was unpacked, the artifact
that it came from, the virtualenv, and whether it has failed.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from globolib import artifact as artifacts
from globolib import files, ledger, processes
from globolib import manifest as manifests
from globolib.artifact import Artifact
from globolib.errors import Failure
from globolib.host import Failed, Record
from globolib.layout import RELEASE, Layout, order, version_of
from globolib.settings import Settings

# Whom a release belongs to (uid, gid), and with which modes: nothing of it is inherited from umask or parent.
OWNER = (0, 0)
DIRECTORY, FILE = 0o755, 0o644
LINK = ".venv"


def record(layout: Layout, release: str) -> Record | None:
    """
    What is known of a release; None when it is not complete on this host, or what is known of it cannot be read:
    such a release is put in place anew.
    """
    data = _data(layout, release)
    return None if data is None else _parsed(data)


def records(layout: Layout) -> dict[str, Record]:
    """The releases that are complete on this host, oldest version first."""
    names = [name for name in os.listdir(layout.root) if RELEASE.match(name)] if os.path.isdir(layout.root) else []
    known = {name: record(layout, name) for name in sorted(names, key=lambda name: order(version_of(name)))}
    return {name: details for name, details in known.items() if details is not None}


def annotate(layout: Layout, release: str, failed: Failed | None) -> None:
    """Mark a release as failed, or take the mark away. A release that is gone gets none."""
    data = _data(layout, release)
    if data is None:
        return
    changed = {key: value for key, value in data.items() if key != "failed"}
    if failed is not None:
        changed["failed"] = {"time": failed.time, "why": failed.why, "log": failed.log}
    if changed != data:
        files.write_json(layout.record(release), changed)


def _data(layout: Layout, release: str) -> dict[str, Any] | None:
    path = layout.release(release)
    if os.path.islink(path) or not os.path.isdir(path):
        return None
    try:
        data = files.read_json(layout.record(release))
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _parsed(data: Mapping[str, Any]) -> Record | None:
    manifest, contents, failed = data.get("manifest"), data.get("contents"), data.get("failed")
    texts = [data.get(key) for key in ("version", "sha256", "lock", "virtualenv")]
    if not isinstance(contents, dict) or not all(isinstance(value, str) for value in texts):
        return None
    if not isinstance(manifest, dict) or manifests.problems(manifest, str(manifest.get("name")), data["version"]):
        return None
    return Record(
        version=data["version"],
        sha256=data["sha256"],
        contents=contents,
        manifest=manifests.parsed(manifest),
        lock=data["lock"],
        virtualenv=data["virtualenv"],
        unpacked=str(data.get("unpacked", "")),
        failed=Failed(*(str(failed.get(key, "")) for key in ("time", "why", "log")))
        if isinstance(failed, dict)
        else None,
    )


def differences(layout: Layout, release: str, record: Record | None) -> tuple[str, ...]:
    """
    How a release differs from what was unpacked (its record): phrases, none when it does not. Contents by their
    SHA-256, and owner and mode of each file and directory.
    """
    path = layout.release(release)
    if os.path.islink(path):
        return ("it is a link, not a directory that was unpacked",)
    if record is None:
        return ("there is no record of what it was made of" if os.path.isdir(path) else "it is not on this host",)
    wrong = []
    contents, directories, wanted = files.contents(path), _directories(path), _above(record.contents)
    for name in sorted({*contents, *record.contents, *(directories - wanted - _above(contents))}):
        if name not in record.contents:
            wrong.append(f"{name} does not belong there")
        elif name not in contents:
            wrong.append(f"{name} is missing")
        elif contents[name] != record.contents[name]:
            wrong.append(f"{name} was changed")
    for name in ["", *sorted(wanted), *record.contents]:
        wrong += _ownership(path, name, release)
    link = os.path.join(path, LINK)
    target = os.readlink(link) if os.path.islink(link) else None
    if target != record.virtualenv:
        wrong.append(f"{LINK} points to {target} instead of {record.virtualenv}")
    return tuple(wrong)


def _ownership(path: str, name: str, release: str) -> list[str]:
    """How owner and mode of a part of a release are wrong."""
    full = os.path.join(path, name)
    if not os.path.lexists(full) or os.path.islink(full):  # told as missing, or as changed
        return []
    info = os.stat(full)
    mode = DIRECTORY if stat.S_ISDIR(info.st_mode) else FILE
    if (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (*OWNER, mode):
        return []
    return [
        f"{name or release} has owner {info.st_uid}:{info.st_gid} and mode {stat.S_IMODE(info.st_mode):04o} "
        f"instead of {OWNER[0]}:{OWNER[1]} and {mode:04o}"
    ]


def _directories(path: str) -> set[str]:
    """The directories below ``path``, relative to it; links, and what is no content, are none."""
    below = set()
    for parent, names, _ in os.walk(path):
        names[:] = [
            name for name in names if name not in files.NOT_CONTENT and not os.path.islink(os.path.join(parent, name))
        ]
        below |= {os.path.relpath(os.path.join(parent, name), path) for name in names}
    return below


def _above(names: Iterable[str]) -> set[str]:
    """The directories that hold files with these relative paths."""
    return {parent for name in names for parent in _parents(name)}


def _parents(name: str) -> Iterator[str]:
    while name := os.path.dirname(name):
        yield name


def unpack(settings: Settings, artifact: Artifact, virtualenv: str) -> list[str]:
    """
    Put a release in place from its artifact: complete in a directory of another name first, then renamed. One that is
    there and differs is made right again file by file, so that what runs out of it never sees it gone; files that do
    not belong go to ``.globoapp/aside``.

    virtualenv
        The directory that its link leads to.

    Returns what was done: phrases. Raises Failure: something else has its name, the artifact is gone or torn, or the
    disk does not take it; a new release is not there then.
    """
    layout, release = settings.layout, settings.release
    target, incoming = layout.release(release), layout.incoming(release)
    if os.path.islink(target) or (os.path.lexists(target) and not os.path.isdir(target)):
        raise Failure(f"{target} is no directory that was unpacked: move it away, then deploy again")
    before = record(layout, release)
    try:
        if artifact.path is None:
            return _relink(layout, release, before, virtualenv)
        kept = artifacts.store(settings, artifact)
        _clear(incoming)
        try:
            contents = _prepare(kept, incoming, virtualenv)
            files.make_directory(layout.records)
            files.write_json(layout.record(release), _record_data(settings, artifact, contents, virtualenv))
            if not os.path.isdir(target):
                os.rename(incoming, target)
                done = [f"{target} was unpacked"]
            else:
                done = list(differences(layout, release, record(layout, release)))
                _make_right(layout, release, contents)
        finally:  # on a full disk, what was unpacked would keep it full
            _clear(incoming)
        files.sync_directory(layout.root)
    except OSError as error:
        raise Failure(f"{target} could not be unpacked: {error.strerror or error}") from error
    return done


def _record_data(
    settings: Settings, artifact: Artifact, contents: Mapping[str, str], virtualenv: str
) -> dict[str, Any]:
    """What a record holds on the disk. Since when the release is here, and that it failed, outlives a repair."""
    before = _data(settings.layout, settings.release) or {}
    return {
        "version": settings.version,
        "sha256": artifact.sha256,
        "contents": dict(contents),
        "manifest": artifact.manifest.data,
        "lock": artifact.lock,
        "virtualenv": virtualenv,
        "unpacked": before.get("unpacked") or ledger.now(),
        **({"failed": before["failed"]} if before.get("failed") else {}),
    }


def _prepare(path: str, incoming: str, virtualenv: str) -> dict[str, str]:
    """Unpack an artifact to ``incoming``, with owners, modes and link, on the disk. Returns its contents."""
    os.mkdir(incoming)
    artifacts.unpack(path, incoming)
    _own(incoming, DIRECTORY)
    for parent, names, file_names in os.walk(incoming):
        for name in names:
            _own(os.path.join(parent, name), DIRECTORY)
        for name in file_names:
            _own(os.path.join(parent, name), FILE)
    contents = files.contents(incoming)
    for name in _directories(incoming) - _above(contents):  # an empty directory is nothing that could be recorded
        shutil.rmtree(os.path.join(incoming, name), ignore_errors=True)
    os.symlink(virtualenv, os.path.join(incoming, LINK))
    files.sync_tree(incoming)
    return contents


def _own(path: str, mode: int) -> None:
    os.chown(path, *OWNER)
    os.chmod(path, mode)


def _clear(incoming: str) -> None:
    """Remove what an earlier run that was cut has left: a directory, or a link."""
    if os.path.islink(incoming):
        os.unlink(incoming)
    shutil.rmtree(incoming, ignore_errors=True)


def _relink(layout: Layout, release: str, before: Record | None, virtualenv: str) -> list[str]:
    """Lead the link of a release to another virtualenv, where its artifact is gone and it is else what it was."""
    path, data = layout.release(release), _data(layout, release)
    wrong = differences(layout, release, before)
    if data is None or [phrase for phrase in wrong if not phrase.startswith(f"{LINK} points to ")]:
        raise Failure(f"{path} cannot be repaired, its artifact is gone: {', '.join(wrong)}; deploy again")
    files.write_json(layout.record(release), {**data, "virtualenv": virtualenv})
    done = list(differences(layout, release, record(layout, release)))
    incoming = layout.incoming(release)
    _clear(incoming)
    os.symlink(virtualenv, incoming)
    os.replace(incoming, os.path.join(path, LINK))
    files.sync_directory(path)
    return done


def _make_right(layout: Layout, release: str, contents: Mapping[str, str]) -> None:
    """Replace what differs one file at a time; each replacement is one rename."""
    target, incoming = layout.release(release), layout.incoming(release)
    aside, wanted = os.path.join(layout.aside, f"{release}-{ledger.now()}"), _above(contents)
    # Whole directories first, then single files: each is moved, nothing is lost.
    for name in sorted(_directories(target) - wanted):
        _move(target, name, aside)
    for name in files.contents(target):
        if name not in contents:
            _move(target, name, aside)
    if not os.path.islink(os.path.join(target, LINK)):
        _move(target, LINK, aside)
    _own(target, DIRECTORY)
    for name in sorted(wanted):
        files.make_directory(os.path.join(target, name), DIRECTORY)
        _own(os.path.join(target, name), DIRECTORY)
    for name in [*contents, LINK]:
        os.replace(os.path.join(incoming, name), os.path.join(target, name))
    files.sync_tree(target)


def _move(target: str, name: str, aside: str) -> None:
    """Move a part of a release aside, unless it has gone with the directory that held it."""
    if os.path.lexists(os.path.join(target, name)):
        files.make_directory(os.path.dirname(os.path.join(aside, name)), 0o700)
        os.rename(os.path.join(target, name), os.path.join(aside, name))


def remove(settings: Settings, release: str) -> None:
    """
    Take a release off the host, with its environment, its artifact and its record: the record last, by which a
    removal that was cut is known.

    Raises Failure when a process runs out of it, or the name is not that of a release.
    """
    layout = settings.layout
    if not RELEASE.match(release):
        raise Failure(f"{release!r} is no release: PACKX_Y")
    path = layout.release(release)
    pids = processes.in_use(path)
    if pids:
        raise Failure(f"{path} is in use by process {pids[0]}: it stays")
    files.remove_tree(path)
    for file in (
        layout.environment(release),
        layout.started(release),
        layout.artifact(version_of(release)),
        layout.record(release),
    ):
        if os.path.exists(file):
            os.unlink(file)
