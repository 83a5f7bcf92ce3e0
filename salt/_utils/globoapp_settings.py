"""
The settings of a deploy: defaults, pillar, what the host last recorded, and every problem at once.

Pure functions: no file, no process, no network. The execution module ``globoapp`` feeds them.
"""

import difflib
import ipaddress
import re

# One line a setting: its default. None means "decided from the others" (see resolve).
DEFAULTS = {
    "name": "globoapp",
    "version": None,
    "port": 8000,
    "bind": "0.0.0.0",
    "root": "/opt/globoHUB/desafio",
    "user": None,  # the name
    "source": "salt://{name}-{version}.zip",
    "checksum": None,  # the SHA-256 beside the artifact
    "wheels": "salt://wheels",
    "ca": None,  # the system's certificates
    "python": "/usr/bin/python3",
    "installer": "auto",
    "keep": "all",
    "prove": 3,
    "soak": 5,
    "timeout": 2,
    "deadline": 20,
    "lock_wait": 60,
    "reserve": 100,
    "environment": {},
}

# Parts of the same pillar that other modules own and check.
SECTIONS = ("monitor", "notify", "credentials")

# Seconds, with the range in which they make sense.
SECONDS = {
    "prove": (0, 300),
    "soak": (0, 3600),
    "timeout": (0.1, 60),
    "deadline": (1, 600),
    "lock_wait": (0, 3600),
}

VERSION = re.compile(r"\d+(\.\d+){1,3}\Z")
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")
SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def release(version):
    """
    The directory name and unit instance of a version: ``1.2.3`` is ``PACK1_2_3``.
    """
    return "PACK" + version.replace(".", "_")


def version_problem(value):
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


def _port_problem(value):
    if isinstance(value, bool) or not isinstance(value, int):
        return f"port is {value!r}: a whole number without quotes, from 1 to 65535"
    if not 1 <= value <= 65535:
        return f"port is {value}: it must be from 1 to 65535"
    return None


def _bind(value, interfaces):
    """
    ``(address, problem)``: an address of this host, a wildcard, or the address of a named interface.
    """
    known = {name: addresses for name, addresses in sorted(interfaces.items()) if addresses}
    if isinstance(value, str) and value in known:
        return known[value][0], None
    try:
        address = ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    here = [one for addresses in known.values() for one in addresses]
    if address is not None and (address.is_unspecified or str(address) in here):
        return str(address), None
    have = ", ".join(f"{name} ({', '.join(addresses)})" for name, addresses in known.items())
    what = "no address of this host" if address is not None else "neither an IP address nor an interface"
    return None, f"bind is {value!r}: {what}; this host has {have}; 0.0.0.0 is all of IPv4"


def _path_problem(key, value):
    if not isinstance(value, str) or not value.startswith("/"):
        return f"{key} is {value!r}: an absolute path"
    if {".", ".."} & set(value.split("/")) or not re.fullmatch(r"[A-Za-z0-9_./@+-]+", value):
        return f"{key} is {value!r}: an absolute path of letters, digits and . _ - / only, without .."
    if len(value.split("/")) - value.count("//") - value.endswith("/") < 3:  # tree.sls sets its owner and mode
        return f"{key} is {value!r}: a path of its own, at least two directories deep"
    return None


def _url_problem(key, value):
    if not isinstance(value, str) or not re.match(r"(salt|https|file)://\S+\Z", value):
        return f"{key} is {value!r}: a salt://, https:// or file:// address"
    if "@" in value.split("/")[2]:
        return f"{key} holds credentials: they would be seen in output and logs; put them in globoapp:credentials"
    return None


def _keep_problem(value):
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return None
    return f'keep is {value!r}: the number of releases to keep, 1 or more, or "all"'


def credentials_problem(value):
    """What is wrong with ``credentials``, without a word of what they hold; or None."""
    fits = isinstance(value, dict) and set(value) in ({"token"}, {"user", "password"})
    if value is None or (fits and all(isinstance(one, str) and one for one in value.values())):
        return None
    return "credentials must be either user and password, or token, each a text"


def _environment_problem(value):
    if not isinstance(value, dict):
        return f"environment is a {type(value).__name__}: it must be a mapping of variable to value"
    bad = [name for name in value if not VARIABLE.match(str(name))]
    if bad:
        return f"environment has {bad[0]!r}: a variable's name is letters, digits and _"
    bad = [name for name, text in value.items() if not isinstance(text, (str, int)) or "\n" in str(text)]
    if bad:
        return f"environment:{bad[0]} must be one line of text"
    return None


