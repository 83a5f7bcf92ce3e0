"""What each state says: when nothing is to be done, in a dry run, and when something was done."""

import dataclasses
import types

import pytest
from globolib import answers, ledger, plan, prune, rollback, steps
from globolib.errors import Failure
from globolib.minion import Minion
from globolib.settings import Resolution
from hosts import HOST, LAYOUT, SETTINGS, TARGET, but, unit

INSTANCE = "globoapp@PACK1_0.service"


class Fake:
    """A run on a host that is a value; what it would do is noted in ``done``."""

    def __init__(self, host=HOST, settings=SETTINGS, test=False, problems=()):
        self.host, self.settings, self.target = host, settings, TARGET
        self.minion = Minion({}, {"id": "web1", "test": test}, {})
        self.problems, self.done, self.others = list(problems), [], {}
        self.begun = self.whole = not test
        self.idle = None
        self.release_command = ()
        self.resolution = Resolution(settings, warnings=("pillar pins port 80",))
        self.examined = types.SimpleNamespace(artifact=types.SimpleNamespace(sha256="ab" * 32), notes=(), accounts=None)
        self.line = {"action": "deploy", "version": "1.0", "result": "success", "duration": 1.5, "id": "i"}

    @property
    def steps(self):
        return plan.plan(self.settings, self.host, self.target)

    def _did(self, what, answer):
        self.done.append(what)
        return answer

    def begin(self, whole=True):
        return self._did("begin", ["/opt/x/y/.incoming-PACK1_0"])

    def build(self):
        return self._did("build", "uv")

    def unpack(self):
        return self._did("unpack", ["api.py was changed"])

    def configure(self):
        return self._did("configure", [])

    def try_candidate(self):
        return self._did("try", "PACK1_0 booted in 0.40 s")

    def switch(self):
        return self._did("switch", {"start": "it does not run"})

    def check(self):
        return self._did("check", "GET /: 200")

    def finish(self, failures, changed):
        return self._did(("finish", tuple(failures), tuple(changed)), self.line)


STOPPED = but(units={INSTANCE: unit(INSTANCE, "inactive")}, workers={"PACK1_0": None})
# step: (a host where it has something to do, what it does)
DRIFT = {
    "virtualenv": (but(virtualenv_differences={TARGET.virtualenv: ("x was changed",)}), "build"),
    "release": (but(differences={"PACK1_0": ("api.py was changed",)}), "unpack"),
    "tried": (but(differences={"PACK1_0": ("api.py was changed",)}), "try"),
    "configured": (but(texts={LAYOUT.gunicorn_conf: "x\n"}), "configure"),
    "serving": (STOPPED, "switch"),
}


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("step", DRIFT)
def test_where_nothing_is_to_be_done_nothing_is_done(step, test):
    here = Fake(test=test)
    said = getattr(steps, step)(here, "x")
    assert (said.result, said.changes, here.done) == (True, {}, [])


@pytest.mark.parametrize("step", DRIFT)
def test_a_dry_run_says_what_would_change_and_does_nothing(step):
    here = Fake(DRIFT[step][0], test=True)
    said = getattr(steps, step)(here, "x")
    assert said.changes and "would be" in said.comment or "would serve" in said.comment
    assert here.done == []


@pytest.mark.parametrize("step", DRIFT)
def test_what_is_to_be_done_is_done(step):
    host, does = DRIFT[step]
    here = Fake(host)
    said = getattr(steps, step)(here, "x")
    assert here.done == [does]
    assert bool(said.changes) is (step != "tried")  # a trial leaves nothing


def test_a_dry_run_says_that_a_repair_brings_a_restart():
    here = Fake(DRIFT["release"][0], test=True)
    assert list(steps.serving(here, "x").changes) == ["restart"]
    assert steps.healthy(here, "x").result is None


def test_problems_are_one_failure():
    here = Fake(problems=["port is 0", "version is missing"])
    with pytest.raises(Failure, match="Nothing was touched. To be put right first:\n  - port is 0\n  - version is mis"):
        steps.ready(here, "x", True)
    assert here.done == []


def test_ready_tells_warnings_and_what_was_cleared():
    here = Fake()
    said = steps.ready(here, "x", True)
    assert said.comment == "The settings are valid and the host is fit.\npillar pins port 80"
    assert said.warnings == ["pillar pins port 80"]
    assert said.changes == {"cleared": {"1": "/opt/x/y/.incoming-PACK1_0"}}
    dry = Fake(but(leftovers=("a note",)), test=True)
    assert steps.ready(dry, "x", True).changes == {"cleared": {"1": "a note"}}
    assert dry.done == []


def test_what_a_file_would_hold_is_shown_but_no_secret():
    environment = LAYOUT.environment("PACK1_0")
    here = Fake(but(texts={LAYOUT.gunicorn_conf: "x\n", environment: 'A="geheim"\n', LAYOUT.unit_file(INSTANCE): None}))
    changes = steps.configured(here, "x").changes
    assert changes[environment] == "it differs"
    assert changes[LAYOUT.unit_file(INSTANCE)] == "New file"
    assert "-x\n" in changes[LAYOUT.gunicorn_conf]
    assert "geheim" not in str(changes)


