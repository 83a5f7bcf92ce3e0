"""What salt-ssh sends to a server: the state that it carries out, and the files of the control machine for it."""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from packaging.utils import canonicalize_name

from globolib import artifact, lockfile, manifest
from globolib import settings as settings_of
from globolib.errors import Failure
from globolib.minion import SSH, Minion
from globolib.settings import Settings

TREE = "globoapp"


def state(
    pillar: Mapping[str, Any],
    call: Mapping[str, Any],
    parse: Callable[[str], Any],
    names: Sequence[str],
    fetch: Callable[[str], str],
) -> dict[str, Any]:
    """
    The arguments of the state that has the server apply what was called: ``name`` (an sls, or several), ``call`` and
    ``files`` (addresses that begin with ``salt://``).

    pillar, call, parse
        Of the call, see :class:`Minion`.
    names
        The files that the control machine serves.
    fetch
        Returns the path of one of them.
    """
    minion = Minion({"cp.cache_file": fetch}, {"cachedir": "/nonexistent"}, {**pillar, SSH: dict(call)}, parse)
    words = [word for word in call.get("arg", []) if isinstance(word, str) and "=" not in word]
    sls = [name for word in words for name in word.split(",") if name.partition(".")[0] == TREE]
    files = [f"salt://{TREE}"]
    for app in minion.chosen[0]:
        files += [file for file in _files(minion.for_app(app), names) if file not in files]
    return {"name": ",".join(sls) or TREE, "call": dict(call), "files": files}


def _files(minion: Minion, names: Sequence[str]) -> Iterator[str]:
    """The artifact of the version that was asked for, else all that there are; the wheels of their locks, and uv."""
    settings = settings_of.resolve(minion.pillar, None, {}, minion.call, app=minion.app).settings
    served = [f"salt://{name}" for name in names]
    if settings.source in served:
        artifacts = [settings.source]
    else:
        template = str(minion.pillar_section.get("source") or Settings.source).replace("{name}", settings.name)
        first, _, last = template.partition("{version}")
        artifacts = [file for file in served if file.startswith(first) and file.endswith(last)]
    for source in artifacts:
        yield source
        yield f"{source}.sha256"
    wanted = {"uv"} if settings.installer != "pip" else set()
    for source in artifacts:
        wanted |= _packages(minion, settings.at(source=source))
    base = settings.wheels.rstrip("/") + "/"
    for file in served:
        name = file.removeprefix(base)
        if name != file and "/" not in name and canonicalize_name(name.partition("-")[0]) in wanted:
            yield file


def _packages(minion: Minion, settings: Settings) -> set[str]:
    """The packages of an artifact's lock; none where it is not what it should be, which the server will say."""
    try:
        with zipfile.ZipFile(minion.fetch(settings.source)) as archive:
            return {entry.name for entry in lockfile.entries(archive.read(manifest.LOCK).decode())}
    except (Failure, *artifact.UNSOUND):
        return set()
