"""
A virtualenv per lock: ``<root>/virtualenvs/<lock>-<interpreter>``, shared by releases with one lock.

Built in place (virtualenvs don't move), from wheels only, hashes required, without a package index.
It counts only with its mark ``.complete``, written last, and with all that the mark lists: what a
crash leaves, or somebody has changed, is built again. The core states cannot say that:
virtualenv.managed leaves a directory behind when a hash is wrong, and reports it as there on the
next run.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import zipfile

from salt.exceptions import CommandExecutionError

COMPLETE = ".complete"


def __virtual__():
    return "globoapp_virtualenv"


def _run(*command, env=None):
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        umask=0o022,
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/root", "LANG": "C.UTF-8", **(env or {})},
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-2000:]
        raise CommandExecutionError(f"{' '.join(command[:4])} ...: exit {done.returncode}: {words}")
    return done.stdout.strip()


def interpreter(python):
    """
    What an interpreter is: ``{"tag": "cpython-311", "version": "3.11.2", "venv": bool}`` (venv: it can
    make virtualenvs). Raises CommandExecutionError when it does not run.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_virtualenv.interpreter /usr/bin/python3
    """
    code = (
        "import importlib.util as u, json, platform, sys;"
        "print(json.dumps({'tag': sys.implementation.cache_tag, 'version': platform.python_version(),"
        "'venv': all(u.find_spec(m) for m in ('venv', 'ensurepip'))}))"
    )
    try:
        return json.loads(_run(python, "-I", "-c", code))
    except OSError as error:
        raise CommandExecutionError(f"{python} does not run: {error}") from error


def location(settings, lock):
    """
    The directory for a lock (its text) under this host's interpreter.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_virtualenv.location "$SETTINGS" "$LOCK"
    """
    tag = interpreter(settings["python"])["tag"].replace("cpython-", "cp")
    digest = hashlib.sha256(lock.encode()).hexdigest()[:12]
    return os.path.join(settings["root"], "virtualenvs", f"{digest}-{tag}")


def _listing(path):
    """Every file of a virtualenv: ``{relative path: [mode, size, time of change in ns]}``, or a link's target."""
    found = {}
    for directory, names, files in os.walk(path):
        for name in files + [one for one in names if os.path.islink(os.path.join(directory, one))]:
            full = os.path.join(directory, name)
            info = os.lstat(full)
            told = [stat.S_IMODE(info.st_mode), info.st_size, info.st_mtime_ns]
            found[os.path.relpath(full, path)] = os.readlink(full) if stat.S_ISLNK(info.st_mode) else told
    found.pop(COMPLETE, None)
    return found


def differences(path):
    """
    How a virtualenv differs from what was built: a list of phrases, empty when it does not. By mode, size
    and time of change of its files, not by what is in them: a deploy asks for this more than once.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_virtualenv.differences /opt/globoHUB/desafio/virtualenvs/0123456789ab-cp311
    """
    try:
        mark = __utils__["globoapp_files.read_json"](f"{path}/{COMPLETE}")
    except ValueError:
        mark = None
    if not mark or not os.path.exists(f"{path}/bin/python"):
        return [f"the virtualenv {path} is not complete"]
    found, built = _listing(path), mark.get("contents", {})
    wrong = sorted(one for one in {*found, *built} if found.get(one) != built.get(one))
    words = [
        f"{one} " + ("is missing" if one not in found else "was changed" if one in built else "does not belong there")
        for one in wrong[:3]
    ]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return [f"the virtualenv {path} is not what was built: {', '.join(words)}{more}"] if wrong else []


def complete(path):
    """
    Whether a virtualenv was built to its end and is still what was built.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_virtualenv.complete /opt/globoHUB/desafio/virtualenvs/0123456789ab-cp311
    """
    return not differences(path)


def installer(settings):
    """
    What would build a virtualenv here: ``"uv"`` or ``"pip"``. Raises CommandExecutionError when nothing can.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_virtualenv.installer '{"installer": "auto", "python": "/usr/bin/python3", "wheels": "salt://wheels"}'
    """
    if settings["installer"] in ("auto", "uv") and (shutil.which("uv") or _uv_wheel(settings)):
        return "uv"
    if settings["installer"] == "uv":
        raise CommandExecutionError(f"installer is uv: there is none on this host and none at {settings['wheels']}")
    if not interpreter(settings["python"])["venv"]:
        raise CommandExecutionError(
            f"{settings['python']} cannot make a virtualenv: install python3-venv, or serve a uv wheel at "
            f"{settings['wheels']} (make wheels)"
        )
    return "pip"


def _wheelhouse(settings):
    """The wheels that the wheelhouse offers: ``{file name: sha256 or None}``."""
    offered = __salt__["globoapp_fetch.listing"](settings, settings["wheels"])
    return {name: digest for name, digest in offered.items() if name.endswith(".whl")}


