"""What is wrong with the variables of ``environment``: names of the deploy itself, values that would not arrive."""

import re
from collections.abc import Mapping
from typing import Any

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

_PACKAGES = "the packages come from the lock of the version, the interpreter from the setting python"
_SYSTEMD = "systemd sets it, and the app may read it"
_SOCKET = "systemd hands over the socket; the settings are bind and port"
_LIBRARIES = "a library comes with a wheel of the lock, or as a package of the server"

# Names that would break the deploy or silently override it, with what to use instead.
RESERVED = {
    "GUNICORN_CMD_ARGS": "use the settings with gunicorn's names: workers, threads, worker_timeout, ...",
    "WSGI_TARGET": "the manifest of the version names it (wsgi)",
    "RUNTIME_DIRECTORY": _SYSTEMD,
    "STATE_DIRECTORY": _SYSTEMD,
    "INVOCATION_ID": _SYSTEMD,
    "NOTIFY_SOCKET": _SYSTEMD,
    "LISTEN_FDS": _SOCKET,
    "LISTEN_PID": _SOCKET,
    "LISTEN_FDNAMES": _SOCKET,
    "PYTHONPATH": _PACKAGES,
    "PYTHONHOME": _PACKAGES,
    "VIRTUAL_ENV": _PACKAGES,
    "PATH": _PACKAGES,
    "LD_PRELOAD": _LIBRARIES,
    "LD_LIBRARY_PATH": _LIBRARIES,
}

# What systemd does not read in an EnvironmentFile (systemd.exec(5)): NUL, a byte order mark, what is no character. And
# the carriage return, which reading a file as text turns into the end of a line.
_NO_CHARACTERS = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
UNREADABLE = re.compile(f"[\x00\r\ufeff\ud800-\udfff\ufdd0-\ufdef{_NO_CHARACTERS}]")


def problems(environment: Any) -> list[str]:
    """Everything that is wrong with the variables for the app, a line each, without a word of what they hold."""
    if not isinstance(environment, Mapping):
        return [f"environment is a {type(environment).__name__}: it must be a mapping of variable to value"]
    lines = (_problem(name, value) for name, value in environment.items())
    return [line for line in lines if line]


def _problem(name: Any, value: Any) -> str | None:
    if not isinstance(name, str) or not NAME.match(name):
        return f"environment has {name!r}: a variable's name is letters, digits and _, a text that begins with no digit"
    if name in RESERVED:
        return f"environment:{name} is reserved for the deploy: {RESERVED[name]}"
    if isinstance(value, bool):
        word = str(value).lower()
        return f'environment:{name} is {word}: the app would get "{value}"; write in quotes what it is to get: "{word}"'
    if not isinstance(value, (str, int, float)):
        return f"environment:{name} is a {type(value).__name__}: it must be a text or a number"
    if unreadable := UNREADABLE.search(str(value)):
        return (
            f"environment:{name} holds the character U+{ord(unreadable[0]):04X}, which systemd does not hand on: "
            "write lines that end with \\n alone, and binary data as base64"
        )
    return None
