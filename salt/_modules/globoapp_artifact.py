"""
The artifact of a version: where it comes from, whether it is what it should be, what it says.

An artifact is a flat zip with ``api.py``, ``manifest.json`` and the lock, beside it
``<artifact>.sha256``. A copy stays under the root: repairing and going back need no master.
"""

import io
import json
import os
import re
import shutil
import zipfile

from salt.exceptions import CommandExecutionError

MANIFEST, LOCK = "manifest.json", "requirements.lock"


def __virtual__():
    return "globoapp_artifact"


def stored(settings):
    """
    Where the host keeps its copy of the artifact.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_artifact.stored '{"root": "/opt/globoHUB/desafio", "name": "globoapp", "version": "1.0"}'
    """
    return os.path.join(settings["root"], ".globoapp", "artifacts", f"{settings['name']}-{settings['version']}.zip")


def available(settings):
    """
    The versions that the source offers, as far as it can be listed.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_artifact.available '{"source": "salt://globoapp-1.0.zip", "version": "1.0"}'
    """
    base, _, name = settings["source"].rpartition("/")
    if base.startswith("https:"):
        return []  # a raw repository has no listing that all of them speak
    base += "/" if base.endswith(":/") else ""
    pattern = re.compile(re.escape(name).replace(re.escape(settings["version"]), r"(\d+(?:\.\d+)+)") + r"\Z")
    found = (pattern.match(one) for one in __salt__["globoapp_fetch.listing"](settings, base))
    return sorted({match.group(1) for match in found if match}, key=_key)


def _key(version):
    return [int(part) for part in version.split(".")]


def fetch(settings):
    """
    The artifact of ``settings["version"]`` in Salt's cache, its checksum verified.

    Returns ``{"path", "sha256", "manifest": {...}, "lock": str}``. Raises CommandExecutionError when
    it is not there, does not match its checksum, or is no artifact.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_artifact.fetch "$SETTINGS"
    """
    source = settings["source"]
    expected = (settings.get("checksum") or _checksum_beside(settings, source)).lower()
    path = __salt__["globoapp_fetch.file"](settings, source, expected)
    return {"path": path, "sha256": expected, **read(path, settings)}


def _checksum_beside(settings, source):
    path = __salt__["globoapp_fetch.file"](settings, source + ".sha256")
    with open(path, encoding="ascii", errors="replace") as handle:
        text = handle.read()
    match = re.match(r"([0-9a-fA-F]{64})\b", text)
    if not match:
        raise CommandExecutionError(f"{source}.sha256 holds no SHA-256 but {text[:80]!r}")
    return match.group(1)


def read(path, settings):
    """
    What an artifact says of itself: ``{"manifest": {...}, "lock": str, "size": bytes unpacked}``.

    Raises CommandExecutionError naming everything that is wrong with it.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_artifact.read /opt/globoHUB/desafio/.globoapp/artifacts/globoapp-1.1.zip "$SETTINGS"
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            size = sum(info.file_size for info in archive.infolist())
            bad = [one for one in names if one.startswith("/") or ".." in one.split("/")]
            links = [info.filename for info in archive.infolist() if (info.external_attr >> 28) == 0xA]
            if bad or links:
                raise CommandExecutionError(f"{path} holds paths that no release may: {', '.join(bad + links)}")
            missing = [one for one in (MANIFEST, LOCK) if one not in names]
            if missing:
                raise CommandExecutionError(f"{path} is no artifact: it holds no {' and no '.join(missing)}")
            manifest = json.load(io.TextIOWrapper(archive.open(MANIFEST), encoding="utf-8"))
            lock = archive.read(LOCK).decode()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise CommandExecutionError(f"{path} cannot be read as an artifact: {error}") from error
    problems = list(_manifest_problems(manifest, settings))
    if problems:
        raise CommandExecutionError(f"{settings['source']}: " + "; ".join(problems))
    return {"manifest": manifest, "lock": lock, "size": size}


def _manifest_problems(manifest, settings):
    if not isinstance(manifest, dict):
        yield f"{MANIFEST} is no JSON object"
        return
    for key in ("name", "version"):
        if manifest.get(key) != settings[key]:
            yield f"{MANIFEST} says {key} {manifest.get(key)!r}, wanted {settings[key]!r}"
    if not re.match(r"[\w.]+:[\w.]+\Z", str(manifest.get("wsgi"))):
        yield f"{MANIFEST} says wsgi {manifest.get('wsgi')!r}: module:callable"
    for key in ("workers", "threads"):
        if not isinstance(manifest.get(key, 1), int) or manifest.get(key, 1) < 1:
            yield f"{MANIFEST} says {key} {manifest[key]!r}: a whole number from 1"
    health = manifest.get("health")
    if not isinstance(health, dict) or not str(health.get("path", "")).startswith("/"):
        yield f"{MANIFEST} says health {health!r}: a path that begins with /, a status, perhaps json"


def store(settings, artifact):
    """
    Keep a copy under the root, durably. Returns its path.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_artifact.store "$SETTINGS" "$ARTIFACT"
    """
    target = stored(settings)
    os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    if artifact["path"] != target:
        temporary = target + ".part"
        shutil.copyfile(artifact["path"], temporary)
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
        __utils__["globoapp_files.sync_directory"](os.path.dirname(target))
    return target
