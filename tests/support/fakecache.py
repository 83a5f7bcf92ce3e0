"""Salt's cache layer for tests that need no Salt, and a record of it."""

NOW = "2026-11-23T16:00:00.000Z"


class Cache:
    """Records in a dict, `records[bank][key]`; one that is an exception is raised when it is read."""

    def __init__(self):
        self.records, self.down = {}, False

    def _bank(self, bank):
        if self.down:
            raise ConnectionError("no cache")
        return self.records.setdefault(bank, {})

    def store(self, bank, key, data):
        self._bank(bank)[key] = data

    def fetch(self, bank, key):
        record = self._bank(bank).get(key, {})
        if isinstance(record, Exception):
            raise record
        return dict(record) if isinstance(record, dict) else record

    def flush(self, bank, key):
        self._bank(bank).pop(key, None)

    def list(self, bank):
        return list(self._bank(bank))


def alert(host="web1", probe="api", **more):
    """The record of an open alert."""
    return {"id": "i", "host": host, "probe": probe, "since": NOW, "until": None, "message": "m", **more}
