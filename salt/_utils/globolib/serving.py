"""How a release serves: gunicorn's settings in pillar, what is wrong with them, and the file that gunicorn reads."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MIB = 1 << 20
WORKER_BYTES = 256 * MIB  # what `workers: auto` allows a worker
AUTO = "auto"

# Whole numbers, with the range in which they make sense.
WHOLE = {
    "workers": (1, 128),
    "threads": (1, 256),
    "worker_timeout": (1, 3600),
    "graceful_timeout": (1, 600),
    "max_requests": (0, 10_000_000),
    "max_requests_jitter": (0, 10_000_000),
}
# None leaves it to the manifest of the version.
OPTIONAL = ("workers", "threads")
UMASK = re.compile(r"0?0[0-7]{2}\Z")
# Seconds that systemd waits beyond `graceful_timeout` before it kills what is left.
STOP_MARGIN = 10


@dataclass(frozen=True)
class Capacity:
    """What the host has: processors, and memory in bytes."""

    processors: int = 1
    memory: int = 1 << 30


def auto_workers(capacity: Capacity) -> int:
    """How many workers ``auto`` is: two a processor and one more, as far as each has 256 MiB; at least one."""
    return max(1, min(2 * capacity.processors + 1, capacity.memory // WORKER_BYTES, WHOLE["workers"][1]))


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """``(key, problem or None)`` for each of these settings."""
    for key, (low, high) in WHOLE.items():
        value = values[key]
        if (value is None and key in OPTIONAL) or (key == "workers" and value == AUTO):
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            also = ", or auto" if key == "workers" else ""
            yield key, f"{key} is {value!r}: a whole number from {low} to {high}{also}"
    if not isinstance(values["access_log"], bool):
        yield "access_log", f"access_log is {values['access_log']!r}: true or false, without quotes"
    if not isinstance(values["umask"], str) or not UMASK.match(values["umask"]):
        yield (
            "umask",
            f"umask is {values['umask']!r}: octal digits in quotes that leave the app its own rights, like "
            '"0027"; without quotes YAML makes another number of them',
        )


def state_mode(umask: str) -> str:
    """The mode of the app's state directory, octal: what the umask leaves others to read and enter."""
    return f"{0o777 & ~int(umask, 8):04o}"


def file_text(settings: Mapping[str, Any]) -> str:
    """
    The JSON that gunicorn.conf.py reads.

    settings
        By gunicorn's names; None leaves it to the manifest.
    """
    return json.dumps(settings, indent=1, sort_keys=True) + "\n"


def worker_count(text: str | None, single_process: bool, workers: int) -> int:
    """
    How many workers gunicorn starts with what it reads: the same as gunicorn.conf.py finds.

    text
        What its JSON file holds; None where it is not there.
    single_process, workers
        What the manifest of the release says.
    """
    if single_process:
        return 1
    try:
        told = json.loads(text or "{}").get("workers")
    except (ValueError, AttributeError, RecursionError):
        return workers
    return told if isinstance(told, int) and not isinstance(told, bool) else workers
