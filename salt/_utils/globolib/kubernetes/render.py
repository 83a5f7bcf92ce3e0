"""The manifests of the apps of a pillar: what they are filled with, or everything that stands in the way."""

import math
import os
from collections.abc import Mapping, MutableMapping
from typing import Any

from globolib import artifact, fetch, files, limits, text
from globolib import settings as settings_of
from globolib.errors import Failure
from globolib.kubernetes import refusals, values, wishes
from globolib.manifest import Manifest
from globolib.minion import Minion
from globolib.serving import Capacity
from globolib.settings import Settings

CONTEXT = "globoapp.kubernetes"
DIRECTORY = "kubernetes"


def rendered(minion: Minion, context: MutableMapping[str, Any]) -> list[dict[str, Any]]:
    """
    What the manifests of each app that the call is for are rendered from: ``{"app", "title", "directory", "problems",
    "values"}``; without problems ``values`` has what :func:`globolib.kubernetes.values.values` says.

    context
        Salt's ``__context__``: the states of one run and their templates ask for the same.
    """
    names, wrong = minion.chosen
    key = (minion.job, os.getpid(), repr(minion.pillar))
    known = context.get(CONTEXT)
    if known is None or known[0] != key:
        known = (key, [_of(minion.for_app(name), wrong) for name in names])
        context[CONTEXT] = known
    answer: list[dict[str, Any]] = known[1]
    return answer


def shown(minion: Minion, context: MutableMapping[str, Any]) -> list[dict[str, Any]]:
    """The same with what anybody may see of the values: ``files`` and ``why``, where there are any."""
    answer = []
    for entry in rendered(minion, context):
        made = entry["values"] or {}
        answer.append(
            {
                **{key: entry[key] for key in ("app", "title", "directory", "problems")},
                **{key: made[key] for key in ("files", "why") if made},
            }
        )
    return answer


def one(minion: Minion, context: MutableMapping[str, Any], app: str) -> dict[str, Any]:
    """
    The values of one app for its templates. A person who asks for them gets none: secrets are among them.

    Raises Failure: it has none.
    """
    if minion.call and minion.call.function.endswith(".kubernetes_values"):
        return {}
    for each in rendered(minion, context):
        if each["app"] == app and each["values"]:
            return dict(each["values"])
    raise Failure(f"{app} has no manifests: apply globoapp.kubernetes, which says why")


def _of(minion: Minion, wrong: str | None) -> dict[str, Any]:
    settings, wished, problems = _settled(minion)
    problems = [wrong] if wrong else [*minion.app_problems, *problems]
    made = None
    if not problems:
        try:
            manifest = artifact.fetch(minion, settings).manifest
            problems += refusals.of_release(settings, manifest, wished)
            made = None if problems else _made(minion, settings, manifest, wished)
        except Failure as failure:
            problems.append(str(failure))
    return {
        "app": minion.app,
        "title": f"{settings.name} {settings.version or '(no version)'}",
        "directory": wished.directory or os.path.join(settings.root, DIRECTORY),
        "problems": problems,
        "values": made,
    }


def _settled(minion: Minion) -> tuple[Settings, wishes.Wishes, list[str]]:
    """The settings of an app in a pod, what it wishes of Kubernetes, and all that is wrong with both."""
    section = minion.pillar_section
    wished, problems = wishes.parsed(section.get("kubernetes"))
    bound = refusals.bind_problem(section)
    pillar: Mapping[str, Any] = minion.pillar
    if bound:  # a host's interfaces are none of a pod's: its own line says so
        pillar = {**pillar, "globoapp": {key: value for key, value in section.items() if key != "bind"}}
    quota = section.get("cpu_quota")
    whole = isinstance(quota, str) and limits.QUOTA.match(quota)
    capacity = Capacity(math.ceil(int(quota[:-1]) / 100) if whole and quota else 1, 1 << 50)
    # What is deployed on this host is no matter of the cluster's.
    found = settings_of.resolve(pillar, None, {}, minion.call, capacity, minion.app)
    problems = [*found.problems, *([bound] if bound else []), *problems]
    if not found.invalid & {"name", "port", "memory_max", "environment", "workers"}:
        problems += refusals.of_pillar(found.settings)
    return found.settings, wished, problems


def _made(minion: Minion, settings: Settings, manifest: Manifest, wished: wishes.Wishes) -> dict[str, Any]:
    digest = wished.digest or _digest(minion, settings)
    return values.values(settings, manifest, wished, f"{wished.image}@{digest}")


def _digest(minion: Minion, settings: Settings) -> str:
    """The digest of the image beside the artifact, as ``make image`` has written it."""
    base, _, _ = settings.source.rpartition("/")
    url = f"{base}/images/{settings.name}-{settings.version}.digest"
    try:
        written = files.read(fetch.file(minion, settings, url, limit=1 << 10))
    except Failure as failure:
        raise Failure(
            f"the digest of the image of {settings.name} {settings.version} is not known: {failure}; run make image "
            f"where the files come from, or say it in {wishes.WHERE}:digest"
        ) from failure
    said = (written or "").strip()
    if not wishes.DIGEST.match(said):
        raise Failure(f"{url} holds no digest of an image but {text.line(said, 80)!r}")
    return said
