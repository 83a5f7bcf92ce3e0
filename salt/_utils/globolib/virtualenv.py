"""
A virtualenv per lock: ``<root>/virtualenvs/<lock>-<interpreter>``, shared by releases with one lock.

Built in place (virtualenvs don't move), from wheels only, hashes required, without a package index. It counts only
with its mark ``.complete``, written last, and with all that the mark lists: what a crash leaves, or somebody has
changed, is built again. What it replaces is put aside and comes back where the build fails. The core states cannot
say that: virtualenv.managed leaves a directory behind when a hash is wrong, and reports it as there on the next run.
"""

import json
import logging
import os
import re
import shutil
import stat
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from globolib import commands, files, lockfile, processes, text, wheelhouse
from globolib.errors import Failure
from globolib.layout import Layout
from globolib.minion import Minion
from globolib.settings import Settings

log = logging.getLogger(__name__)

COMPLETE = ".complete"
OLD, BUILD = ".old-", ".build-"
DEADLINE = 600.0  # seconds for each command of a build: pip takes 5 for the 2020 pins, where disks are slow 60
_QUESTION = """
import importlib.util, json, platform, sys
venv = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
print(json.dumps({"tag": sys.implementation.cache_tag, "version": platform.python_version(), "venv": venv}))
"""


@dataclass(frozen=True)
class Interpreter:
    """``tag`` is its cache tag (``cpython-311``, PEP 3147); ``venv``: it can make virtualenvs by itself."""

    tag: str
    version: str
    venv: bool


@dataclass(frozen=True)
class Built:
    """The directory of a virtualenv; whether it was built just now, and by what (``uv`` or ``pip``)."""

    path: str
    built: bool
    installer: str | None = None


_known: dict[tuple[str, int, int], Interpreter] = {}


def interpreter(python: str) -> Interpreter:
    """
    What an interpreter is. Starting it is slow: it is asked once, until the file behind ``python`` is another one.

    Raises Failure when it does not run.
    """
    try:
        real = os.path.realpath(python)
        info = os.stat(real)
    except OSError as error:
        raise Failure(f"{python} does not run: {error.strerror}") from error
    key = (real, info.st_ino, info.st_mtime_ns)
    if key not in _known:
        answer = _asked(python)
        if not answer.venv:  # python3-venv may be installed at any time, and changes nothing of the file
            return answer
        _known[key] = answer
    return _known[key]


def _asked(python: str) -> Interpreter:
    said = commands.run([python, "-I", "-c", _QUESTION], deadline=30, shown=1).stdout
    try:
        data = json.loads(said)
        answer = Interpreter(str(data["tag"]), str(data["version"]), bool(data["venv"]))
    except (ValueError, LookupError, TypeError):
        raise Failure(f"{python} does not run as a Python: it says {text.line(said, 100)!r}") from None
    # Both become names, of a directory and in a marker.
    if not re.fullmatch(r"[\w-]+", answer.tag) or not re.match(r"\d+\.\d+", answer.version):
        raise Failure(f"{python} does not run as a Python: it says {text.line(said, 100)!r}")
    return answer


def name(lock: str, interpreter: Interpreter) -> str:
    """The name of the virtualenv of a lock (its text): ``0123456789ab-cp311``."""
    return f"{lockfile.digest(lock)[:12]}-{interpreter.tag.replace('cpython-', 'cp')}"


def _listing(path: str) -> dict[str, str | list[int]]:
    """Every file of a virtualenv: ``{relative path: [mode, size, time of change in ns]}``, or a link's target."""
    listing: dict[str, str | list[int]] = {}
    directories = [""]
    while directories:
        directory = directories.pop()
        # A deploy asks for thousands of files: scandir(3) spares os.walk's second look at each.
        with os.scandir(os.path.join(path, directory)) as entries:
            for entry in entries:
                relative = f"{directory}{entry.name}"
                if entry.is_symlink():
                    listing[relative] = os.readlink(entry.path)
                elif entry.is_dir():
                    directories.append(f"{relative}/")
                else:
                    info = entry.stat(follow_symlinks=False)
                    listing[relative] = [stat.S_IMODE(info.st_mode), info.st_size, info.st_mtime_ns]
    listing.pop(COMPLETE, None)
    return listing


