"""What systemd limits a release to: the settings `memory_max`, `cpu_quota` and `tasks_max`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

MIB = 1 << 20
LEAST_MEMORY = 64 * MIB  # less is a slip (512 for 512M): Python with gunicorn and a worker takes 50 MiB
LEAST_TASKS = 8
# As systemd.resource-control(5) reads them; its K, M, G, T are powers of 1024.
MEMORY = re.compile(r"(?:([1-9]\d{0,14})([KMGT]?)|([1-9]\d?|100)%)\Z")
QUOTA = re.compile(r"[1-9]\d{0,5}%\Z")
SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
# Settings, with the directive of the unit that each one is.
DIRECTIVES = {"memory_max": "MemoryMax", "cpu_quota": "CPUQuota", "tasks_max": "TasksMax"}


def memory_bytes(value: Any, memory: int) -> int | None:
    """
    ``memory_max`` in bytes; None where it is none.

    memory
        The memory of the host in bytes: a percentage is of it.
    """
    match = None if isinstance(value, bool) or not isinstance(value, (str, int)) else MEMORY.match(str(value))
    if not match:
        return None
    number, unit, percent = match.groups()
    return memory * int(percent) // 100 if percent else int(number) << SHIFTS[unit]


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """``(key, problem or None)`` for each of these settings."""
    value = values["memory_max"]
    if value is not None and (memory_bytes(value, LEAST_MEMORY * 100) or 0) < LEAST_MEMORY:
        yield "memory_max", f'memory_max is {value!r}: at least 64M, like "512M", "2G" or "50%" (of the host\'s memory)'
    value = values["cpu_quota"]
    if value is not None and not (isinstance(value, str) and QUOTA.match(value)):
        yield "cpu_quota", f'cpu_quota is {value!r}: a percentage of one processor in quotes, like "150%"'
    value = values["tasks_max"]
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (whole and LEAST_TASKS <= value < 1 << 22):
        yield "tasks_max", f"tasks_max is {value!r}: processes and threads, a whole number from {LEAST_TASKS}"


def lines(values: Mapping[str, Any]) -> str:
    """The lines of the unit; empty without a limit."""
    given = {directive: values[key] for key, directive in DIRECTIVES.items() if values[key] is not None}
    return "".join(f"{directive}={value}\n" for directive, value in given.items())


def tasks_needed(workers: int, threads: int) -> int:
    """The processes and threads of a release under load: gunicorn, and of each worker a main thread and its pool."""
    return 1 + workers * (1 + threads)
