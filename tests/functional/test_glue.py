"""Salt's files around globolib, by Salt's real loaders: what may be called, and how Salt tells what came of it."""

import ast
import copy
import errno
import importlib.util
import os
import re

import pytest
import salt.loader
from bare import CHECKOUT
from globolib import answers, steps
from globolib import rollback as going_back
from globolib.errors import Failure
from globolib.host import Unit
from globolib.steps import Outcome
from salt.exceptions import CommandExecutionError

PEOPLES = {
    "deploying",
    "health",
    "history",
    "maintenance",
    "preflight",
    "prune",
    "releases",
    "rollback",
    "run",
    "settings",
    "status",
}
STATES = (
    "ready", "virtualenv", "release", "proxy_checked", "release_command", "tried", "configured", "serving", "healthy",
    "proxied", "recorded", "pruned",
)  # fmt: skip


class Glue:
    """Execution functions and states with a pillar and a context of their own."""

    def __init__(self, options):
        self.options, self.context = options, {}
        utils = salt.loader.utils(options, context=self.context)
        self.modules = salt.loader.minion_mods(options, utils=utils, context=self.context)
        self.states = salt.loader.states(options, self.modules, utils, None, context=self.context)
        self.states.pack["__running__"] = {}
        self.states.pack["__lowstate__"] = [{"state": "globoapp", "fun": name} for name in STATES]

    def call(self, name, *args, **kwargs):
        """What a function returns, and the return code that it sets."""
        self.context.pop("retcode", None)
        return self.modules[name](*args, **kwargs), self.context.get("retcode", 0)


@pytest.fixture
def glue(minion, loaders, pillar):
    """Makes a Glue; arguments are options of the minion."""

    def make(**options):
        config = {**copy.deepcopy(minion.config), "grains": loaders.opts["grains"], "pillar": pillar, **options}
        return Glue(config)

    return make


# What may be called.


def test_what_a_person_may_call(glue):
    ours = {name for name in glue().modules if name.startswith("globo")}
    assert {name for name in ours if not name.startswith("globoapp_minion.")} == {
        *(f"globoapp.{name}" for name in PEOPLES),
        *(f"globoapp_balancer.{name}" for name in ("drain", "ready", "settings", "state")),
    }


def test_what_only_machines_call_is_documented(glue):
    modules = glue().modules
    for name in (name for name in modules if name.startswith("globo")):
        target = "lb*" if name.startswith("globoapp_balancer.") else "web*"
        assert f"salt '{target}' {name}" in modules[name].__doc__, f"{name} has no example"
        assert "CLI Example:" in modules[name].__doc__


def test_the_states_of_a_deploy(glue):
    ours = {name for name in glue().states if name.startswith("globo")}
    assert ours == {*(f"globoapp.{name}" for name in STATES), "globoapp_ssh.applied", "globoapp_ssh.asked"}


# Functions.

ANSWERS = {
    "settings": (answers, {"problems": ["x"]}, 0),
    "preflight": (answers, {"problems": []}, 0),
    "preflight with problems": (answers, {"problems": ["x"]}, 1),
    "health": (answers, {"healthy": True}, 0),
    "health that is bad": (answers, {"healthy": False}, 1),
    "status": (answers, {"differences": []}, 0),
    "status with differences": (answers, {"differences": ["x"]}, 1),
    "deploying": (answers, {"what": "x"}, 0),
    "releases": (answers, {}, 0),
    "history": (answers, [], 0),
    "rollback": (going_back, {"result": True}, 0),
    "rollback that failed": (going_back, {"result": False}, 1),
    "run": (answers, {"exit": 0}, 0),
    "run that failed": (answers, {"exit": 3}, 1),
    "run that was killed": (answers, {"exit": None}, 1),
}
# Functions of globolib that have another name there, and arguments that people must give.
NAMES = {"prune": "pruned", "run": "command", "maintenance": "in_maintenance"}
GIVEN = {"run": ["true"]}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_bad_answer_sets_a_return_code(glue, monkeypatch, case):
    module, answer, code = ANSWERS[case]
    name = case.split()[0]
    monkeypatch.setattr(module, NAMES.get(name, name), lambda minion, *args: answer)
    assert glue().call(f"globoapp.{name}", *GIVEN.get(name, [])) == (answer, code)


