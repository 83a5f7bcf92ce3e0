"""Several apps on a server: who looks at what, what the master hears, records, heals and shows of each."""

import json

import pytest
from globolib.layout import Layout
from globolib.minion import Minion
from globolib.monitor import inventory, look, metrics, notice, probes, report, thresholds
from globolib.monitor.incoming import deploy, edge, healed
from globolib.monitor.incoming import report as taken_in
from test_lib_master_watch import master  # noqa: F401  a fixture

NOW = "2026-01-01T00:00:00.000Z"
BAD = {"probe": "api", "state": "bad", "message": "no answer", "time": NOW, "since": NOW}
CLEAR = {**BAD, "state": "clear"}
SHOP = {"app": "shop"}
HEALTH = {"healthy": True, "version": "1.0", "latency_ms": 2.5, "problems": []}
PART = {"health": HEALTH, "version": "1.0", "port": 9000, "deploying": None}


def said(**more):
    """A server's report; its app shop is well."""
    base = {"time": NOW, "health": HEALTH, "version": "1.0", "port": 8000, "deploying": None, "open": {}, "deploys": []}
    return {**base, "apps": {"shop": PART}, **more}


def opened(master):  # noqa: F811
    return sorted(key.removeprefix("web1:") for key in master.bank("open"))


# On the server.


class Server:
    """A minion with globoapp and shop on it; ``bad`` are the apps whose API is."""

    def __init__(self, directory, monkeypatch):
        self.sent, self.bad, self.looks, self.memories = [], set(), [], {}
        self.roots = {name: directory / name for name in ("globoapp", "shop")}
        for path in (directory / "cache", directory / "run", *(root / ".globoapp" for root in self.roots.values())):
            path.mkdir(parents=True)
        monitor = {"monitor": {probe: {"samples": 1} for probe in probes.PROBES}}
        apps = {name: {"root": str(root), "port": 9000, **monitor} for name, root in self.roots.items()}
        pillar = {"globoapp": apps["globoapp"], "globoapps": {"shop": apps["shop"]}}
        opts = {"id": "web1", "cachedir": str(directory / "cache")}
        self.minion = Minion({"event.send": lambda tag, data: self.sent.append((tag, data))}, opts, pillar)
        layout = property(lambda one: Layout(one.name, one.root, run=str(directory / "run")))
        monkeypatch.setattr(look.Settings, "layout", layout)
        monkeypatch.setattr(probes, "PROBES", {name: self._probe(name) for name in probes.PROBES})

    def _probe(self, name):
        def probe(settings, memory):
            app = memory.layout.name
            self.looks.append((app, name))
            return {"bad": app in self.bad and name == "api", "value": 1, "threshold": 2, "message": app}

        return probe

    def turn(self):
        """(app, tag) of each event of the next look."""
        for memory in self.memories.values():
            memory.due.clear()
        return [(event.get("app"), event["tag"]) for event in look.turn(self.minion, self.memories)]


@pytest.fixture
def server(tmp_path, monkeypatch):
    return Server(tmp_path, monkeypatch)


def test_each_app_is_looked_at_and_the_host_once(server):
    assert server.turn() == []
    assert server.looks == [("globoapp", name) for name in probes.PROBES] + [("shop", "api")]
    server.bad.add("shop")
    assert server.turn() == [("shop", "api/bad")]
    assert (look.opened(server.minion.for_app()), list(look.opened(server.minion.for_app("shop")))) == ({}, ["api"])
    server.memories.clear()
    server.bad.clear()
    assert server.turn() == [("shop", "api/clear")], "what was open is known in the next life of the minion"


def test_the_disks_of_all_apps_are_looked_at(server):
    first = look.begin(server.minion.for_app())
    assert [one.root for one in first.beside] == [str(server.roots["shop"])]
    assert probes.places(first)[0] == str(server.roots["globoapp"])
    assert look.begin(server.minion.for_app("shop")).beside == ()


def test_an_app_that_cannot_be_looked_at_hides_no_other(server, monkeypatch):
    real = look.look

    def breaks(minion, memory):
        if minion.app == "globoapp":
            raise OSError("no such disk")
        return real(minion, memory)

    monkeypatch.setattr(look, "look", breaks)
    server.bad.add("shop")
    assert server.turn() == [("shop", "api/bad")]
    with pytest.raises(OSError, match="no such disk"):
        server.turn()


def test_an_app_that_is_another_one_now_is_looked_at_anew(server):
    server.turn()
    before = server.memories["shop"]
    server.turn()
    assert server.memories["shop"] is before
    server.minion.pillar["globoapps"]["shop"]["root"] = str(server.roots["shop"] / "x")
    server.turn()
    assert server.memories["shop"] is not before


