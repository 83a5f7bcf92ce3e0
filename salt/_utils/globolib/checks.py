"""What is wrong with one value of a setting: pure functions that return a line for a person, or None."""

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from globolib import argv, background, connect, limits, proxy, serving, variables
from globolib.address import LONGEST, PATH, UNIX
from globolib.apps import NAME
from globolib.minion import Call

# Seconds, with the range in which they make sense.
SECONDS = {
    "prove": (0, 300),
    "soak": (0, 3600),
    "timeout": (0.1, 60),
    "deadline": (1, 600),
    "lock_wait": (0, 3600),
    "release_timeout": (1, 86400),
}

# Top-level keys of the pillar of a call that mean something here.
TOP = ("version", "port", "globoapp", "app", "globoapps")
# Settings that are for one deploy; any other that comes with a call is gone with it.
OF_ONE_DEPLOY = (
    *("version", "port", "prove", "soak", "timeout", "deadline", "lock_wait", "reserve", "keep", "checksum"),
    *("release_command", "release_timeout"),
)

VERSION = re.compile(r"\d+(\.\d+){1,3}\Z")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}\Z")
# Of DynamicUser=, nobody, and the 16-bit -1 (systemd's UIDS-GIDS.md).
SYSTEMD_IDS = range(61184, 65536)
SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
# What a header takes: a token is visible ASCII (RFC 6750), a user has no colon, neither has controls (RFC 7617).
CREDENTIAL = {
    "token": re.compile(r"[!-~]+\Z"),
    "user": re.compile(r"[^\x00-\x1f\x7f-\x9f:]+\Z"),
    "password": re.compile(r"[^\x00-\x1f\x7f-\x9f]+\Z"),
}

NO_VERSION = (
    "version is missing: nothing is deployed here yet, and neither pillar nor the command line "
    'names one; say pillar=\'{"version": "1.0"}\''
)
# Where a unix socket may be: gone with the boot, as what listens there.
RUN = "/run"
PORT_BESIDE_PATH = (
    "port is {} in this call, and bind is {!r}: a unix socket has no port; leave it out, or name an address in bind"
)
NO_PORT = "port is missing: each app beside globoapp has a port of its own; say which one in {}:port"


def version_problem(value: Any) -> str | None:
    """What is wrong with a version, or None."""
    if isinstance(value, (int, float)):
        return (
            f"version is the number {value}: to YAML 1.10 and 1.1 are one number; "
            f'write it in quotes, version: "{value}"'
        )
    if not isinstance(value, str):
        return f'version is {value!r}: write it as a quoted string, version: "1.0"'
    if not VERSION.match(value):
        return f'version is {value!r}: two to four numbers with dots are a version, like "1.1" or "1.2.3"'
    return None