def test_salt_ssh_has_the_same_functions():
    path = CHECKOUT / "salt/_wrapper/globoapp.py"
    spec = importlib.util.spec_from_file_location("globoapp_wrapper", path)
    wrapper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(wrapper)
    assert set(wrapper.NAMES) == PEOPLES == {name for name in PEOPLES if callable(vars(wrapper)[name])}


@pytest.mark.parametrize("name", sorted(PEOPLES))
def test_a_failure_is_an_error_of_salts(glue, monkeypatch, name):
    def fails(*args, **kwargs):
        raise Failure("the disk is on fire")

    for module in (answers, going_back):
        monkeypatch.setattr(module, NAMES.get(name, name), fails, raising=False)
    with pytest.raises(CommandExecutionError, match="^the disk is on fire$"):
        glue().call(f"globoapp.{name}", *GIVEN.get(name, []))


def test_salt_ssh_has_what_the_sls_files_of_a_deploy_ask_for():
    """What its wrapper has not is run on the server, by ssh."""
    files = [path for kind in ("sls", "jinja") for path in (CHECKOUT / "salt/globoapp").glob(f"*.{kind}")]
    asked = {name for path in files for name in re.findall(r"'globoapp_minion\.(\w+)'", path.read_text())}
    assert {"fit", "rendered", "is_current"} <= asked
    defined = ast.parse((CHECKOUT / "salt/_wrapper/globoapp_minion.py").read_text()).body
    assert asked <= {one.name for one in defined if isinstance(one, ast.FunctionDef)}


def test_a_bare_server_answers_everything(glue, pillar):
    here = glue()
    assert here.call("globoapp.health") == (
        {"healthy": False, "version": None, "problems": ["nothing is deployed on this host"]},
        1,
    )
    told, code = here.call("globoapp.status")
    assert (told["version"], told["differences"], code) == (None, ["nothing is deployed on this host"], 1)
    told, code = here.call("globoapp.settings")
    assert (told["version"], told["problems"], code) == ("1.0", [], 0)
    assert here.call("globoapp.preflight")[1] == 0
    assert here.call("globoapp.deploying") == (None, 0)
    assert here.call("globoapp.maintenance") == ({"on": False}, 0)
    assert here.call("globoapp.releases") == ({}, 0)
    assert here.call("globoapp.history", limit="5") == ([], 0)
    assert here.call("globoapp.rollback")[0]["to"] is None
    with pytest.raises(CommandExecutionError, match="nothing is deployed on this host"):
        here.call("globoapp.prune", keep=1)
    with pytest.raises(CommandExecutionError, match="nothing is deployed on this host"):
        here.call("globoapp.run", "true")
    assert not os.path.exists(pillar["globoapp"]["root"])


def test_what_is_told_can_be_sent(glue):
    """Salt packs what a function returns: no object of ours, no tuple that would come back as a list."""
    here = glue()
    for name in ("settings", "preflight", "health", "status", "releases", "history"):
        answer, _ = here.call(f"globoapp.{name}")
        assert _plain(answer), name
    assert _plain(here.call("globoapp_minion.rendered")[0])


