"""
Releases on the host: ``<root>/PACKX_Y``, complete or absent, and what each was made of.

``<root>/.globoapp/releases/PACKX_Y.json`` records the SHA-256 of every file at the time it was
unpacked, the artifact that it came from, the virtualenv, and whether it has failed.
"""

import os
import re
import shutil
import stat
import zipfile

from salt.exceptions import CommandExecutionError

DIRECTORY = re.compile(r"PACK\d+(_\d+){1,3}\Z")


def __virtual__():
    return "globoapp_release"


def directory(settings, release):
    """
    Where a release is.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_release.directory '{"root": "/opt/globoHUB/desafio"}' PACK1_0
    """
    return os.path.join(settings["root"], release)


def _record_path(settings, release):
    return os.path.join(settings["root"], ".globoapp", "releases", f"{release}.json")


def record(settings, release):
    """
    What is known of a release: ``{"version", "sha256", "contents", "manifest", "lock", "virtualenv",
    "unpacked", "failed"}``; None when it is not complete on this host.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_release.record '{"root": "/opt/globoHUB/desafio"}' PACK1_0
    """
    if not os.path.isdir(directory(settings, release)):
        return None
    return __utils__["globoapp_files.read_json"](_record_path(settings, release))


def annotate(settings, release, **facts):
    """
    Add facts to a release's record; a fact of None is taken away. A release that is gone gets none.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_release.annotate '{"root": "/opt/globoHUB/desafio"}' PACK1_0 failed=None
    """
    known = record(settings, release)
    if known is None:
        return
    changed = {**known, **facts}
    changed = {key: value for key, value in changed.items() if value is not None and not key.startswith("__")}
    if changed != known:
        __utils__["globoapp_files.write_json"](_record_path(settings, release), changed)


def names(settings):
    """
    The releases that are complete on this host, oldest version first.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_release.names '{"root": "/opt/globoHUB/desafio"}'
    """
    root = settings["root"]
    found = [one for one in os.listdir(root) if DIRECTORY.match(one)] if os.path.isdir(root) else []
    return sorted((one for one in found if record(settings, one)), key=lambda one: [int(n) for n in one[4:].split("_")])


def differences(settings, release):
    """
    How a release differs from what was unpacked: a list of phrases, empty when it does not.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_release.differences '{"root": "/opt/globoHUB/desafio"}' PACK1_0
    """
    known, path = record(settings, release), directory(settings, release)
    if known is None:
        return ["it is not on this host" if not os.path.isdir(path) else "there is no record of what it was made of"]
    found, wrong = __utils__["globoapp_files.contents"](path), []
    for name in sorted({*found, *known["contents"]}):
        if name not in found:
            wrong.append(f"{name} is missing")
        elif name not in known["contents"]:
            wrong.append(f"{name} does not belong there")
        elif found[name] != known["contents"][name]:
            wrong.append(f"{name} was changed")
    for name in ["", *known["contents"]]:
        full = os.path.join(path, name)
        if os.path.lexists(full) and not os.path.islink(full):
            info = os.stat(full)
            mode = 0o755 if stat.S_ISDIR(info.st_mode) else 0o644
            if (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) != (0, 0, mode):
                wrong.append(
                    f"{name or release} has owner {info.st_uid}:{info.st_gid} and mode "
                    f"{stat.S_IMODE(info.st_mode):04o} in place of 0:0 and {mode:04o}"
                )
    link = os.path.join(path, ".venv")
    target = os.readlink(link) if os.path.islink(link) else None
    if target != known["virtualenv"]:
        wrong.append(f".venv points to {target} in place of {known['virtualenv']}")
    return wrong


