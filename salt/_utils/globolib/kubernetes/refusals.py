"""What a pillar says that makes no sense on Kubernetes, all of it at once. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from globolib import background
from globolib.kubernetes.wishes import WHERE, Wishes
from globolib.manifest import Manifest
from globolib.settings import Settings

# The wildcards: a pod has an address of its own, which nobody knows beforehand.
ANY = ("0.0.0.0", "::")
LOWEST_PORT = 1024
SECRET_BYTES = 1 << 20  # what Kubernetes takes as one Secret

# Why a version has one pod.
WHY = {
    "process": "it keeps its state in the memory of one process: a second pod would have another half of it",
    "host": "it keeps its state on one volume: two pods would write to it at once, or each to its own",
}


def bind_problem(section: Mapping[str, Any]) -> str | None:
    """What is wrong with ``bind`` in a pod; None where nothing is."""
    bind = section.get("bind")
    if bind is None or bind in ANY:
        return None
    return f"bind is {bind!r}: a pod has no address or socket that is known beforehand; leave it out, or say 0.0.0.0"


def of_pillar(settings: Settings) -> Iterator[str]:
    """What of valid settings cannot be on Kubernetes, a line each."""
    if settings.name.endswith("_"):
        yield f"name is {settings.name!r}: it ends with _, which would be a - at the end of a name in Kubernetes"
    if settings.port < LOWEST_PORT:
        yield f"port is {settings.port}: in a pod the app may not take one below {LOWEST_PORT}; clients ask the Service"
    if settings.proxy is not None:
        yield f"proxy is set: on Kubernetes an ingress is what stands in front; see {WHERE}:ingress"
    if str(settings.memory_max or "").endswith("%"):
        yield f"memory_max is {settings.memory_max!r}: a pod has no memory of a host to take a part of; say 512M or 1G"
    if settings.workers == "auto":
        for key in ("cpu_quota", "memory_max"):
            if getattr(settings, key) is None:
                yield f"workers is auto, and {key} is not set: in a pod it goes by cpu_quota and memory_max"
    size = sum(len(name) + len(str(value).encode()) for name, value in settings.environment.items())
    if size > SECRET_BYTES:
        yield f"environment holds {size} bytes: a Secret takes {SECRET_BYTES}"


def of_release(settings: Settings, manifest: Manifest, wishes: Wishes) -> Iterator[str]:
    """What a version cannot be on Kubernetes, or not so often as is wished."""
    if background.wanted(manifest.processes, settings.processes):
        yield "processes are not rendered for Kubernetes: a background process wants a Deployment of your own"
    one = WHY.get(manifest.state)
    for key in ("replicas", "replicas_max"):
        wanted = getattr(wishes, key) or 1
        if one and wanted > 1:
            yield f"{WHERE}:{key} is {wanted}: {settings.name} {settings.version} can have 1: {one}"
    if (wishes.replicas_max or wishes.replicas or 1) < (wishes.replicas or 1):
        yield f"{WHERE}:replicas_max is {wishes.replicas_max}: fewer than replicas, {wishes.replicas}"