def _plain(value):
    if isinstance(value, dict):
        return all(type(key) is str and _plain(held) for key, held in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or type(value) in (str, int, float, bool)


def test_the_master_hears_of_maintenance_at_once(glue, monkeypatch):
    reports, here = [], glue()
    monkeypatch.setattr("globolib.monitor.report.report", lambda minion, health: reports.append(health(minion)))
    # As Salt reads `off` on the command line.
    assert here.call("globoapp.maintenance", False) == ({"on": False}, 0)
    assert [one["problems"] for one in reports] == [["nothing is deployed on this host"]]
    here.call("globoapp.maintenance")
    assert len(reports) == 1, "who only asks changes nothing"


# Several apps.


@pytest.fixture
def several(glue, pillar, monkeypatch):
    """A Glue with the apps globoapp and shop, where each function of globolib says which app it was asked about."""
    pillar["globoapps"] = {"shop": {"port": 9000, "root": f"{pillar['globoapp']['root']}-shop"}}
    judged = {"healthy": True, "problems": [], "differences": [], "result": True}
    theirs = [(answers, NAMES.get(name, name)) for name in PEOPLES - {"prune", "rollback"}]
    for module, name in [*theirs, (going_back, "rollback"), (going_back, "pruned")]:
        monkeypatch.setattr(module, name, lambda minion, *args: {**judged, "exit": 0, "app": minion.app})
    return glue()


@pytest.mark.parametrize("name", sorted(PEOPLES))
def test_every_function_takes_an_app(several, name):
    words = ["true"] if name == "run" else []
    assert several.call(f"globoapp.{name}", *words)[0]["app"] == "globoapp"
    assert several.call(f"globoapp.{name}", *words, app="shop")[0]["app"] == "shop"
    with pytest.raises(CommandExecutionError, match="app is 'shp': an unknown app; did you mean shop?"):
        several.call(f"globoapp.{name}", *words, app="shp")


@pytest.mark.parametrize("name", sorted(PEOPLES))
def test_where_no_app_is_the_default_one_must_be_named(several, glue, pillar, name):
    pillar["globoapps"]["billing"] = {"port": 9001}
    del pillar["globoapp"]
    with pytest.raises(CommandExecutionError, match="this host has several: shop, billing; say which one"):
        glue().call(f"globoapp.{name}", *(["true"] if name == "run" else []))


def test_a_report_asks_all_apps(several, monkeypatch):
    def report(minion, health):
        return {name: health(minion.for_app(name)) for name in minion.apps}

    monkeypatch.setattr("globolib.monitor.report.report", report)
    told, code = several.call("globoapp.health", report=True)
    assert ({name: one["app"] for name, one in told["apps"].items()}, told["healthy"], code) == (
        {"globoapp": "globoapp", "shop": "shop"}, True, 0
    )  # fmt: skip
    assert several.call("globoapp.health", report=True, app="shop")[0]["app"] == "shop"
    monkeypatch.setattr(answers, "health", lambda minion, *args: {"healthy": minion.app == "shop"})
    assert several.call("globoapp.health", report=True)[1] == 1


def test_what_machines_call_is_about_the_app_that_is_meant(several, monkeypatch):
    monkeypatch.setattr("globolib.heal.heal", lambda minion: {"result": "healed", "app": minion.app})
    monkeypatch.setattr("globolib.heal.tidy", lambda minion, days: (minion.app, days))
    monkeypatch.setattr("globolib.monitor.look.opened", lambda minion: minion.app)
    monkeypatch.setattr("globolib.monitor.look.turn", lambda minion, memories: [(*minion.apps, memories)])
    assert several.call("globoapp_minion.heal", "shop") == ({"result": "healed", "app": "shop"}, 0)
    assert several.call("globoapp_minion.opened", app="shop")[0] == "shop"
    assert several.call("globoapp_minion.tidy")[0] == {"globoapp": ("globoapp", 14), "shop": ("shop", 14)}
    assert several.call("globoapp_minion.look")[0] == [("globoapp", "shop", {})]


@pytest.mark.parametrize(
    ("active", "told", "said"),
    [
        ("active", True, "the minion takes it up"),
        ("inactive", None, "no minion runs that could take it up"),
        ("active", False, "the minion was not told to take up its pillar: salt-call saltutil.refresh_pillar"),
    ],
)
def test_a_minion_is_told_to_take_up_its_pillar(glue, monkeypatch, active, told, said):
    asked = []
    monkeypatch.setattr("globolib.systemd.unit", lambda name: Unit(name, active=active))
    monkeypatch.setattr("globolib.minion.Minion.refresh", lambda minion: asked.append(minion.id) or told)
    try:
        came = glue().call("globoapp_minion.take_up")[0]
    except CommandExecutionError as error:
        came = str(error)
    assert (came, bool(asked)) == (said, told is not None)


# States.


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize(
    ("error", "comment"),
    [
        (Failure("the disk is on fire"), "the disk is on fire"),
        (OSError(errno.ENOSPC, "No space left on device", "/opt/x"), "/opt/x: No space left on device"),
        (OSError("torn"), "a name: torn"),
    ],
    ids=["a failure", "a full disk", "an error without words"],
)
def test_an_error_is_a_red_comment(glue, monkeypatch, name, error, comment):
    def fails(here, name, *args):
        raise error

    monkeypatch.setattr(steps, name, fails)
    said = glue().states[f"globoapp.{name}"]("a name")
    assert (said["result"], said["changes"], said["comment"]) == (False, {}, comment)


@pytest.mark.parametrize(
    ("test", "outcome", "result"),
    [
        (False, Outcome("x", {"a": "b"}), True),
        (True, Outcome("x", {"a": "b"}), None),
        (True, Outcome("x"), True),
        (True, Outcome("x", result=None), None),
        (True, Outcome("x", {"a": "b"}, result=False), False),
    ],
)
def test_an_outcome_in_salts_words(glue, monkeypatch, test, outcome, result):
    monkeypatch.setattr(steps, "serving", lambda here, name: outcome)
    said = glue(test=test).states["globoapp.serving"]("a name")
    assert said == {"name": "a name", "changes": dict(outcome.changes), "result": result, "comment": "x"}


def test_warnings_are_passed_on(glue, monkeypatch):
    monkeypatch.setattr(steps, "ready", lambda here, name, whole: Outcome("x", warnings=("pillar pins port 80",)))
    assert glue().states["globoapp.ready"]("a name")["warnings"] == ["pillar pins port 80"]


def test_all_states_work_on_one_run_until_the_last(glue, monkeypatch):
    seen = []
    for name in STATES:
        monkeypatch.setattr(steps, name, lambda here, name, *args: seen.append(here) or Outcome("x"))
    here = glue()
    for name in (*STATES, "ready"):
        here.states[f"globoapp.{name}"]("a name")
    assert len(set(map(id, seen[:-1]))) == 1
    assert seen[-1] is not seen[0]


def test_what_the_states_return_is_closed_also_when_pruning_fails(glue, monkeypatch):
    def fails(here, name):
        raise Failure("x")

    here = glue()
    monkeypatch.setattr(steps, "pruned", fails)
    here.states["globoapp.pruned"]("a name")
    assert not [key for key in here.context if key.startswith("globoapp.run")]


# The code itself.


def test_the_code_that_is_served_is_current(glue):
    here = glue()
    digest, _ = here.call("globoapp_minion.digest")
    assert here.call("globoapp_minion.is_current", digest)[0] is True
    assert glue(file_client="remote").call("globoapp_minion.is_current", digest)[0] is True
    assert glue(file_client="remote").call("globoapp_minion.is_current", "0" * 64)[0] is False
    assert glue(file_client="remote").call("globoapp_minion.is_current")[0] is False


def test_what_fits_is_told_only_where_the_code_that_is_served_is_loaded(glue, pillar, monkeypatch):
    assert [app["name"] for app in glue().call("globoapp_minion.fit")[0]] == ["globoapp"]
    monkeypatch.setattr("globolib.digest.is_current", lambda *args: False)
    assert glue().call("globoapp_minion.fit")[0] == []


def test_what_does_not_fit_is_not_told(glue, pillar):
    pillar["globoapp"]["port"] = "none"
    assert glue().call("globoapp_minion.fit")[0] == []


def test_it_is_asked_for_once_in_a_run(glue, monkeypatch):
    here = glue(jid="1", file_client="remote")
    digest, _ = here.call("globoapp_minion.digest")
    assert here.call("globoapp_minion.is_current", digest)[0] is True
    monkeypatch.setattr("globolib.digest.is_current", lambda *args: pytest.fail("it was asked again"))
    assert here.call("globoapp_minion.is_current", digest)[0] is True
    monkeypatch.setattr("globolib.digest.is_current", lambda *args: False)
    assert here.call("globoapp_minion.is_current", "0" * 64)[0] is False


def test_healing_that_is_refused_sets_a_return_code(glue):
    answer, code = glue().call("globoapp_minion.heal")
    assert (answer["result"], answer["comment"], code) == ("refused", "nothing is deployed on this host", 1)
