"""What pillar says below ``globoapp:kubernetes``: settings that a server has no use for. Pure."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from globolib import checks, hints
from globolib.kubernetes.agreed import IMAGE

WHERE = "globoapp:kubernetes"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
HOST = re.compile(r"(?=.{1,253}\Z)(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")
QUANTITY = re.compile(r"[1-9]\d{0,5}(Mi|Gi|Ti)\Z")
MOST = 1000  # replicas
# Of `ingress`: the one that it must have, then those that it may have.
INGRESS = ("host", "class", "tls")


@dataclass(frozen=True)
class Wishes:
    """
    One line a setting: its default.

    ``image`` is a repository without tag; ``digest`` the image's, by default the one that ``make image`` has written.
    """

    image: str = ""
    digest: str | None = None
    namespace: str | None = None  # the one that they are applied to
    directory: str | None = None  # <root>/kubernetes
    replicas: int | None = None  # 1, or 2 where the version allows more
    replicas_max: int | None = None  # three times as many
    pre_stop: int = 5  # seconds
    storage: str = "1Gi"
    dns: bool = False
    ingress: Mapping[str, str] | None = None
    pull_secret: str | None = None


KNOWN = tuple(one.name for one in dataclasses.fields(Wishes))


def parsed(section: Any) -> tuple[Wishes, list[str]]:
    """The wishes of a section of pillar (None is an empty one), and all that is wrong with it, a line each."""
    if section is None:
        section = {}
    if not isinstance(section, Mapping):
        return Wishes(), [f"{WHERE} is a {type(section).__name__}: it must be a mapping with image, namespace, ..."]
    given = {key: value for key, value in section.items() if value is not None}
    found = [hints.unknown_setting(WHERE, key, KNOWN, 2) for key in given if key not in KNOWN]
    wrong = list(_problems({one.name: given.get(one.name, one.default) for one in dataclasses.fields(Wishes)}))
    found += [f"{WHERE}:{line}" for _, line in wrong]
    bad = {key for key, _ in wrong}
    return Wishes(**{key: value for key, value in given.items() if key in KNOWN and key not in bad}), found


def _problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """``(key, line)`` of each value that is wrong."""
    image = values["image"]
    if image == "":
        yield "image", "image is missing: the repository of the image, like registry.example.com/globoapp"
    elif not _is(IMAGE, image):
        yield "image", f"image is {image!r}: a repository without tag and digest, like registry.example.com/globoapp"
    if values["digest"] is not None and not _is(DIGEST, values["digest"]):
        yield "digest", f"digest is {values['digest']!r}: sha256: and 64 hexadecimal digits"
    for key in ("namespace", "pull_secret"):
        if values[key] is not None and not _is(LABEL, values[key]):
            yield key, f"{key} is {values[key]!r}: a name of lower-case letters, digits and -, of at most 63 characters"
    if values["directory"] is not None and (problem := checks.path_problem("directory", values["directory"])):
        yield "directory", problem
    for key in ("replicas", "replicas_max"):
        if values[key] is not None and not _whole(values[key], 1, MOST):
            yield key, f"{key} is {values[key]!r}: a whole number from 1 to {MOST}"
    if not _whole(values["pre_stop"], 0, 300):
        yield "pre_stop", f"pre_stop is {values['pre_stop']!r}: seconds, a whole number from 0 to 300"
    if not _is(QUANTITY, values["storage"]):
        yield "storage", f"storage is {values['storage']!r}: a size like 512Mi or 1Gi"
    if not isinstance(values["dns"], bool):
        yield "dns", f"dns is {values['dns']!r}: true or false, without quotes"
    if values["ingress"] is not None:
        yield from (("ingress", line) for line in _ingress_problems(values["ingress"]))


def _ingress_problems(given: Any) -> Iterator[str]:
    if not isinstance(given, Mapping) or "host" not in given or set(given) - set(INGRESS):
        yield f"ingress is {given!r}: a mapping with host, and perhaps class and tls (the name of a Secret)"
        return
    if not _is(HOST, given["host"]):
        yield f"ingress:host is {given['host']!r}: the name that clients ask for, in lower case"
    for key in INGRESS[1:]:
        if key in given and not _is(LABEL, given[key]):
            yield f"ingress:{key} is {given[key]!r}: a name of lower-case letters, digits and -"


def _is(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.match(value) is not None


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
