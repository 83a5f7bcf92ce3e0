"""
The master's records, in Salt's cache layer: files by default, Redis or another driver by the master's setting ``cache``.

Banks are leaves below ``globoapp/``. Each record has a key of its own and is written whole, so that what comes in
twice is there once; who reads, decides and writes does so inside :meth:`Store.exclusive`.
"""

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

log = logging.getLogger(__name__)

PREFIX = "globoapp"
KEY = re.compile(r"(?!\.)[\w.:@+-]{1,200}\Z")

Record = dict[str, Any]


class Cache(Protocol):
    """What is needed of a ``salt.cache.Cache``."""

    def store(self, bank: str, key: str, data: Any) -> Any:
        """Write."""

    def fetch(self, bank: str, key: str) -> Any:
        """Read; something empty when there is none."""

    def flush(self, bank: str, key: str) -> Any:
        """Remove."""

    def list(self, bank: str) -> Any:
        """The keys."""


def is_name(name: object) -> bool:
    """Whether a value can name a record: a minion's id can, unless it has strange characters."""
    return isinstance(name, str) and bool(KEY.match(name))


class Store:
    """
    cache
        A ``salt.cache.Cache``; not one with a memory of its own, which would show other processes old records.
    lock_directory
        Where the files for :meth:`exclusive` are.
    """

    def __init__(self, cache: Cache, lock_directory: str) -> None:
        self._cache = cache
        self._lock_directory = lock_directory

    @contextlib.contextmanager
    def exclusive(self, name: str = "records") -> Iterator[None]:
        """
        Be the only one on this master, among processes and threads, to change records. Waits until then; a second
        time inside would wait for ever.
        """
        path = os.path.join(self._lock_directory, f"globoapp-{name}.lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def put(self, bank: str, key: str, record: Mapping[str, Any]) -> None:
        """Write a record. Raises ValueError for a key that cannot be one, and what the cache raises when it fails."""
        self._cache.store(_bank(bank), _checked(key), dict(record))

    def get(self, bank: str, key: str) -> Record | None:
        """
        A record; None when there is none, or when it cannot be read though the cache works: a record that a power
        cut tore must not stop what comes after it.
        """
        try:
            found = self._cache.fetch(_bank(bank), _checked(key))
        except ValueError:
            raise
        except Exception as error:
            self._cache.list(_bank(bank))  # raises when it is the cache that fails
            log.warning("the record %s/%s cannot be read, and is left out: %s", bank, key, type(error).__name__)
            return None
        if found and not isinstance(found, dict):
            log.warning("the record %s/%s is a %s, and is left out", bank, key, type(found).__name__)
        return found if found and isinstance(found, dict) else None

    def drop(self, bank: str, key: str) -> None:
        """Remove a record; one that is not there is no error."""
        self._cache.flush(_bank(bank), _checked(key))

    def keys(self, bank: str) -> list[str]:
        """The keys of a bank, sorted."""
        return sorted(key for key in self._cache.list(_bank(bank)) or () if is_name(key))

    def records(self, bank: str, wanted: Callable[[str], bool] | None = None) -> dict[str, Record]:
        """
        The records of a bank by key, in the keys' order.

        wanted
            A function of the key that says whether to read its record.
        """
        found = ((key, self.get(bank, key)) for key in self.keys(bank) if wanted is None or wanted(key))
        return {key: record for key, record in found if record is not None}


def _checked(name: str) -> str:
    if not is_name(name):
        raise ValueError(f"{name!r} cannot name a record")
    return name


def _bank(bank: str) -> str:
    return "/".join([PREFIX, *map(_checked, bank.split("/"))])


_STORES: dict[tuple[Any, ...], Store] = {}


def opened(opts: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Cache]) -> Store:
    """
    The store of a master; the same object for a process, since a cache is slow to load.

    opts
        The master's configuration.
    make
        ``salt.cache.Cache``.
    """
    key = (opts.get("cache"), opts["cachedir"], os.getpid())
    if key not in _STORES:
        _STORES[key] = Store(make(opts), str(opts["cachedir"]))
    return _STORES[key]
