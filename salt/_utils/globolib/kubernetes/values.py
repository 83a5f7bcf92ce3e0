"""What the manifests of a release are filled with: a pure function of its settings, its manifest and its image."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from globolib import connect, limits, serving, units
from globolib.address import Address
from globolib.kubernetes.agreed import ACCOUNT, CONFIGURATION
from globolib.kubernetes.refusals import WHY
from globolib.kubernetes.wishes import INGRESS, Wishes
from globolib.manifest import Manifest
from globolib.settings import Settings

MARGIN = 5  # seconds beyond graceful_timeout before the kubelet kills what is left
HISTORY = 10  # revisions where `keep` is all: Kubernetes' own default
REPLICAS, TIMES = 2, 3  # of a version that allows it; how many times as many under load
CPU = "100m"  # what is asked for where pillar has no cpu_quota

# The manifests that are applied before the release command, and those after it, in that order.
PREPARE = ("serviceaccount", "networkpolicy", "configmap", "secret", "persistentvolumeclaim", "job")
SERVE = ("service", "deployment", "poddisruptionbudget", "horizontalpodautoscaler", "ingress")


def values(settings: Settings, manifest: Manifest, wishes: Wishes, image: str) -> dict[str, Any]:
    """
    What the templates are rendered from: texts that need no more than quotes, ``args`` and ``job.command`` as YAML.

    settings
        Without :func:`refusals.of_pillar`.
    image
        With its digest: ``registry.example.com/globoapp@sha256:...``.
    """
    name, one = settings.name.replace("_", "-"), WHY.get(manifest.state)
    replicas = wishes.replicas or (1 if one else REPLICAS)
    config = {"gunicorn.json": units.gunicorn_settings(settings)}
    secret = {key: _encoded(str(value)) for key, value in sorted(settings.environment.items())}
    named_config, named_secret = _named(name, config), _named(name, secret)
    pod = {
        "image": image,
        "pull_secret": wishes.pull_secret,
        "uid": settings.uid or ACCOUNT,
        "gid": settings.gid or ACCOUNT,
        "config": named_config,
        "secret": named_secret,
        "volume": name if manifest.state == "host" else None,
        "state": settings.layout.state if manifest.state == "host" else "/tmp",
        "configuration": f"{CONFIGURATION}/settings",
        "memory": _memory(settings, manifest),
        "cpu": _cpu(settings.cpu_quota) or CPU,
        "cpu_limit": _cpu(settings.cpu_quota),
    }
    most = max(replicas, wishes.replicas_max or (1 if one else replicas * TIMES))
    made = {
        "name": name,
        "namespace": wishes.namespace,
        "version": settings.version,
        "why": f"one pod: {one}" if one else "several pods: what they keep is where all of them find it",
        "single": bool(one),
        "replicas": replicas,
        "replicas_max": most,
        "port": settings.port,
        "args": quoted(["--bind", Address(settings.bind, settings.port).listen, manifest.wsgi]),
        "min_ready": math.ceil(settings.soak),
        "progress": 600 + math.ceil(settings.soak + settings.deadline),
        "history": settings.keep if isinstance(settings.keep, int) else HISTORY,
        "pre_stop": wishes.pre_stop,
        "grace": wishes.pre_stop + settings.graceful_timeout + MARGIN,
        "config": config,
        "secret": secret,
        "storage": wishes.storage,
        "egress": [{"cidr": str(place.network), "port": place.port} for place in connect.places(settings.connect)],
        "dns": wishes.dns,
        "ingress": {key: wishes.ingress.get(key) for key in INGRESS} if wishes.ingress else None,
        "pod": pod,
        **_probes(settings, manifest),
    }
    made["job"] = _job(settings, manifest, name, pod)
    absent = {
        "persistentvolumeclaim": pod["volume"] is None,
        "job": made["job"] is None,
        "poddisruptionbudget": most == 1,
        "horizontalpodautoscaler": most == replicas,
        "ingress": wishes.ingress is None,
    }
    made["files"] = {
        f"{step}/{kind}": not absent.get(kind, False)
        for step, kinds in (("prepare", PREPARE), ("serve", SERVE))
        for kind in kinds
    }
    return made


def _probes(settings: Settings, manifest: Manifest) -> dict[str, Any]:
    """
    The program that judges an answer as a server's health check does asks until the release is up; then the kubelet by
    itself, where the status is one that it takes for well.
    """
    health = manifest.health
    named = {key.lower() for key in health.headers}
    headers = {**({} if "host" in named else {"Host": "localhost"}), **health.headers}
    ask = ["python3", f"{CONFIGURATION}/healthcheck.py", str(settings.port), str(settings.timeout)]
    return {
        "startup": {"command": quoted(ask), "attempts": math.ceil(settings.deadline)},
        "timeout": math.ceil(settings.timeout),
        "ready": {"path": health.path, "headers": headers} if 200 <= health.status < 400 else None,
    }


def _job(settings: Settings, manifest: Manifest, name: str, pod: Mapping[str, Any]) -> dict[str, Any] | None:
    """The release command; None without one. A Job cannot be changed: another content has another name."""
    words = settings.release_words(manifest.release_command)
    if not words:
        return None
    made = {"command": quoted(words), "deadline": math.ceil(settings.release_timeout)}
    return {**made, "name": _named(f"{name}-release", {**pod, **made, "version": settings.version})}


def quoted(words: Sequence[str]) -> str:
    """A list of words as YAML on one line; Kubernetes, which would put variables in for ``$(NAME)``, leaves them."""
    return "[" + ", ".join(_text(word.replace("$", "$$")) for word in words) + "]"


def _text(word: str) -> str:
    """A text as YAML. What JSON has two escapes for (a pair of surrogates) is one character to YAML."""
    pairs = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")
    # DEL is the one that JSON leaves as it is, and YAML does not take.
    return pairs.sub(_one_character, json.dumps(word).replace("\x7f", "\\x7f"))


def _one_character(pair: re.Match[str]) -> str:
    return f"\\U{0x10000 + ((int(pair[1], 16) & 0x3FF) << 10) + (int(pair[2], 16) & 0x3FF):08x}"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _named(name: str, content: Mapping[str, Any]) -> str:
    """A name that says what is inside: other content has another one, and what runs keeps what it began with."""
    return f"{name}-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]}"


def _memory(settings: Settings, manifest: Manifest) -> str:
    """``memory_max`` as Kubernetes writes it, or what the workers are allowed on a server."""
    workers = 1 if manifest.single_process else settings.worker_count or manifest.workers
    size = limits.memory_bytes(settings.memory_max, 0) or workers * serving.WORKER_BYTES
    return str(size) if size % serving.MIB else f"{size // serving.MIB}Mi"


def _cpu(quota: str | None) -> str | None:
    """A percentage of one processor in thousandths of it."""
    return f"{int(quota[:-1]) * 10}m" if quota else None