def unpack(settings, artifact, virtualenv):
    """
    Put a release in place from its artifact: complete in a directory of another name first, then
    renamed. One that is there and differs is made right again file by file, so that what runs out
    of it never sees it gone; files that do not belong go to ``.globoapp/aside``.

    Returns what was done: a list of phrases.

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_release.unpack "$SETTINGS" "$ARTIFACT" "$VIRTUALENV"
    """
    release = settings["release"]
    target = directory(settings, release)
    incoming = os.path.join(settings["root"], f".incoming-{release}")
    shutil.rmtree(incoming, ignore_errors=True)
    if artifact["path"] is None:  # the host's own copy is gone
        artifact = __salt__["globoapp_artifact.fetch"](settings)
    kept = artifact["path"]
    if kept != __salt__["globoapp_artifact.stored"](settings):
        kept = __salt__["globoapp_artifact.store"](settings, artifact)
    try:
        _extract(kept, incoming)
        os.symlink(virtualenv, os.path.join(incoming, ".venv"))
        contents = __utils__["globoapp_files.contents"](incoming)
        __utils__["globoapp_files.sync_tree"](incoming)
    except OSError:  # the disk is full: what was unpacked would keep it so
        shutil.rmtree(incoming, ignore_errors=True)
        raise
    before = record(settings, release) or {}
    made = {
        "version": settings["version"],
        "sha256": artifact["sha256"],
        "contents": contents,
        "manifest": artifact["manifest"],
        "lock": artifact["lock"],
        "virtualenv": virtualenv,
        "unpacked": before.get("unpacked") or __utils__["globoapp_ledger.now"](),
        **({"failed": before["failed"]} if before.get("failed") else {}),
    }
    os.makedirs(os.path.dirname(_record_path(settings, release)), 0o755, exist_ok=True)
    __utils__["globoapp_files.write_json"](_record_path(settings, release), made)
    if os.path.isdir(target):
        done = differences(settings, release)
        _make_right(settings, incoming, target, contents)
    else:
        os.rename(incoming, target)
        done = [f"{target} was unpacked"]
    __utils__["globoapp_files.sync_directory"](settings["root"])
    environment(settings, made["manifest"])
    return done


def _extract(path, incoming):
    os.mkdir(incoming, 0o755)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(incoming)
    for parent, names_, files in os.walk(incoming):
        for name in names_:
            os.chmod(os.path.join(parent, name), 0o755)
        for name in files:
            os.chmod(os.path.join(parent, name), 0o644)


def _make_right(settings, incoming, target, contents):
    """Replace what differs one file at a time; each replacement is one rename."""
    aside = os.path.join(
        settings["root"], ".globoapp", "aside", f"{os.path.basename(target)}-{__utils__['globoapp_ledger.now']()}"
    )
    for name in __utils__["globoapp_files.contents"](target):
        if name not in contents:
            os.makedirs(os.path.dirname(os.path.join(aside, name)), 0o700, exist_ok=True)
            os.rename(os.path.join(target, name), os.path.join(aside, name))
    os.chown(target, 0, 0)
    os.chmod(target, 0o755)
    for name in [*contents, ".venv"]:
        full = os.path.join(target, name)
        if os.path.isdir(full) and not os.path.islink(full):
            __utils__["globoapp_files.remove_tree"](full)
        os.makedirs(os.path.dirname(full), 0o755, exist_ok=True)
        os.replace(os.path.join(incoming, name), full)
    __utils__["globoapp_files.sync_tree"](target)
    shutil.rmtree(incoming)


def environment(settings, manifest, test=False):
    """
    Write what systemd hands to a release's processes: ``.globoapp/PACKX_Y.env``, the WSGI target and
    pillar's ``environment``.

    Returns True when it changed (or would, with ``test``).

    CLI Example:

    .. code-block:: bash

        salt-call globoapp_release.environment "$SETTINGS" '{"wsgi": "api:app"}' test=True
    """
    path = os.path.join(settings["root"], ".globoapp", f"{settings['release']}.env")
    given = (__pillar__.get("globoapp") or {}).get("environment") or {}
    values = {**given, "WSGI_TARGET": manifest["wsgi"]}
    lines = []
    for key, value in sorted(values.items()):
        escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
        lines.append(f'{key}="{escaped}"\n')
    text = "".join(lines)
    if __utils__["globoapp_files.read"](path) == text and stat.S_IMODE(os.stat(path).st_mode) == 0o600:
        return False
    if not test:
        __utils__["globoapp_files.write"](path, text, 0o600)  # a value may be a secret; systemd reads it as root
    return True


def remove(settings, release):
    """
    Take a release off the host, with its record, its environment and its artifact. Raises
    CommandExecutionError when a process runs out of it.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_release.remove '{"root": "/opt/globoHUB/desafio", "name": "globoapp"}' PACK0_9
    """
    path = directory(settings, release)
    pids = __utils__["globoapp_proc.holds_file_below"](path)
    if pids:
        raise CommandExecutionError(f"{path} is in use by process {pids[0]}: it stays")
    version = release[4:].replace("_", ".")
    __utils__["globoapp_files.remove_tree"](path)
    for file in (
        _record_path(settings, release),
        os.path.join(settings["root"], ".globoapp", f"{release}.env"),
        __salt__["globoapp_artifact.stored"]({**settings, "version": version}),
    ):
        if os.path.exists(file):
            os.unlink(file)