def differences(path: str) -> tuple[str, ...]:
    """
    How a virtualenv differs from what was built: phrases, none when it does not. By mode, size and time of change of
    its files, as a deploy asks for this more than once; by what is in them where only the time is another one, as
    after a restore from a backup.
    """
    try:
        mark = files.read_json(os.path.join(path, COMPLETE))
    except (OSError, ValueError, RecursionError):
        mark = None
    built = mark.get("contents") if isinstance(mark, dict) else None
    if not isinstance(built, dict) or not os.path.exists(os.path.join(path, "bin/python")):
        return (f"the virtualenv {path} is not complete",)
    listing = _listing(path)
    wrong = sorted(file for file in {*listing, *built} if not _same(path, file, listing.get(file), built.get(file)))
    words = [
        f"{file} "
        + ("is missing" if file not in listing else "was changed" if file in built else "does not belong there")
        for file in wrong[:3]
    ]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return (f"the virtualenv {path} is not what was built: {', '.join(words)}{more}",) if wrong else ()


def _same(path: str, file: str, here: str | list[int] | None, built: Any) -> bool:
    """Whether a file is what the mark says: ``[mode, size, time of change in ns, SHA-256]``, or a link's target."""
    if not isinstance(here, list) or not isinstance(built, list) or here[:2] != built[:2]:
        return bool(here == built)
    if here == built[:3]:
        return True
    if len(built) > 3:
        return bool(files.sha256(os.path.join(path, file)) == built[3])
    # A mark of before there was a SHA-256 in it. tar, rsync and cp may keep whole seconds only.
    return bool(here[2] == built[2] // 10**9 * 10**9)


def installer(minion: Minion, settings: Settings, interpreter: Interpreter) -> str:
    """What would build a virtualenv here: ``"uv"`` or ``"pip"``. Raises Failure when nothing can."""
    return _installer(minion, settings, interpreter, {})[0]


def _installer(
    minion: Minion, settings: Settings, interpreter: Interpreter, offered: wheelhouse.Offer
) -> tuple[str, str | None]:
    """What builds a virtualenv here, and the program or wheel that uv comes from."""
    why = ""
    if settings.installer in ("auto", "uv"):
        own = shutil.which("uv")
        if own:
            return "uv", own
        try:
            return "uv", wheelhouse.uv_wheel(minion, settings, offered or wheelhouse.offer(minion, settings))
        except Failure as error:
            why = str(error)
            log.info("no uv: %s", why)
    if settings.installer == "uv":
        raise Failure(f"installer is uv: there is none on this host and none at {settings.wheels}: {why}")
    if not interpreter.venv:
        raise Failure(
            f"{settings.python} cannot make a virtualenv: install python3-venv, or serve a uv wheel at "
            f"{settings.wheels} (make wheels){': ' if why else ''}{why}"
        )
    return "pip", None


def build(minion: Minion, settings: Settings, lock: str, interpreter: Interpreter) -> Built:
    """
    Build the virtualenv of a lock (its text), unless it is there complete.

    Every wheel is fetched and compared with the lock first; then what is there is put aside, and put back where the
    build fails. Raises Failure when a wheel is missing, a hash is wrong, or the disk does not take it.
    """
    layout = settings.layout
    path = layout.virtualenv(name(lock, interpreter))
    if not differences(path):
        return Built(path, built=False)
    offered = wheelhouse.offer(minion, settings)
    tool, source = _installer(minion, settings, interpreter, offered)
    wheels = wheelhouse.wheels(minion, settings, lock, interpreter.version, offered)
    scratch = layout.virtualenv(BUILD + os.path.basename(path))
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        files.make_directory(scratch)
        for wheel in wheels:
            os.symlink(wheel, os.path.join(scratch, os.path.basename(wheel)))
        lock_file = os.path.join(scratch, "requirements.lock")
        files.write(lock_file, lock)
        uv = wheelhouse.uv_program(layout, source) if source else None
        _replace(path, uv, settings.python, lock_file, scratch)
    except OSError as error:
        raise Failure(f"{path} could not be built: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Built(path, built=True, installer=tool)


def _replace(path: str, uv: str | None, python: str, lock_file: str, wheels: str) -> None:
    """Build a virtualenv where another one may be, which is put back where that fails."""
    old = os.path.join(os.path.dirname(path), OLD + os.path.basename(path))
    if os.path.exists(os.path.join(path, COMPLETE)):  # what is aside from an earlier build is not needed any more
        shutil.rmtree(old, ignore_errors=True)
    if os.path.isdir(old):  # a build that was cut: what was there before it counts, not what it has begun
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.isdir(path):
        os.rename(path, old)
    try:
        for command in _commands(path, uv, python, lock_file, wheels):
            commands.run(command, deadline=DEADLINE, shown=4)
        _mark(path, lock_file, "uv" if uv else "pip")
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        if os.path.isdir(old):
            os.rename(old, path)
        raise
    files.remove_tree(old)


def _commands(path: str, uv: str | None, python: str, lock_file: str, wheels: str) -> list[list[str]]:
    """What makes a virtualenv and installs a lock in it: with hashes, and from a directory of wheels only."""
    inside = os.path.join(path, "bin/python")
    install = ["--no-index", "--find-links", wheels, "--require-hashes", "-r", lock_file]
    if uv:
        quiet = ["--offline", "--no-cache", "--no-config", "--quiet"]
        modes = ["--compile-bytecode", "--link-mode=copy"]
        return [
            [uv, "venv", *quiet, "--no-project", "--python", python, path],
            [uv, "pip", "install", *quiet, "--python", inside, *modes, *install],
        ]
    return [
        [python, "-m", "venv", path],
        [inside, "-m", "pip", "--isolated", "install", "--quiet", "--no-cache-dir", *install],
    ]


def _mark(path: str, lock_file: str, tool: str) -> None:
    """Say that a virtualenv is complete, and what it is: once all of it is on the disk."""
    files.sync_tree(path)
    contents = {
        file: [*here, files.sha256(os.path.join(path, file))] if isinstance(here, list) else here
        for file, here in _listing(path).items()
    }
    mark = {"lock": files.sha256(lock_file), "installer": tool, "contents": contents}
    files.write_json(os.path.join(path, COMPLETE), mark)
    files.sync_directory(os.path.dirname(path))


def sweep(layout: Layout, used: Collection[str]) -> list[str]:
    """
    Remove virtualenvs that no release uses and what a cut build left.

    used
        The directories that releases link to, or their names.

    Returns the names that went. A virtualenv that a process runs out of stays, and what a cut build put aside as long
    as the virtualenv that it was is used and not complete.
    """
    names_used = {os.path.basename(path) for path in used}
    gone = []
    for entry in sorted(os.listdir(layout.virtualenvs)) if os.path.isdir(layout.virtualenvs) else []:
        path = layout.virtualenv(entry)
        kept_for = entry.removeprefix(OLD) if entry.startswith(OLD) else None
        if entry in names_used or wheelhouse.is_pinned_uv(entry):
            continue
        if kept_for in names_used and differences(layout.virtualenv(str(kept_for))):
            continue
        if os.path.islink(path) or not os.path.isdir(path):
            if not entry.startswith((wheelhouse.UV, ".write-")) and not entry.endswith((".part", ".lock")):
                continue  # nothing that this tree makes
            os.unlink(path)
        elif entry.startswith((".trash-", BUILD)):
            shutil.rmtree(path)
        elif processes.in_use(path):
            continue
        else:
            files.remove_tree(path)
        gone.append(entry)
    return gone