def test_a_report_is_of_all_apps(server):
    for name, root in server.roots.items():
        about = {} if name == "globoapp" else {"app": name}
        data = {"id": name, "version": "1.0", "result": "success", "address": "127.0.0.1", "port": 9000, **about}
        (root / "deployments.jsonl").write_text(json.dumps(data) + "\n")
    server.bad.add("shop")
    server.turn()
    answers = report.report(server.minion, lambda minion: {**HEALTH, "of": minion.app})
    assert {name: health["of"] for name, health in answers.items()} == {"globoapp": "globoapp", "shop": "shop"}
    ((_, sent),) = server.sent
    assert [line.get("app") for line in sent["deploys"]] == [None, "shop"]
    assert (sent["health"]["of"], sent["apps"]["shop"]["health"]["of"]) == ("globoapp", "shop")
    assert (sent["apps"]["shop"]["port"], list(sent["open"])) == (9000, ["api@shop"])
    assert report.acknowledge(server.minion, ["shop"]) == 1
    assert report.acknowledge(server.minion, ["globoapp", "x"]) == 0
    assert list(taken_in(sent, "9999-01-01T00:00:00.000Z")["open"]) == ["api@shop"]


def test_a_report_where_globoapp_is_not_in_pillar(server):
    del server.minion.pillar["globoapp"]
    report.report(server.minion, lambda minion: HEALTH)
    ((_, sent),) = server.sent
    assert (sent["health"], sent["version"]) == ({"healthy": False, "version": None}, None)
    assert sent["apps"]["shop"]["health"] == HEALTH


# At the master's door.


@pytest.mark.parametrize("name", ["Shop", "", "a" * 32, 7, ["shop"], "shop\n", "a:b", "a@b"])
def test_what_cannot_be_an_app_is_refused(name):
    assert "no name of an app" in edge({**BAD, "app": name}, NOW)
    assert "no name of an app" in healed({"result": "healed", "app": name})
    assert "no name of an app" in deploy({"id": "a" * 32, "version": "1.0", "result": "success", "app": name}, NOW)
    key = name if isinstance(name, str) else 7
    taken = taken_in(said(apps={key: PART, "globoapp": PART, "x": 1}, open={f"api@{key}": BAD, 5: BAD}), NOW)
    assert (taken["apps"], taken["open"]) == ({}, {})


def test_what_is_of_globoapp_says_so_by_saying_nothing():
    for data in (BAD, {**BAD, "app": None}, {**BAD, "app": "globoapp"}):
        assert "app" not in edge(data, NOW)
    assert taken_in(said(open={"api@globoapp": BAD, "api@": BAD}), NOW)["open"] == {}


# On the master.


def test_alerts_of_apps_are_apart(master):  # noqa: F811
    for data in (BAD, {**BAD, **SHOP}, {**BAD, **SHOP}):
        master.watch.alert("web1", data)
    assert opened(master) == ["api", "api@shop"]
    assert [one.get("app") for one in master.bank("open").values()] == [None, "shop"]
    assert len(master.bank("queue")) == 2
    master.watch.alert("web1", CLEAR)
    assert opened(master) == ["api@shop"]


def test_the_sick_app_alone_is_healed(master):  # noqa: F811
    master.watch.alert("web1", {**BAD, **SHOP})
    assert master.watch.heal("web1") == "well"
    assert master.watch.tend() == {"web1@shop": "now"}
    assert master.told == [("web1", "globoapp_minion.heal", ["shop"])]
    assert (len(master.watch.healing("web1", "shop")["attempts"]), master.watch.healing("web1")["attempts"]) == (1, [])
    master.watch.healed("web1", {"result": "refused", "comment": "x", **SHOP})
    assert master.watch.healing("web1", "shop")["attempts"] == []
    assert master.watch.heal("web1", app="Shop") == "well"
    assert master.watch.heal("web1", again=True, app="shop") == "now"


def test_healing_of_an_app_is_given_up_by_itself(master):  # noqa: F811
    for data in (BAD, {**BAD, **SHOP}):
        master.watch.alert("web1", data)
    for _ in range(200):
        master.watch.heal("web1", app="shop")
        master.now[0] += 1
    assert opened(master) == ["api", "api@shop", "healing@shop"]
    assert master.watch.heal("web1") == "now", "globoapp has its own three attempts"
    master.watch.alert("web1", {**CLEAR, **SHOP})
    assert opened(master) == ["api"]
    assert master.watch.healing("web1", "shop")["gave_up"] is False


