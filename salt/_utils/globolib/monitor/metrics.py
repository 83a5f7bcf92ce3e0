"""The inventory in Prometheus' text format. Pure, but for the library that writes it."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from globolib.apps import DEFAULT
from globolib.errors import Failure

Server = Mapping[str, Any]

# name, help, how to get it from a line of the inventory; None is left out.
Gauges = tuple[tuple[str, str, Callable[[Server], float | None]], ...]
OF_HOST: Gauges = (
    (
        "globoapp_silent",
        "1 when the server has not reported for too long.",
        lambda server: int(server["silent"]),
    ),
    (
        "globoapp_last_report_timestamp_seconds",
        "When the server reported last.",
        lambda server: _epoch(server["heard"]),
    ),
    (
        "globoapp_cpu_used_ratio",
        "Processors in use since the report before.",
        lambda server: _ratio(server["cpu"]),
    ),
    (
        "globoapp_memory_available_ratio",
        "Memory that programs could still get.",
        lambda server: _ratio(server["memory"]),
    ),
)
OF_APP: Gauges = (
    (
        "globoapp_up",
        "1 when the deployed release answers as it should, 0 when not or not heard of.",
        lambda app: int(bool(app["healthy"]) and not app["silent"]),
    ),
    (
        "globoapp_latency_seconds",
        "Time to the answer of the health check.",
        lambda app: None if app["latency_ms"] is None else app["latency_ms"] / 1000,
    ),
    ("globoapp_maintenance", "1 while the app is in maintenance.", lambda app: int(bool(app["maintenance"]))),
    ("globoapp_open_alerts", "Alerts that are open.", lambda app: len(app["alerts"])),
    (
        "globoapp_last_deploy_timestamp_seconds",
        "When the last deploy ended.",
        lambda app: _epoch((app["last_deploy"] or {}).get("time")),
    ),
    (
        "globoapp_last_deploy_success",
        "1 when the last deploy succeeded.",
        lambda app: None if not app["last_deploy"] else int(app["last_deploy"]["result"] == "success"),
    ),
)


def _epoch(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else None
    except ValueError:
        return None


def _ratio(percent: float | None) -> float | None:
    return None if percent is None else round(percent / 100, 4)


def text(inventory: Mapping[str, Server], now: float) -> str:
    """
    inventory
        ``{host: {...}}`` as :func:`globolib.monitor.inventory.inventory` returns it.
    now
        Seconds since the epoch.

    Returns the text, with its last line's end. Raises Failure where prometheus_client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.core import GaugeMetricFamily
    except ImportError as error:
        raise Failure("metrics need prometheus_client beside Salt: salt-pip install prometheus-client") from error

    families = []

    def family(name: str, words: str, labels: list[str], samples: Iterable[tuple[list[str], float | None]]) -> None:
        gauge = GaugeMetricFamily(name, words, labels=labels)
        for values, value in samples:
            if value is not None:
                gauge.add_metric(values, value)
        if gauge.samples:
            families.append(gauge)

    servers = [(host, server) for host, server in sorted(inventory.items()) if "app" not in server]
    # Where globoapp itself is not deployed beside others there is nothing to say of it.
    apps = [
        ([server.get("host", host), server.get("app", DEFAULT)], server)
        for host, server in sorted(inventory.items())
        if server["version"] or "apps" not in server
    ]
    written = "globoapp_inventory_timestamp_seconds"
    family(written, "When this was written.", ["source"], [(["salt"], round(now, 3))])
    family(
        "globoapp_info",
        "The deployed version of an app of a server, and its port; empty of one on a unix socket.",
        ["host", "app", "version", "port"],
        [([*labels, str(app["version"]), str(app["port"] or "")], 1) for labels, app in apps if app["version"]],
    )
    for name, words, get in OF_APP:
        family(name, words, ["host", "app"], [(labels, get(app)) for labels, app in apps])
    for name, words, get in OF_HOST:
        family(name, words, ["host"], [([host], get(server)) for host, server in servers])
    family(
        "globoapp_disk_used_ratio",
        "How full the file system of a path is.",
        ["host", "path"],
        [
            ([host, path], _ratio(percent))
            for host, server in servers
            for path, percent in sorted((server["disk"] or {}).items())
        ],
    )
    family(
        "globoapp_alert",
        "1 for each alert that is open.",
        ["host", "app", "probe"],
        [([*labels, probe], 1) for labels, app in apps for probe in sorted(app["alerts"])],
    )

    class Inventory:
        """What prometheus_client collects."""

        def collect(self) -> Iterable[GaugeMetricFamily]:
            """The families, in their order."""
            return families

    registry = CollectorRegistry()
    registry.register(Inventory())
    written_text: bytes = generate_latest(registry)
    return written_text.decode()