def test_healthy_asks(monkeypatch):
    assert steps.healthy(Fake(), "x").comment == "GET /: 200."
    answer = {"healthy": False, "problems": ["no answer"]}
    monkeypatch.setattr(answers, "health", lambda minion, deadline, known: answer)
    said = steps.healthy(Fake(test=True), "x")
    assert (said.result, said.comment) == (False, "no answer")


RUNNING = {
    "d_|-d_|-d_|-d": {"__sls__": "other", "__id__": "d", "changes": {"x": 1}, "result": False, "__run_num__": 4},
    "c": {"__sls__": "globoapp.a", "__id__": "c", "result": False, "comment": "requisite failed", "__run_num__": 3},
    "b": {"__sls__": "globoapp.a", "__id__": "b", "result": False, "comment": "why", "__run_num__": 2},
    "a": {"__sls__": "globoapp.a", "__id__": "a", "changes": {"x": 1}, "result": True, "__run_num__": 1},
}


def test_what_failed_and_what_changed_goes_to_the_record():
    here = Fake()
    said = steps.recorded(here, "x", RUNNING)
    assert here.done == [("finish", ("b: why",), ("a",))]
    assert said.comment == "deploy of 1.0: success after 1.5 s."
    assert said.changes == {"line": "i", "said": "- -> 1.0 ok 1.5 s"}


def test_the_record_tells_what_a_client_saw():
    here = Fake()
    here.line["probe"] = {"sent": 276, "failed": 0, "longest_gap_ms": 26.4}
    assert "276 requests, 0 failed, longest gap 26.4 ms" in steps.recorded(here, "x", {}).comment


@pytest.mark.parametrize(("cut", "words"), [(1, "1 request was"), (7, "7 requests were")])
def test_the_record_tells_what_was_cut(cut, words):
    here = Fake()
    here.line["cut"] = cut
    assert f"{words} still running when graceful_timeout ended, and cut." in steps.recorded(here, "x", {}).comment


def test_nothing_to_record():
    here = Fake()
    here.line = None
    assert steps.recorded(here, "x", {}).changes == {}
    assert steps.recorded(Fake(test=True), "x", {}).changes == {}
    assert steps.recorded(Fake(test=True), "x", RUNNING).changes == {"line": "to be written"}


def test_pruning(monkeypatch):
    assert steps.pruned(Fake(), "x").comment == "All releases are kept."
    settings = dataclasses.replace(SETTINGS, keep=2)
    monkeypatch.setattr(rollback, "pruned", lambda minion: {"releases": ["PACK0_1"], "virtualenvs": ["v"]})
    assert steps.pruned(Fake(settings=settings), "x").changes == {"removed": {"1": "PACK0_1", "2": "v"}}
    monkeypatch.setattr(prune, "planned", lambda *args: prune.Going())
    assert steps.pruned(Fake(settings=settings, test=True), "x").changes == {}


def test_pruning_is_left_to_a_deploy_that_has_begun(monkeypatch):
    def busy(minion):
        raise Failure("another deploy is under way on this host: deploy of 1.1")

    monkeypatch.setattr(rollback, "pruned", busy)
    said = steps.pruned(Fake(settings=dataclasses.replace(SETTINGS, keep=2)), "x")
    assert said.result is True
    assert said.comment.startswith("Nothing was removed: another deploy is under way")


# What the sls files are rendered from.


def rendered(monkeypatch, *runs, asked=None, monitor=()):
    """steps.rendered where the apps of pillar have these runs."""
    site = {"globoapps": {here.minion.app: {} for here in runs[1:]}, **({"globoapp": {}} if runs else {})}
    here = {run.minion.app: run for run in runs}
    monkeypatch.setattr(steps.run, "current", lambda minion, context: here[minion.app])
    opts = {"id": "web1", "cachedir": "/c", "fun": "state.apply", "arg": [{"__kwarg__": True, "pillar": asked or {}}]}
    minion = Minion({}, opts, site)
    return steps.rendered(minion, {}, lambda minion: list(monitor))


def app(key, **more):
    """A run of an app beside globoapp."""
    here = Fake(settings=dataclasses.replace(SETTINGS, **{"name": key, "user": key, "root": f"/opt/{key}", **more}))
    here.minion = dataclasses.replace(here.minion, app=key)
    return here


def test_rendered_has_all_problems(monkeypatch):
    assert rendered(monkeypatch, Fake(problems=["port is 0"]))[0]["problems"] is True
    assert rendered(monkeypatch, Fake())[0]["problems"] is False
    here = Fake()
    assert rendered(monkeypatch, here, monitor=["globoapp:monitor:x is an unknown setting"])[0]["problems"] is True
    assert here.problems == ["globoapp:monitor:x is an unknown setting"]


