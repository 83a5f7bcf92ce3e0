"""What custom code a minion has and what the master serves: a digest each, so that one look tells whether to sync."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import globolib

# Salt's directories of custom code that minions get: the master's names; a minion's are without the underscore.
KINDS = ("_utils", "_modules", "_states", "_beacons", "_output")


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


def here(opts: Mapping[str, Any]) -> str:
    """
    The digest of the code that the process of these options works with: on a master that of its tree (``module_dirs``
    names it), on a minion of its cache, where this package was loaded from.
    """
    tree = _first_tree(opts.get("module_dirs") or [])
    return of(tree or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def served(opts: Mapping[str, Any], saltenv: str = "base") -> str | None:
    """What a minion without a master serves to itself: the digest of the first file root that has the package."""
    tree = _first_tree(opts.get("file_roots", {}).get(saltenv, []))
    return of(tree) if tree else None


def _first_tree(roots: Iterable[str]) -> str | None:
    return next((root for root in roots if os.path.isdir(os.path.join(root, "_utils", "globolib"))), None)


def is_current(opts: Mapping[str, Any], code: str | None) -> bool:
    """
    Whether this minion has, and this process has loaded, the custom code that the master serves.

    opts
        The minion's configuration.
    code
        The master's digest, from pillar; None where pillar has none: then it is not known, and not current.
    """
    if opts.get("file_client") == "local":
        code = served(opts, opts.get("saltenv") or "base")
    return code is not None and code == here(opts) and not globolib.stale()