def _uv_wheel(settings):
    return next((one for one in sorted(_wheelhouse(settings)) if re.match(r"uv-[^-]+-.*\.whl\Z", one)), None)


def _download(settings, names):
    """Fetch wheels to Salt's cache; the directory that holds them."""
    offered, directory = _wheelhouse(settings), None
    for name in names:
        url = f"{settings['wheels'].rstrip('/')}/{name}"
        directory = os.path.dirname(__salt__["globoapp_fetch.file"](settings, url, offered[name]))
    return directory


def _uv(settings):
    """The path of a uv: the host's own, else the one unpacked from the wheelhouse's wheel."""
    own = shutil.which("uv")
    if own:
        return own
    wheel = _uv_wheel(settings)
    target = os.path.join(settings["root"], "virtualenvs", f".{'-'.join(wheel.split('-')[:2])}")
    if not os.path.exists(target):
        with zipfile.ZipFile(os.path.join(_download(settings, [wheel]), wheel)) as archive:
            member = next(one for one in archive.namelist() if one.endswith(".data/scripts/uv"))
            with archive.open(member) as source, open(target + ".part", "wb") as binary:
                shutil.copyfileobj(source, binary)
                os.fchmod(binary.fileno(), 0o755)
                os.fsync(binary.fileno())
        os.replace(target + ".part", target)
    return target


def _wanted(settings, lock):
    """The wheels of the wheelhouse that a lock may want, by name and version."""
    pins = {
        (re.sub(r"[-_.]+", "_", name).lower(), version)
        for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, re.M)
    }
    split = {one: one.split("-") for one in _wheelhouse(settings)}
    wanted = [one for one in split if (split[one][0].lower(), split[one][1]) in pins]
    missing = pins - {(split[one][0].lower(), split[one][1]) for one in wanted}
    if missing:
        listed = ", ".join(sorted("==".join(pin) for pin in missing))
        raise CommandExecutionError(
            f"{settings['wheels']} has no wheel of {listed}: run make wheels where the master's files come from"
        )
    return wanted


def build(settings, lock):
    """
    Build the virtualenv of a lock, unless it is there complete.

    Returns ``{"path": str, "built": bool, "installer": "uv" or "pip" or None}``. Raises
    CommandExecutionError when a wheel is missing or a hash is wrong; nothing is left then.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_virtualenv.build "$SETTINGS" "$LOCK"
    """
    path = location(settings, lock)
    if complete(path):
        return {"path": path, "built": False, "installer": None}
    tool = installer(settings)
    wheels = _download(settings, _wanted(settings, lock))
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    lock_file = f"{path}.lock"
    __utils__["globoapp_files.write"](lock_file, lock)
    try:
        if tool == "uv":
            uv, quiet = _uv(settings), ("--offline", "--no-cache", "--no-config", "--quiet")
            _run(uv, "venv", *quiet, "--no-project", "--python", settings["python"], path)
            _run(
                uv,
                "pip",
                "install",
                *quiet,
                "--python",
                f"{path}/bin/python",
                "--no-index",
                "--find-links",
                wheels,
                "--require-hashes",
                "--compile-bytecode",
                "--link-mode=copy",
                "-r",
                lock_file,
            )
        else:
            _run(settings["python"], "-m", "venv", path)
            _run(
                f"{path}/bin/python",
                "-m",
                "pip",
                "--isolated",
                "install",
                "--quiet",
                "--no-index",
                "--no-cache-dir",
                "--find-links",
                wheels,
                "--require-hashes",
                "-r",
                lock_file,
            )
        __utils__["globoapp_files.sync_tree"](path)
        digest = hashlib.sha256(lock.encode()).hexdigest()
        mark = {"lock": digest, "installer": tool, "contents": _listing(path)}
        __utils__["globoapp_files.write_json"](f"{path}/{COMPLETE}", mark)
        __utils__["globoapp_files.sync_directory"](os.path.dirname(path))
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    finally:
        os.unlink(lock_file)
    return {"path": path, "built": True, "installer": tool}


def sweep(settings, used):
    """
    Remove virtualenvs that no release uses and what a cut build left.

    used
        The directories that releases link to.

    Returns the names that went.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_virtualenv.sweep '{"root": "/opt/globoHUB/desafio"}' '[]'
    """
    base = os.path.join(settings["root"], "virtualenvs")
    gone = []
    for name in sorted(os.listdir(base)) if os.path.isdir(base) else []:
        path = os.path.join(base, name)
        if name.startswith(".uv-") and not name.endswith(".part"):
            continue
        if name.startswith(".trash-") or name.endswith((".part", ".lock")):
            gone.append(name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        elif path not in used and not __utils__["globoapp_proc.holds_file_below"](path):
            gone.append(name)
            __utils__["globoapp_files.remove_tree"](path)
    return gone
