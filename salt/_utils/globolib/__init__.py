"""
The program of globoapp: an ordinary Python package that Salt's files (``_modules``, ``_states``, ``_runners``,
``_engines``) import by name. Nothing in it needs Salt to be installed.

Salt brings it to the minions with the other custom modules. A process that has loaded it would keep the old code
for ever: each of Salt's files therefore begins with ``globolib.refresh()``.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _files() -> tuple[tuple[str, int, int], ...]:
    """Path, time of change (ns) and size of every source file of the package, in the order of their paths."""
    found = []
    for directory, _, names in os.walk(_HERE):
        for name in names:
            if name.endswith(".py"):
                info = os.stat(os.path.join(directory, name))
                found.append((os.path.join(directory, name), info.st_mtime_ns, info.st_size))
    return tuple(sorted(found))


_LOADED = _files()


def stale() -> bool:
    """Whether the files of the package are other ones than those that this process has loaded."""
    return _files() != _LOADED


def refresh() -> None:
    """
    Forget the package where its files have changed since this process loaded it: the next import reads them anew.

    To be called by a file of Salt's before it imports a part of the package.
    """
    if stale():
        for name in [one for one in sys.modules if one == __name__ or one.startswith(f"{__name__}.")]:
            del sys.modules[name]
