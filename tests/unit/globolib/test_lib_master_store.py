"""The master's records: a broken one counts as none, a cache that fails is told apart from that."""

import threading
from types import SimpleNamespace

import pytest
from fakecache import Cache
from globolib.monitor import store as stores
from globolib.monitor.accepted import Accepted


def test_put_get_drop_keys_records(store):
    store.put("open", "web2:api", {"n": 2})
    store.put("open", "web1:api", {"n": 1})
    assert store.get("open", "web1:api") == {"n": 1}
    assert store.keys("open") == ["web1:api", "web2:api"]
    assert store.records("open", lambda key: key.startswith("web2")) == {"web2:api": {"n": 2}}
    store.drop("open", "web1:api")
    store.drop("open", "web1:api")
    assert store.get("open", "web1:api") is None


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".hidden", "x" * 256, "web\n", "wéb", "a b"])
def test_a_key_is_no_path(store, key):
    with pytest.raises(ValueError, match="cannot name a record"):
        store.put("open", key, {})
    with pytest.raises(ValueError, match="cannot name a record"):
        store.get("deploys", key)


@pytest.mark.parametrize("record", [ValueError("torn"), RuntimeError("torn"), [], "text", 5, None, {}])
def test_a_record_that_is_none_hides_no_other(store, cache, record):
    store.put("open", "good", {"n": 1})
    cache.records["globoapp/open"].update({"bad": record, "../bad": {"n": 2}})
    assert store.get("open", "bad") is None
    assert store.records("open") == {"good": {"n": 1}}


def test_a_cache_that_fails_is_not_a_missing_record(store, cache):
    store.put("open", "good", {"n": 1})
    cache.down = True
    with pytest.raises(ConnectionError):
        store.get("open", "good")


def test_one_at_a_time(store):
    inside, most = [], []

    def work():
        for _ in range(20):
            with store.exclusive():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


def test_a_process_opens_it_once(tmp_path):
    made = []
    opts = {"cachedir": str(tmp_path)}
    assert stores.opened(opts, lambda _: made.append(1) or Cache()) is stores.opened(opts, lambda _: made.append(1))
    assert made == [1]


def test_accepted_minions_are_listed_once_for_many_events(monkeypatch):
    now, asked, keys = [100.0], [], {"web1"}
    monkeypatch.setattr("globolib.monitor.accepted.time", SimpleNamespace(monotonic=lambda: now[0]))
    context = {}

    def heard(minion):
        return minion in Accepted(lambda: asked.append(1) or set(keys), context)

    assert [heard("web1") for _ in range(5)] == [True] * 5
    assert len(asked) == 1
    keys.add("web2")
    assert not heard("web2"), "the list is a moment old"
    now[0] += 1
    assert heard("web2")
    assert len(asked) == 2
    for _ in range(50):
        assert not heard("forged")
    assert len(asked) == 2, "names that are made up do not have the list read each time"
    keys.discard("web1")
    assert heard("web1")
    now[0] += 30
    assert not heard("web1")
