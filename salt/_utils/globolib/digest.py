"""What custom code a minion has, and what the master serves: one digest each, so that one look tells whether to sync."""

import hashlib
import os

# Salt's directories of custom code that minions get: the master's names; a minion's are without the underscore.
KINDS = ("_utils", "_modules", "_states", "_beacons")


def of(directory: str) -> str:
    """
    The digest of all custom code below a directory: a checkout's ``salt/``, or a minion's ``extmods``; by path and
    content of its Python files.
    """
    digest = hashlib.sha256()
    for kind in KINDS:
        for name in (kind, kind.removeprefix("_")):
            for path in _sources(os.path.join(directory, name)):
                with open(path, "rb") as handle:
                    content = handle.read()
                relative = os.path.relpath(path, os.path.join(directory, name))
                digest.update(f"{kind}/{relative}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _sources(directory: str) -> list[str]:
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(directory) for name in names]
    # Other custom code of the site lies beside ours.
    return sorted(path for path in paths if path.endswith(".py") and path.startswith(os.path.join(directory, "globo")))


def here() -> str:
    """The digest of the code that this package was loaded with: on a master that of its tree, on a minion of its cache."""
    return of(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
