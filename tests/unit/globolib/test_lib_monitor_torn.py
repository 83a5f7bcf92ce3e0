"""Whatever stands in the master's records: events are taken in, people get answers, and no other record is hidden."""

import pytest
from fakecache import Cache
from globolib.monitor import inventory, metrics
from globolib.monitor.notify import Notifier
from globolib.monitor.store import Store
from globolib.monitor.watch import Watch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOW = "2026-11-01T00:00:00.000Z"
SEEN = {"message": "m", "since": NOW}
REPORT = {
    "time": "2026-11-02T00:00:00.000Z", "health": {"healthy": False, "version": "1.0", "problems": ["changed"]},
    "version": "1.0", "port": 8000, "disk": {"/": 40.0}, "cpu": 3.0, "memory": 70.0, "looked": 1.0,
    "open": {"disk": SEEN}, "deploys": [],
}  # fmt: skip
LINE = {"id": "a" * 32, "time": NOW, "version": "1.0", "result": "success", "action": "deploy"}
ALERT = {
    "id": "x", "host": "web1", "probe": "disk", "since": NOW, "until": None, "reminders": 0, "message": "m",
    "value": None, "threshold": None, "slow": False,
}  # fmt: skip
QUEUED = {"alert": ALERT, "state": "bad", "time": NOW, "attempts": 1}
# Sound records that concern web1, by bank and key.
SOUND = {
    ("open", "web1:disk"): ALERT,
    ("open", "web1:api"): {**ALERT, "probe": "api"},
    ("open", "web1:health"): {**ALERT, "probe": "health"},
    ("open", "web1:silent"): {**ALERT, "probe": "silent"},
    ("open", "web1:healing"): {**ALERT, "probe": "healing"},
    ("cleared", "web1:disk"): {"until": NOW},
    ("past", f"{NOW}-x"): {**ALERT, "until": NOW},
    ("queue", "00000000000000000001-x"): QUEUED,
    ("dead", "00000000000000000001-x"): {**QUEUED, "why": "w"},
    ("healing", "web1"): {
        "attempts": [1.0], "refusals": [1.0], "answered": 1.0, "not_before": 0, "gave_up": False, "last": "healed: x",
    },
    ("servers", "web1"): {"heard": NOW, "heard_epoch": 1.0, "report": REPORT},
    ("refused", "web1"): {"count": 1, "why": "w", "time": NOW, "said": 1.0},
    ("deploys/web1", "b" * 32): {**LINE, "id": "b" * 32},
}  # fmt: skip
VALUES = st.none() | st.text(max_size=5) | st.sampled_from(
    [True, 7, -1.5, float("nan"), float("inf"), 10**400, [], {}, ["x"], [None], {"x": []}, "web1", "api", "many", "a/b"]
)  # fmt: skip


@st.composite
def stores(draw):
    """Sound records, of which some are not."""
    stored = {}
    for place in draw(st.lists(st.sampled_from(list(SOUND)), min_size=1, max_size=8, unique=True)):
        record = dict(SOUND[place])
        for field in draw(st.lists(st.sampled_from(list(record)), max_size=2)):
            record[field] = draw(VALUES)
        whole = draw(st.integers(0, 9))
        stored[place] = ValueError("torn") if whole == 0 else draw(VALUES) if whole == 1 else record
    return stored


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=stores())
def test_whatever_is_stored_all_go_on(tmp_path, stored):
    cache, told = Cache(), []
    store = Store(cache, str(tmp_path))
    watch = Watch(store, lambda *words: told.append(words), lambda: {"web1", "web2"})
    watch.report("web2", {**REPORT, "deploys": [LINE]})
    for (bank, key), record in stored.items():
        cache.records.setdefault(f"globoapp/{bank}", {})[key] = record
    for state in ("bad", "reminder", "clear", "bad"):
        watch.alert("web1", {"probe": "disk", "state": state, **SEEN})
        watch.alert("web1", {"probe": "api", "state": state, **SEEN})
    watch.heal("web1")
    watch.healed("web1", {"result": "refused", "comment": ""})
    watch.report("web1", REPORT)
    watch.report("web1", {**REPORT, "open": {}, "health": {"healthy": True, "version": "1.0"}})
    watch.alert("web1", {"probe": "x"})
    watch.deployed("web1", [{**LINE, "id": "b" * 32}])
    watch.tend()
    watch.listen(inventory.silent(store, ["web1", "web3"]))
    watch.expire()
    notifier = Notifier(store, lambda minion, app: {}, {})
    notifier.pending()
    assert notifier.deliver()["sent"] == 0
    notifier.dead_letters()
    inventory.refused(store)
    servers = inventory.inventory(store, ["web1", "web3"])
    assert servers["web2"]["version"] == "1.0" and servers["web2"]["last_deploy"]["version"] == "1.0"
    assert set(servers) >= {"web1", "web2", "web3"}
    assert 'globoapp_info{app="globoapp",host="web2",' in metrics.text(servers, 0)
    assert {"web2"} <= {alert["host"] for alert in inventory.alerts(store, {"from": "2026-01-01"})["open"]}
    assert "a" * 32 in [entry["id"] for entry in inventory.history(store, {}, limit=0) if "id" in entry]
    for host in ("web1", "web2"):
        inventory.forget(store, host)


@pytest.mark.parametrize(
    ("place", "record"),
    [
        (("cleared", "web1:disk"), {"until": 5}),
        (("open", "web1:disk"), {"id": "x", "host": "web1", "since": NOW, "reminders": "many"}),
        (("open", "web1:disk"), {"id": "x", "host": "web1", "since": "a/b"}),
    ],
)
def test_a_torn_record_does_not_keep_an_alert_from_opening_and_clearing(tmp_path, place, record):
    cache = Cache()
    watch = Watch(Store(cache, str(tmp_path)), lambda *words: None, lambda: {"web1"})
    cache.records[f"globoapp/{place[0]}"] = {place[1]: record}
    watch.report("web1", REPORT)
    watch.alert("web1", {"probe": "disk", "state": "reminder", **SEEN})
    assert "web1:disk" in cache.records["globoapp/open"]
    watch.alert("web1", {"probe": "disk", "state": "clear", **SEEN})
    assert "web1:disk" not in cache.records["globoapp/open"]
