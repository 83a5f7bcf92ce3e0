"""What tests prepare once for all of their workers: made under a lock, complete or absent."""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path


@contextlib.contextmanager
def alone(path):
    """Be the only process that prepares path (Path), as long as the block runs; the kernel ends it with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def prepared(path, make):
    """Returns path (Path) of a directory that make(directory) has filled, now or in an earlier run.

    It is made under another name and renamed when it is whole: a make that raises, or is killed, leaves nothing there.
    """
    path = Path(path)
    with alone(path):
        if not path.exists():
            partial = path.with_name(f"{path.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            make(partial)
            os.rename(partial, path)
    return path


def prepared_in_place(path, make):
    """The same for what cannot be renamed, such as a virtualenv: it counts with its mark `complete`, written last."""
    path = Path(path)
    with alone(path):
        if not (path / "complete").exists():
            shutil.rmtree(path, ignore_errors=True)
            make(path)
            (path / "complete").touch()
    return path