def port_problem(value: Any) -> str | None:
    """What is wrong with a port, or None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return f"port is {value!r}: a whole number without quotes, from 1 to 65535"
    if not 1 <= value <= 65535:
        return f"port is {value}: it must be from 1 to 65535"
    return None


def address(value: Any, interfaces: Mapping[str, Sequence[str]]) -> tuple[str | None, str | None]:
    """
    ``bind`` as an IP address: one of this host, a wildcard, or the first of a named interface; ``unix:PATH`` as it is.

    Returns ``(address, problem)``, one of them None.
    """
    if isinstance(value, str) and value.startswith((UNIX, "/")):
        return (None, problem) if (problem := _socket_problem(value)) else (value, None)
    known = {name: addresses for name, addresses in sorted(interfaces.items()) if addresses}
    if isinstance(value, str) and value in known:
        return known[value][0], None
    try:
        parsed = ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        parsed = None
    here = [one for addresses in known.values() for one in addresses]
    if parsed is not None and (parsed.is_unspecified or str(parsed) in here):
        return str(parsed), None
    have = ", ".join(f"{name} ({', '.join(addresses)})" for name, addresses in known.items())
    what = "not an address of this host" if parsed is not None else "neither an IP address nor an interface"
    return None, f"bind is {value!r}: {what}; this host has {have}; 0.0.0.0 is all of IPv4"


def _socket_problem(value: str) -> str | None:
    path = value.removeprefix(UNIX)
    if value != path and path.startswith(f"{RUN}/") and PATH.match(path) and len(path) <= LONGEST:
        return None
    return (
        f"bind is {value!r}: a unix socket is unix: and a path below {RUN}, of letters, digits and . _ - / only, "
        f"without .., of at most {LONGEST} bytes"
    )


def path_problem(key: str, value: Any) -> str | None:
    """What is wrong with an absolute path, or None."""
    if not isinstance(value, str) or not value.startswith("/"):
        return f"{key} is {value!r}: an absolute path"
    if {".", ".."} & set(value.split("/")) or not re.fullmatch(r"[A-Za-z0-9_./@+-]+", value):
        return f"{key} is {value!r}: an absolute path of letters, digits and . _ - / only, without .."
    if len(value.split("/")) - value.count("//") - value.endswith("/") < 3:  # tree.sls sets its owner and mode
        return f"{key} is {value!r}: a path of its own, at least two directories deep"
    return None


def url_problem(key: str, value: Any) -> str | None:
    """What is wrong with the address of files, or None."""
    if not isinstance(value, str) or not re.match(r"(salt|https|file)://\S+\Z", value):
        return f"{key} is {value!r}: a salt://, https:// or file:// address"
    if "@" in value.split("/")[2]:
        return f"{key} holds credentials: they would be seen in output and logs; put them in globoapp:credentials"
    return None


def keep_problem(value: Any) -> str | None:
    """What is wrong with a number of releases to keep, or None."""
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return None
    return f'keep is {value!r}: the number of releases to keep, 1 or more, or "all"'


def credentials_problem(value: Any) -> str | None:
    """What is wrong with ``credentials``, without a word of what they hold; or None."""
    if value is None:
        return None
    fits = isinstance(value, Mapping) and set(value) in ({"token"}, {"user", "password"})
    if not fits or not all(isinstance(secret, str) and secret for secret in value.values()):
        return "credentials must be either user and password, or token, each a text"
    for key, secret in value.items():
        if secret != secret.strip():
            return f"credentials:{key} begins or ends with white space or the end of a line: write it without"
        if not CREDENTIAL[key].match(secret) or not secret.isprintable():
            return f"credentials:{key} holds a character that no header can carry"
    return None


def _seconds_problem(key: str, value: Any) -> str | None:
    low, high = SECONDS[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        return f"{key} is {value!r}: seconds, a number from {low} to {high}"
    return None


def _name_problem(value: Any) -> str | None:
    if not isinstance(value, str) or not NAME.match(value):
        return f"name is {value!r}: lower-case letters, digits and _, beginning with a letter"
    return None


def _user_problem(value: Any) -> str | None:
    if not isinstance(value, str) or not USER.match(value):
        return f"user is {value!r}: lower-case letters, digits, - and _, beginning with a letter"
    if value == "root":
        return "user is 'root': the app is to run as an account that may do nothing else"
    return None


def _group_problem(value: Any) -> str | None:
    if not isinstance(value, str) or not USER.match(value):
        return f"group is {value!r}: lower-case letters, digits, - and _, beginning with a letter"
    if value == "root":
        return "group is 'root': the app is to run with a group that may do nothing else"
    return None


def _id_problem(key: str, value: Any) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= value < 1 << 31 or value in SYSTEMD_IDS:
        return (
            f"{key} is {value!r}: a whole number without quotes, from 1 to 2147483647 without 61184 to 65535, which "
            "are systemd's own"
        )
    return None


def each(values: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """``(key, problem or None)`` for each setting that can be judged by itself."""
    yield "version", None if values["version"] is None else version_problem(values["version"])
    yield "port", port_problem(values["port"])
    for key in ("root", "python", "ca"):
        yield key, None if key == "ca" and values[key] is None else path_problem(key, values[key])
    for key in ("source", "wheels"):
        yield key, url_problem(key, values[key])
    yield "keep", keep_problem(values["keep"])
    yield from (("environment", problem) for problem in variables.problems(values["environment"]))
    yield "name", _name_problem(values["name"])
    if values["user"] != values["name"]:
        yield "user", _user_problem(values["user"])
    if values["group"] != "":
        yield "group", _group_problem(values["group"])
    for key in ("uid", "gid"):
        yield key, None if values[key] is None else _id_problem(key, values[key])
    yield from serving.problems(values)
    yield from limits.problems(values)
    yield from (("connect", problem) for problem in connect.problems(values["connect"]))
    yield from (("proxy", problem) for problem in proxy.problems(values["proxy"]))
    command = values["release_command"]
    if command is not None and command is not False and not argv.fits(command):
        yield "release_command", f"release_command is {command!r}: false, or a list of 1 to {argv.MOST} words"
    yield from (("processes", problem) for problem in background.problems(values["processes"], pillar=True))
    if values["installer"] not in ("auto", "uv", "pip"):
        yield "installer", f"installer is {values['installer']!r}: auto, uv or pip"
    if values["checksum"] is not None and not SHA256.match(str(values["checksum"])):
        yield "checksum", f"checksum is {values['checksum']!r}: a SHA-256, 64 hexadecimal digits"
    for key in SECONDS:
        yield key, _seconds_problem(key, values[key])
    value = values["reserve"]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        yield "reserve", f"reserve is {value!r}: MiB to leave free on the disk, a whole number"


def call_problems(call: Call) -> list[str]:
    """
    Slips on the command line that Salt takes without a word: ``state.apply globoapp version=1.1``, and keys of
    ``pillar=`` that are nearly those that mean something.
    """
    lines = []
    if call.function in ("state.apply", "state.sls", "state.highstate"):
        for key in call.arguments:
            if key.lower() in TOP[:2]:
                lines.append(
                    f"{key}={call.arguments[key]} is not an argument of {call.function}, which ignores it: "
                    f"say pillar='{{\"{key.lower()}\": ...}}'"
                )
            elif difflib.get_close_matches(key, ["pillar"], cutoff=0.8) and key not in ("pillar", "pillarenv"):
                lines.append(f"{key}= is not an argument of {call.function}, which ignores it: did you mean pillar=?")
    if not isinstance(call.arguments.get("pillar", {}), Mapping):
        lines.append(
            f'pillar={str(call.arguments["pillar"])[:60]!r} is not a mapping: say pillar=\'{{"version": "1.1"}}\''
        )
    for key in call.pillar:
        near = difflib.get_close_matches(str(key).lower(), TOP, 1, cutoff=0.75)
        if near and key not in TOP:
            lines.append(f"{key} in the pillar of this call is an unknown key; did you mean {near[0]}?")
    return lines


def call_warnings(call: Call) -> list[str]:
    """What of this call is gone with it: the next highstate goes by pillar alone."""
    section = call.pillar.get("globoapp")
    passing = sorted(str(key) for key in section if key not in OF_ONE_DEPLOY) if isinstance(section, Mapping) else []
    if not passing:
        return []
    return [
        f"{', '.join(passing)} came with this call alone: the next highstate goes by pillar, "
        "so put there what is to stay"
    ]