def test_a_report_puts_right_what_was_missed_of_an_app(master):  # noqa: F811
    later = said(time="2026-01-01T00:05:00.000Z", open={"api@shop": BAD})
    master.watch.report("web1", later)
    assert opened(master) == ["api@shop"]
    master.watch.report("web1", said(time="2026-01-01T00:06:00.000Z"))
    assert opened(master) == []


def test_a_sick_app_is_an_alert_of_its_own(master):  # noqa: F811
    sick = {**PART, "health": {**HEALTH, "healthy": False, "problems": ["api.py was changed"]}}
    master.watch.report("web1", said(apps={"shop": sick}))
    assert opened(master) == ["health@shop"]
    master.watch.report("web1", said())
    assert opened(master) == []


def test_an_app_that_is_gone_from_pillar_has_no_alerts(master):  # noqa: F811
    sick = {**PART, "health": {**HEALTH, "healthy": False, "problems": ["x"]}}
    master.watch.report("web1", said(apps={"shop": sick}))
    master.bank("open")["web1:health@shop"]["since"] = NOW
    master.watch.report("web1", said(time="2026-01-01T00:06:00.000Z", apps={}))
    assert opened(master) == []


def test_names_of_apps_that_are_made_up_are_not_recorded_without_end(master):  # noqa: F811
    for number in range(300):
        master.watch.alert("web1", {**BAD, "app": f"a{number}"})
    assert len(master.bank("open")) == 251
    assert "more than 250 open alerts" in master.bank("refused")["web1"]["why"]
    master.watch.alert("web1", BAD)
    assert "web1:api" in master.bank("open")


def test_a_server_whose_name_is_too_long_for_an_apps_records(master):  # noqa: F811
    name = "x" * 241
    master.accepted = {name}
    assert master.watch.alert(name, BAD) is not None
    assert master.watch.alert(name, {**BAD, **SHOP}) is None
    assert master.watch.heal(name, app="shop") == "well"
    master.watch.report(name, said())
    assert master.bank("servers") == {}


def test_inventory_has_a_line_for_each_app(master):  # noqa: F811
    master.watch.report("web1", said())
    master.watch.alert("web1", {**BAD, **SHOP})
    lines = [{"id": f"{number}" * 32, "version": version, "result": "success", "time": NOW, **about}
             for number, version, about in ((1, "1.0", {}), (2, "1.2", SHOP))]  # fmt: skip
    master.watch.deployed("web1", lines)
    shown = inventory.inventory(master.store, [])
    assert list(shown) == ["web1", "web1/shop"]
    shop = shown["web1/shop"]
    assert (shop["host"], shop["app"], shop["port"], shop["healthy"]) == ("web1", "shop", 9000, True)
    assert (shop["alerts"], shop["last_deploy"]["version"]) == ({"api": "no answer"}, "1.2")
    assert (shown["web1"]["alerts"], shown["web1"]["last_deploy"]["version"]) == ({}, "1.0")
    assert shown["web1"]["apps"] == ["shop"]
    text = metrics.text(shown, 1)
    assert 'globoapp_up{app="shop",host="web1"} 1.0' in text
    assert 'globoapp_up{app="globoapp",host="web1"} 1.0' in text
    assert 'globoapp_alert{app="shop",host="web1",probe="api"} 1.0' in text
    assert 'globoapp_info{app="shop",host="web1",port="9000",version="1.0"} 1.0' in text
    assert text.count("globoapp_silent{") == 1, "it is the server's"
    master.watch.heal("web1", app="shop")
    assert inventory.forget(master.store, "web1") is True
    assert not [bank for bank, records in master.cache.records.items() if records and not bank.endswith("queue")]


def test_where_globoapp_is_not_deployed_beside_others_nothing_is_measured_of_it(master):  # noqa: F811
    master.watch.report("web1", said(health={"healthy": False, "version": None}, version=None))
    text = metrics.text(inventory.inventory(master.store, []), 1)
    assert 'globoapp_up{app="shop",host="web1"} 1.0' in text
    assert 'globoapp_up{app="globoapp"' not in text


def test_a_notification_names_the_app():
    alert = {"host": "web1", "probe": "api", "message": "m", "since": NOW}
    assert notice.notice(alert, "bad", NOW)["summary"].startswith("[ALERT] web1 api: m")
    told = notice.notice({**alert, **SHOP}, "bad", NOW)
    assert (told["summary"].startswith("[ALERT] web1 shop api: m"), told["app"]) == (True, "shop")


def test_thresholds_of_an_app_are_told_by_their_place():
    pillar = {"globoapp": {"monitor": {"apy": 1}, "notify": 7}}
    (first, second) = thresholds.pillar_problems(pillar, "shop")
    assert first.startswith("globoapps:shop:monitor:apy is an unknown setting")
    assert second.startswith("globoapps:shop:notify is not a mapping")
