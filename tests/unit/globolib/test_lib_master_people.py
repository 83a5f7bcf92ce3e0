"""What people are shown: one bad record hides nothing; and what is sent to them: one bad notification stops nothing."""

import time

import pytest
from fakecache import NOW, alert
from globolib.errors import Failure
from globolib.monitor import inventory, metrics
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_lib_master_incoming import EVENT, HOSTILE


def server(**more):
    report = {"time": NOW, "health": {"healthy": True, "latency_ms": 2.5}, "version": "1.0", "port": 8000, "cpu": 3.0}
    report.update(memory=70.0, disk={"/": 40.0}, looked=1.0)
    return {"heard": NOW, "heard_epoch": time.time(), "report": {**report, **more}}


def fill(store):
    store.put("servers", "web1", server())
    store.put("open", "web1:api", alert())
    store.put("past", f"{NOW}-i", alert(until=NOW))
    store.put("deploys/web1", "a" * 32, {"time": NOW, "version": "1.0", "result": "success", "action": "deploy"})


BROKEN = HOSTILE | EVENT | st.just(ValueError("torn"))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bad=BROKEN, inner=BROKEN)
def test_one_bad_record_hides_nothing(store, cache, bad, inner):
    cache.records.clear()
    fill(store)
    good = inventory.inventory(store, ["web7"])["web1"]
    records = {"servers": "web2", "open": "web2:api", "past": "2026-01-01-x", "deploys/web2": "b", "refused": "web2"}
    for bank, key in records.items():
        cache.records.setdefault(f"globoapp/{bank}", {})[key] = bad
    cache.records["globoapp/servers"]["web3"] = {"heard": inner, "heard_epoch": inner, "report": inner}
    cache.records["globoapp/open"]["web3:api"] = {**alert("web3"), "until": inner, "message": inner}
    cache.records["globoapp/past"]["2026-01-02-x"] = {**alert("web3"), "until": inner}
    shown = inventory.inventory(store, ["web7"])
    assert shown["web1"] == good
    assert shown["web7"]["heard"] is None
    assert inventory.alerts(store, {"from": "2026-01-01"}, host="web1") == {
        "open": [alert()],
        "history": [alert(until=NOW), alert()],
    }
    assert [entry["version"] for entry in inventory.history(store, {}, host="web1")] == ["1.0"]
    assert set(inventory.silent(store, [])) <= {"web2", "web3"}
    inventory.history(store, {})
    inventory.refused(store)
    assert 'globoapp_up{app="globoapp",host="web1"} 1.0' in metrics.text(shown, 1.0)


def test_an_inventory(store):
    fill(store)
    assert inventory.inventory(store, ["web1", "web0"])["web1"] == {
        "version": "1.0", "port": 8000, "healthy": True, "latency_ms": 2.5, "disk": {"/": 40.0}, "cpu": 3.0,
        "memory": 70.0, "watched": True, "alerts": {"api": "m"}, "heard": NOW, "silent": False, "maintenance": None,
        "last_deploy": {"time": NOW, "version": "1.0", "action": "deploy", "result": "success"},
    }  # fmt: skip
    assert inventory.silent(store, ["web0"]) == {"web0": None}


def test_a_span_of_time(store):
    fill(store)
    assert len(inventory.alerts(store, {}, until="2026-11-23")["history"]) == 2
    assert inventory.alerts(store, {"from": "2026-11-24"})["history"] == [alert()], "still open"
    assert "history" not in inventory.alerts(store, {"__pub_jid": "1"})
    assert inventory.history(store, {"from": "2026-11-24"}) == []
    assert inventory.history(store, {}, limit=0) == inventory.history(store, {}, limit=1)
    for arguments in ({"from": "yesterday"}, {"form": "2026-11-23"}):
        with pytest.raises(Failure):
            inventory.alerts(store, arguments)


def test_one_app(store):
    fill(store)
    store.put("open", "web1:shop:api", {**alert(), "app": "shop"})
    store.put("past", f"{NOW}-s", {**alert(until=NOW), "app": "shop"})
    store.put("deploys/web1", "b" * 32, {"time": NOW, "version": "7.0", "result": "success", "app": "shop"})
    span = {"from": "2026-01-01"}
    for app in ("shop", "globoapp"):
        told = inventory.alerts(store, span, app=app)
        assert {each.get("app", "globoapp") for each in told["open"] + told["history"]} == {app}
    assert [entry["version"] for entry in inventory.history(store, {}, app="shop")] == ["7.0"]
    assert [entry["version"] for entry in inventory.history(store, {}, app="globoapp")] == ["1.0"]
    assert len(inventory.history(store, {})) == 2


def test_forget(store):
    fill(store)
    store.put("cleared", "web1:api", {"until": NOW})
    store.put("open", "web10:api", alert("web10"))
    assert inventory.forget(store, "web1") is True
    assert inventory.forget(store, "web1") is False
    assert store.keys("open") == ["web10:api"]
    assert not any(store.keys(bank) for bank in ("servers", "cleared", "deploys/web1"))
    for host in ("../x", "", 5):
        with pytest.raises(Failure, match="not the name of a server"):
            inventory.forget(store, host)


def test_what_was_refused_is_shown(store):
    store.put("refused", "web1", {"count": 2, "why": "no health", "time": NOW, "said": 5})
    assert inventory.refused(store) == {"web1": {"count": 2, "why": "no health", "time": NOW}}


def test_metrics(store, monkeypatch):
    fill(store)
    store.put("servers", "web2", {**server(disk={'/a "b"\\c': 12.5}), "heard_epoch": 0})
    store.put("servers", "web3", {**server(), "heard": "yesterday"})
    text = metrics.text(inventory.inventory(store, []), 5.0)
    assert 'globoapp_last_report_timestamp_seconds{host="web1"}' in text
    assert 'globoapp_last_report_timestamp_seconds{host="web3"}' not in text
    assert 'globoapp_info{app="globoapp",host="web1",port="8000",version="1.0"} 1.0\n' in text
    assert 'globoapp_disk_used_ratio{host="web2",path="/a \\"b\\"\\\\c"} 0.125\n' in text
    assert 'globoapp_up{app="globoapp",host="web2"} 0.0\n' in text
    assert 'globoapp_alert{app="globoapp",host="web1",probe="api"} 1.0\n' in text
    assert 'globoapp_inventory_timestamp_seconds{source="salt"} 5.0\n' in text
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(Failure, match="prometheus-client"):
        metrics.text({}, 5.0)
