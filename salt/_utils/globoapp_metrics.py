"""
The inventory in Prometheus' text format. Pure.
"""

from datetime import datetime

# name, help, how to get it from a server of the inventory; None is left out.
GAUGES = (
    (
        "globoapp_up",
        "1 when the release that stands here answers as it should, 0 when not or not heard of.",
        lambda one: int(bool(one["healthy"]) and not one["silent"]),
    ),
    ("globoapp_silent", "1 when the server has not reported for too long.", lambda one: int(one["silent"])),
    ("globoapp_last_report_timestamp_seconds", "When the server reported last.", lambda one: _epoch(one["heard"])),
    (
        "globoapp_latency_seconds",
        "Time to the answer of the health check.",
        lambda one: None if one["latency_ms"] is None else one["latency_ms"] / 1000,
    ),
    ("globoapp_cpu_used_ratio", "Processors in use since the report before.", lambda one: _ratio(one["cpu"])),
    ("globoapp_memory_available_ratio", "Memory that programs could still get.", lambda one: _ratio(one["memory"])),
    ("globoapp_open_alerts", "Alerts that are open.", lambda one: len(one["alerts"])),
    (
        "globoapp_last_deploy_timestamp_seconds",
        "When the last deploy ended.",
        lambda one: _epoch((one["last_deploy"] or {}).get("time")),
    ),
    (
        "globoapp_last_deploy_success",
        "1 when the last deploy succeeded.",
        lambda one: None if not one["last_deploy"] else int(one["last_deploy"]["result"] == "success"),
    ),
)


def _epoch(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else None


def _ratio(percent):
    return None if percent is None else round(percent / 100, 4)


def _escape(value):
    return str(value).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _line(name, labels, value):
    listed = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{listed}}} {value}"


def text(inventory, now):
    """
    inventory
        ``{host: {...}}`` as ``globoapp.inventory`` returns it.
    now
        Seconds since the epoch.

    Returns the text, with its last line's end.
    """
    lines = []

    def family(name, words, samples):
        samples = [(labels, value) for labels, value in samples if value is not None]
        if samples:
            lines.extend([f"# HELP {name} {words}", f"# TYPE {name} gauge"])
            lines.extend(_line(name, labels, value) for labels, value in samples)

    servers = sorted(inventory.items())
    family("globoapp_inventory_timestamp_seconds", "When this was written.", [({"source": "salt"}, round(now, 3))])
    family(
        "globoapp_info",
        "The version that stands on a server, and its port.",
        [
            ({"host": host, "version": one["version"], "port": one["port"]}, 1)
            for host, one in servers
            if one["version"]
        ],
    )
    for name, words, get in GAUGES:
        family(name, words, [({"host": host}, get(one)) for host, one in servers])
    family(
        "globoapp_disk_used_ratio",
        "How full the file system of a path is.",
        [
            ({"host": host, "path": path}, _ratio(percent))
            for host, one in servers
            for path, percent in sorted((one["disk"] or {}).items())
        ],
    )
    family(
        "globoapp_alert",
        "1 for each alert that is open.",
        [({"host": host, "probe": probe}, 1) for host, one in servers for probe in sorted(one["alerts"])],
    )
    return "\n".join(lines) + "\n"
