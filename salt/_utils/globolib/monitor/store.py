"""
The master's records of globoapp, in Salt's cache layer: files by default, Redis or another driver by the master's
setting ``cache``.

Banks are leaves below ``globoapp/``. Each record has a key of its own and is written whole, so that what comes in twice
is there once; who reads, decides and writes does so inside :meth:`Store.exclusive`.
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
# A file of the cache has two characters more, and a name at most 255.
KEY = re.compile(r"[\w.:@+-]{1,253}\Z", re.ASCII)


class Cache(Protocol):
    """What of ``salt.cache.Cache`` is used."""

    def store(self, bank: str, key: str, data: Any) -> Any:
        """Write a record."""

    def fetch(self, bank: str, key: str) -> Any:
        """Read a record; something empty where there is none."""

    def flush(self, bank: str, key: str) -> Any:
        """Remove a record."""

    def list(self, bank: str) -> list[str]:
        """The keys of a bank."""


def is_key(name: str) -> bool:
    """Whether a name can name a record, and is no path out of its bank."""
    return bool(KEY.match(name)) and not name.startswith(".")


def _checked(name: str) -> str:
    if not is_key(name):
        raise ValueError(f"{name!r} cannot name a record")
    return name


def _bank(bank: str) -> str:
    return "/".join([PREFIX, *map(_checked, bank.split("/"))])


class Store:
    """
    cache
        Salt's cache. Cache itself and not salt.cache.factory: memory caching would show other processes old records.
    directory
        Where the files that are locked lie: the master's cachedir.
    """

    def __init__(self, cache: Cache, directory: str) -> None:
        self._cache, self._directory = cache, directory

    @contextlib.contextmanager
    def exclusive(self, name: str = "records") -> Iterator[None]:
        """Be the only one on this master, among processes and threads, to change records. Blocks until then."""
        path = os.path.join(self._directory, f"globoapp-{name}.lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def put(self, bank: str, key: str, record: Mapping[str, Any]) -> None:
        """Write a record. Raises ValueError for a key that cannot be one; what the cache raises when storing fails."""
        self._cache.store(_bank(bank), _checked(key), dict(record))

    def get(self, bank: str, key: str) -> dict[str, Any] | None:
        """
        A record; None when there is none, or when it cannot be read though the cache works: a record that a power cut
        tore must not stop what comes after it. Raises what the cache raises when the cache itself fails.
        """
        bank, key = _bank(bank), _checked(key)
        try:
            record = self._cache.fetch(bank, key)
        except Exception as error:  # a driver raises what it likes for a torn record
            self._cache.list(bank)
            log.error("the record %s/%s cannot be read and counts as none: %s", bank, key, type(error).__name__)
            return None
        return record if isinstance(record, dict) and record else None

    def drop(self, bank: str, key: str) -> None:
        """Remove a record; one that is not there is no error."""
        self._cache.flush(_bank(bank), _checked(key))

    def keys(self, bank: str) -> list[str]:
        """The keys of a bank, sorted."""
        return sorted(key for key in self._cache.list(_bank(bank)) if is_key(key))

    def records(self, bank: str, wanted: Callable[[str], bool] | None = None) -> dict[str, dict[str, Any]]:
        """
        The records of a bank by key, in the keys' order. One that cannot be read is left out, and hides no other.

        wanted
            A function of the key that says whether to read its record.
        """
        found = ((key, self.get(bank, key)) for key in self.keys(bank) if wanted is None or wanted(key))
        return {key: record for key, record in found if record is not None}


_OPENED: dict[tuple[Any, ...], Store] = {}


def opened(opts: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Cache]) -> Store:
    """
    The store of a master: one for a process, since Salt's cache is slow to load and holds a connection.

    opts
        The master's configuration.
    make
        ``salt.cache.Cache``.
    """
    key = (opts.get("cache"), opts["cachedir"], os.getpid())
    if key not in _OPENED:
        _OPENED[key] = Store(make(opts), str(opts["cachedir"]))
    return _OPENED[key]
