"""
The master's records of globoapp, in Salt's cache layer: files by default, Redis or another driver by
the master's setting ``cache``.

Banks are leaves below ``globoapp/``. Each record has a key of its own and is written whole, so that
what comes in twice is there once; who reads, decides and writes does so inside :func:`exclusive`.
"""

import contextlib
import fcntl
import os
import re

import salt.cache

PREFIX = "globoapp"
KEY = re.compile(r"[\w.:@+-]{1,255}\Z")

_CACHES = globals().get("_CACHES", {})


def _cache():
    # Cache itself and not salt.cache.factory: memory caching would show other processes old records.
    key = (__opts__.get("cache"), __opts__["cachedir"], os.getpid())
    if key not in _CACHES:
        _CACHES[key] = salt.cache.Cache(__opts__)
    return _CACHES[key]


def _checked(*names):
    for name in names:
        if not KEY.match(name) or name.startswith("."):
            raise ValueError(f"{name!r} cannot name a record")
    return names


def _bank(bank):
    return "/".join([PREFIX, *_checked(*bank.split("/"))])


@contextlib.contextmanager
def exclusive(name="records"):
    """
    Be the only one on this master, among processes and threads, to change records. Blocks until then.
    """
    path = os.path.join(__opts__["cachedir"], f"globoapp-{name}.lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def put(bank, key, record):
    """Write a record (a dict). Raises ValueError for a key that cannot be one, SaltCacheError when storing fails."""
    _cache().store(_bank(bank), *_checked(key), record)


def get(bank, key):
    """A record; None when there is none."""
    return _cache().fetch(_bank(bank), *_checked(key)) or None


def drop(bank, key):
    """Remove a record; one that is not there is no error."""
    _cache().flush(_bank(bank), *_checked(key))


def keys(bank):
    """The keys of a bank, sorted."""
    return sorted(one for one in _cache().list(_bank(bank)) if KEY.match(one))


def records(bank, wanted=None):
    """
    The records of a bank by key: ``{key: record}``, in the keys' order.

    wanted
        A function of the key that says whether to read its record.
    """
    found = ((key, get(bank, key)) for key in keys(bank) if wanted is None or wanted(key))
    return {key: record for key, record in found if record is not None}