def test_all_apps_that_have_a_version_are_rendered(monkeypatch):
    told = rendered(monkeypatch, Fake(), app("shop"), app("new", version=""))
    assert [(one["app"], one["title"], one["problems"]) for one in told] == [
        ("globoapp", "globoapp 1.0", False), ("shop", "shop 1.0", False)
    ]  # fmt: skip
    wrong = app("new", version="")
    wrong.resolution = Resolution(wrong.settings, frozenset({"version"}))
    assert [one["app"] for one in rendered(monkeypatch, Fake(), wrong)] == ["globoapp", "new"]


def test_an_app_that_was_named_is_rendered_whatever_it_has(monkeypatch):
    (told,) = rendered(monkeypatch, Fake(), app("new", version=""), asked={"app": "new"})
    assert told["title"] == "new (no version)"
    none = rendered(monkeypatch, Fake(settings=dataclasses.replace(SETTINGS, version="")), app("new", version=""))
    assert [one["app"] for one in none] == ["globoapp", "new"], "where none has a version each says so"


def test_an_unknown_app_is_all_that_is_told(monkeypatch):
    here = Fake(problems=["port is 0"])
    (told,) = rendered(monkeypatch, here, app("shop"), asked={"app": "shp", "version": "1.2"}, monitor=["x"])
    assert told["problems"] is True
    assert here.problems == ["app is 'shp': an unknown app; did you mean shop?"]


def test_an_account_of_several_apps_is_made_once(monkeypatch):
    shared = {"user": "web", "group": "apps"}
    sick = app("sick", **shared)
    sick.problems = ["port is 0"]
    told = rendered(monkeypatch, Fake(), sick, app("shop", **shared), app("billing", **shared))
    assert [one["makes"] for one in told] == [["user"], [], ["group", "user"], []]
    assert {(one["new_group"], one["new_user"]) for one in told[1:]} == {("apps", "web")}


def test_two_apps_of_one_name_are_told_apart(monkeypatch):
    told = rendered(monkeypatch, Fake(), app("shop"), app("billing", name="shop"))
    titles = [one["title"] for one in told]
    assert titles == ["globoapp 1.0", "shop (globoapps:shop) 1.0", "shop (globoapps:billing) 1.0"]


@pytest.mark.parametrize(
    ("identity", "of"),
    [
        ("shop 1.0 serves", "shop"), ("shop 1.0 can be deployed", "shop"), ("shop 1.2 serves", ""),
        ("units of shop are defined", "shop"), ("packages of shop 1.0 are installed", "shop"),
        ("tree /opt/shop exists", "shop"), ("system user web exists", "shop tree"),
        ("system group apps exists", "shop tree"), ("tree 1.0 serves", "tree"), ("units of tree are defined", "tree"),
    ],
)  # fmt: skip
def test_whose_a_state_is(identity, of):
    settings = [app(name, user="web", group="apps").settings for name in ("shop", "tree")]
    assert " ".join(one.name for one in settings if steps.is_of(one, identity)) == of


def test_a_run_records_what_its_own_app_did():
    here = app("shop")
    here.others = {"billing": app("billing").resolution}
    running = {
        name: {"__sls__": "globoapp.service", "__id__": name, "result": False, "comment": "x", "changes": {"a": 1}}
        for name in ("shop 1.0 serves", "billing 1.0 serves", "who knows")
    }
    steps.recorded(here, "x", running)
    assert here.done == [("finish", ("shop 1.0 serves: x", "who knows: x"), ("shop 1.0 serves", "who knows"))]


def test_a_part_of_the_states_prepares_and_leaves_what_serves_alone(machine):
    assert machine.deploy("1.0").failure is None
    machine.publish("1.1")
    here = machine.begin("1.1")
    before = machine.live_files()
    assert steps.ready(here, "x", False).result is True
    for step in (steps.virtualenv, steps.release, steps.tried):
        assert step(here, "x").result is True
    for step in (steps.configured, steps.serving):
        with pytest.raises(Failure, match="the ledger would not know .* Apply globoapp as a whole"):
            step(here, "x")
    assert machine.live_files() == before
    here.unlock()
    # It has left no note that the next run would take for one of a deploy that was cut.
    assert machine.deploy().line is None
    assert machine.deploy("1.1").line["action"] == "deploy"
    assert [entry.data["result"] for entry in ledger.read(machine.layout.ledger)] == ["success", "success"]


def test_a_state_that_is_applied_alone_changes_nothing(machine):
    assert machine.deploy("1.0").failure is None
    machine.publish("1.1", lock="# another one\n")
    here, before = machine.begin("1.1"), machine.live_files()
    for step in (steps.virtualenv, steps.release, steps.tried, steps.configured, steps.serving):
        with pytest.raises(Failure, match="without the first one of a deploy: apply globoapp as a whole"):
            step(here, "x")
    assert steps.healthy(here, "x").result is True  # of what is deployed
    assert machine.live_files() == before
    assert machine.running() == ["PACK1_0"]