def _checks(settings):
    """``(key, problem or None)`` for each setting that stands on its own."""
    version = settings["version"]
    yield "version", None if version is None else version_problem(version)
    yield "port", _port_problem(settings["port"])
    for key in ("root", "python", "ca"):
        yield key, None if key == "ca" and settings[key] is None else _path_problem(key, settings[key])
    for key in ("source", "wheels"):
        yield key, _url_problem(key, settings[key])
    yield "keep", _keep_problem(settings["keep"])
    yield "environment", _environment_problem(settings["environment"])
    for key in ("name", "user") if settings["user"] != settings["name"] else ("name",):
        if not isinstance(settings[key], str) or not NAME.match(settings[key]):
            yield key, f"{key} is {settings[key]!r}: lower-case letters, digits and _, beginning with a letter"
    if settings["installer"] not in ("auto", "uv", "pip"):
        yield "installer", f"installer is {settings['installer']!r}: auto, uv or pip"
    if settings["checksum"] is not None and not SHA256.match(str(settings["checksum"])):
        yield "checksum", f"checksum is {settings['checksum']!r}: a SHA-256, 64 hexadecimal digits"
    for key, (low, high) in SECONDS.items():
        value = settings[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            yield key, f"{key} is {value!r}: seconds, a number from {low} to {high}"
    value = settings["reserve"]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        yield "reserve", f"reserve is {value!r}: MiB to leave free on the disk, a whole number"


def resolve(pillar, standing, interfaces):
    """
    The settings that a deploy on this host would use.

    pillar
        The whole pillar. ``globoapp:`` holds the settings; ``version`` and ``port`` at the top
        level (what people pass on the command line) go before it.
    standing
        What is deployed: ``{"version", "port", "bind"}`` of the last good ledger line, or None.
        It fills in what the pillar does not name.
    interfaces
        ``{"eth0": ["10.0.0.2"], ...}``.

    Returns ``(settings, problems, warnings)``: the settings with ``address`` (bind as an IP
    address), ``release`` and ``invalid`` (the keys whose values are wrong; the default stands in for them)
    added, and two lists of lines.
    """
    problems, warnings = [], []
    given = pillar.get("globoapp")
    given = {} if given is None else given  # "globoapp:" with nothing below it
    if not isinstance(given, dict):
        problems.append(f"globoapp is a {type(given).__name__} in pillar: it must be a mapping with version, port, ...")
        given = {}
    known = [*DEFAULTS, *SECTIONS]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 2)
            hint = f": did you mean {' or '.join(near)}?" if near else f"; there are: {', '.join(known)}"
            problems.append(f"globoapp:{key} is no setting{hint}")
    settings = dict(DEFAULTS)
    for key in ("version", "port", "bind"):
        if standing and standing.get(key) is not None:
            settings[key] = standing[key]
    settings.update({key: value for key, value in given.items() if key in DEFAULTS and value is not None})
    for key in ("version", "port"):
        if pillar.get(key) is None:
            continue
        if given.get(key) is not None and given[key] != pillar[key]:
            warnings.append(
                f"pillar pins {key} {given[key]}, the command line says {pillar[key]}: the next "
                f"highstate goes back to {given[key]} unless the pillar is changed too"
            )
        settings[key] = pillar[key]
    if settings["user"] is None:
        settings["user"] = settings["name"]
    if settings["version"] is None:
        problems.append(
            "version is missing: nothing is deployed here yet, and neither pillar nor the command line "
            'names one; say pillar=\'{"version": "1.0"}\''
        )
    address, bind_problem = _bind(settings["bind"], interfaces)
    found = [*_checks(settings), ("bind", bind_problem), ("credentials", credentials_problem(given.get("credentials")))]
    problems += [problem for _, problem in found if problem]
    invalid = sorted({key for key, problem in found if problem})
    # What is wrong is told above and goes no further: into no path, no command, no rendered sls.
    settings.update({key: DEFAULTS[key] for key in invalid if key in DEFAULTS})
    if "name" in invalid or settings["user"] is None:
        settings["user"] = settings["name"]
    settings["invalid"] = invalid
    settings["address"] = address
    if "root" not in settings["invalid"]:  # where processes run is compared with it later: one way to write it
        settings["root"] = re.sub("/+", "/", settings["root"]).rstrip("/")
    settings["release"] = None
    if isinstance(settings["version"], str) and VERSION.match(settings["version"]):
        settings["release"] = release(settings["version"])
        if isinstance(settings["source"], str):
            source = settings["source"].replace("{name}", str(settings["name"]))
            settings["source"] = source.replace("{version}", settings["version"])
    return settings, problems, warnings


def defaults():
    """Every setting's default, a fresh dict."""
    return dict(DEFAULTS)
