"""Every sls, rendered by the real Salt over a matrix of pillars; and what a bare minion does with the first of them."""

import copy
import json
import os
import pathlib
import re
import shutil

import artifact
import pytest
import salt.loader
import salt.utils.jinja
import yaml
from bare import ROOTS
from globolib import balancer, haproxy, maintenance
from globolib.settings import Settings
from globolib.steps import is_of
from pillars import WRONG
from salt.fileserver import is_file_ignored

CHECKOUT = pathlib.Path(__file__).parents[2]
SLS = sorted(f"globoapp.{path.stem}" for path in (CHECKOUT / "salt/globoapp").glob("*.sls") if path.stem != "init")

VALID = {
    "as it is": {},
    "from the command line": {"version": "1.1", "port": 8080},
    "an interface": {"globoapp": {"bind": "lo"}},
    "IPv6": {"globoapp": {"bind": "::"}},
    "a unix socket": {"globoapp": {"bind": "unix:/run/globoapp/shop.sock"}},
    "another user": {"globoapp": {"user": "someone"}},
    "pip": {"globoapp": {"installer": "pip", "keep": 3, "environment": {"A": "x: {{ y }} #'\""}}},
    "background processes": {"globoapp": {"processes": {"worker": "sh -c 'x: {{ y }} #'", "beat": None, "a": False}}},
    "monitoring": {"globoapp": {"monitor": {"disk": {"percent": 80, "clear": 70}}}, "schedule": {}, "beacons": {}},
}
VALID["all together"] = {"version": "1.1", "port": 1, "globoapp": {"bind": "127.0.0.1", "checksum": None, "keep": 1}}


def merged(pillar, more):
    """pillar with `more` put over it; sections are merged."""
    pillar = copy.deepcopy(pillar)
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(pillar.get(key), dict):
            pillar[key].update(value)
        else:
            pillar[key] = value
    return pillar


def steps(low):
    """[(ID, state.function)] of show_low_sls in the order of the run; fails the test on a rendering error."""
    assert all(isinstance(one, dict) for one in low), low
    low = sorted(low, key=lambda one: one["order"])
    return [(one["__id__"], f"{one['state']}.{one['fun']}") for one in low]


@pytest.mark.parametrize("sls", ["globoapp", "globoapp.health"])
def test_a_minion_that_has_no_custom_module_renders_the_first_time(minion, pillar, tmp_path, sls):
    """The modules come while the sls is rendered, and the very same run uses them."""
    options = copy.deepcopy(minion.config)
    options.update(cachedir=str(tmp_path / "cache"), extension_modules=str(tmp_path / "cache/extmods"))
    options["grains"] = salt.loader.grains(options)
    modules = salt.loader.minion_mods(options, utils=salt.loader.utils(options))
    assert "globoapp.settings" not in modules
    low = modules["state.show_low_sls"](sls, pillar=pillar)
    assert steps(low)[0] == ("globoapp 1.0 can be deployed", "globoapp.ready")
    assert (tmp_path / "cache/extmods/modules/globoapp.py").exists()


def test_byte_code_is_brought_to_no_minion():
    shipped = yaml.safe_load((CHECKOUT / "etc/master.d/globoapp.conf").read_text())
    opts = {"file_ignore_regex": [], **shipped}
    assert is_file_ignored(opts, "_utils/globolib/__pycache__/run.cpython-311.pyc")
    assert not is_file_ignored(opts, "_utils/globolib/run.py")


# The states of a deploy on a minion without a master, in their order.
STATES = [
    "globoapp.ready",
    "user.present",
    "file.directory",
    "globoapp.virtualenv",
    "globoapp.release",
    "globoapp.tried",
    "globoapp.configured",
    "globoapp.serving",
    "globoapp.healthy",
    "globoapp.recorded",
    "file.symlink",
    "globoapp.pruned",
    "grains.present",
    "file.managed",
]


@pytest.mark.parametrize("case", VALID)
def test_the_way_of_a_deploy(loaders, pillar, case):
    pillar = merged(pillar, VALID[case])
    low = steps(loaders.modules.state.show_low_sls("globoapp", pillar=pillar))
    assert list(dict.fromkeys(function for _, function in low)) == STATES
    version = pillar.get("version", "1.0")
    name = pillar["globoapp"].get("name", "globoapp")
    assert (f"{name} {version} serves", "globoapp.serving") in low


def test_where_an_app_listens_is_in_its_states(loaders, pillar):
    bind = "unix:/run/globoapp/shop.sock"
    low = loaders.modules.state.show_low_sls("globoapp", pillar=merged(pillar, {"globoapp": {"bind": bind}}))
    named = {f"{one['state']}.{one['fun']}": one["name"] for one in low}
    assert (named["globoapp.ready"], named["globoapp.healthy"]) == (f"globoapp 1.0 on {bind}", bind)
    (grain,) = (one["value"] for one in low if one["state"] == "grains")
    assert grain == {"version": "1.0", "port": None, "bind": bind, "release": "PACK1_0"}


def test_a_release_command_has_its_state_before_the_trial(loaders, pillar):
    wanted = {"globoapp": {"release_command": ["alembic", "upgrade", "head"]}}
    low = loaders.modules.state.show_low_sls("globoapp", pillar=merged(pillar, wanted))
    functions = list(dict.fromkeys(function for _, function in steps(low)))
    assert functions == [*STATES[:5], "globoapp.release_command", *STATES[5:]]
    (tried,) = (one for one in low if one["fun"] == "tried")
    assert {"globoapp": "release command of globoapp 1.0 has run"} in tried["require"]


PROXY = {"self_signed": True, "port": 8443}


def test_a_proxy_is_tried_before_the_switch_and_taken_up_after_it(loaders, pillar):
    low = loaders.modules.state.show_low_sls("globoapp", pillar=merged(pillar, {"globoapp": {"proxy": PROXY}}))
    functions = list(dict.fromkeys(function for _, function in steps(low)))
    before, after = STATES[: STATES.index("globoapp.tried")], STATES[STATES.index("globoapp.recorded") :]
    between = STATES[len(before) : -len(after)]
    assert functions == [*before, "pkg.installed", "globoapp.proxy_checked", *between, "globoapp.proxied", *after]
    wants = {one["fun"]: one.get("require", []) for one in low}
    assert {"globoapp": "globoapp 1.0 has its proxy checked"} in wants["tried"]
    assert {"pkg": "nginx of globoapp is installed"} in wants["proxy_checked"]
    assert {"globoapp": "globoapp 1.0 is healthy"} in wants["proxied"]
    # What is recorded as deployed answers by its proxy.
    assert all({"globoapp": "globoapp 1.0 has its proxy"} in wants[one] for one in ("symlink", "pruned", "present"))


# What the tree makes of accounts: the arguments of group.present and user.present, by what pillar says.
ACCOUNTS = {
    "nothing": ({}, None, {"name": "globoapp", "uid": None, "gid": None, "usergroup": True}),
    "a user that exists": ({"user": "nobody"}, None, None),
    "numbers": (
        {"user": "my-app", "uid": 980, "gid": 981},
        {"name": "my-app", "gid": 981},
        {"name": "my-app", "uid": 980, "gid": "my-app", "usergroup": False},
    ),
    "a new group": (
        {"group": "web-apps"},
        {"name": "web-apps", "gid": None},
        {"name": "globoapp", "uid": None, "gid": "web-apps", "usergroup": False},
    ),
    "a group that exists": (
        {"group": "www-data"}, None, {"name": "globoapp", "uid": None, "gid": "www-data", "usergroup": False}
    ),
    "a new group for a user that exists": ({"user": "nobody", "group": "on"}, {"name": "on", "gid": None}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCOUNTS)
def test_accounts_are_made_where_there_are_none(loaders, pillar, case):
    more, *expected = ACCOUNTS[case]
    low = loaders.modules.state.show_low_sls("globoapp.tree", pillar=merged(pillar, {"globoapp": more}))
    made = {one["state"]: one for one in low if one["fun"] == "present"}
    for state, wanted in zip(("group", "user"), expected, strict=True):
        one = made.get(state)
        assert (one and {key: one.get(key) for key in wanted or {}}) == wanted
        assert one is None or one["system"] is True


@pytest.mark.parametrize("sls", SLS)
def test_each_sls_by_itself(loaders, pillar, sls):
    low = steps(loaders.modules.state.show_low_sls(sls, pillar=pillar))
    assert low[0] == ("globoapp 1.0 can be deployed", "globoapp.ready")


def test_no_settings_are_imported_where_the_code_is_current(loaders, pillar, monkeypatch):
    """Each import is two questions to the master."""
    imported, real = [], salt.utils.jinja.SaltCacheLoader.get_source

    def get_source(loader, environment, template):
        imported.append(template)
        return real(loader, environment, template)

    monkeypatch.setattr(salt.utils.jinja.SaltCacheLoader, "get_source", get_source)
    low = steps(loaders.modules.state.show_low_sls("globoapp", pillar=pillar))
    assert list(dict.fromkeys(function for _, function in low)) == STATES
    assert "globoapp/settings.jinja" not in imported


def test_no_state_has_a_condition_for_which_salt_loads_all_its_state_modules(loaders, pillar):
    """That takes a second."""
    for chunk in loaders.modules.state.show_low_sls("globoapp", pillar=pillar):
        assert not {"onlyif", "unless", "creates", "check_cmd"} & set(chunk), chunk["__id__"]


# How a site may have configured its minions.
CONFIGURED = {
    f"trim_blocks {trim}, lstrip_blocks {lstrip}": (
        {
            "jinja_env": {"trim_blocks": trim, "lstrip_blocks": lstrip},
            "jinja_sls_env": {"trim_blocks": trim, "lstrip_blocks": lstrip},
        },
        {},
    )
    for trim in (False, True)
    for lstrip in (False, True)
}
CONFIGURED["failhard"] = ({"failhard": True}, {})
CONFIGURED["a minion that only tests"] = ({"test": True}, {})
CONFIGURED["a dry run"] = ({}, {"test": True})
CONFIGURED["another environment"] = ({"file_roots": {"base": [], "other": ROOTS}}, {"saltenv": "other"})
CONFIGURED["line statements"] = ({"jinja_sls_env": {"line_statement_prefix": "%", "line_comment_prefix": "##"}}, {})


@pytest.mark.parametrize("case", CONFIGURED)
def test_each_sls_is_the_same_however_the_minion_is_configured(minion, loaders, pillar, tmp_path, case):
    overrides, arguments = CONFIGURED[case]
    options = {**copy.deepcopy(minion.config), **overrides, "grains": loaders.opts["grains"]}
    if "file_roots" in overrides:  # a list of files is kept in the cache
        options.update(cachedir=str(tmp_path / "cache"), extension_modules=str(tmp_path / "cache/extmods"))
    modules = salt.loader.minion_mods(options, utils=salt.loader.utils(options))
    for sls in ("globoapp", "globoapp.monitor", "globoapp.settings"):
        here = modules["state.show_low_sls"](sls, pillar=pillar, **arguments)
        assert steps(here) == steps(loaders.modules.state.show_low_sls(sls, pillar=pillar))
        for state in here:
            assert str(state["name"]).strip() == str(state["name"])


@pytest.mark.parametrize("key", dict.fromkeys(key for key, _, _ in WRONG))
def test_with_bad_input_only_the_first_step_is_rendered(loaders, pillar, key):
    pillar["globoapp"][key] = next(value for one, value, _ in WRONG if one == key)
    low = loaders.modules.state.show_low_sls("globoapp", pillar=pillar)
    assert [function for _, function in steps(low)] == ["globoapp.ready"]


# What would be more than text to YAML and Jinja.
TRICKS = [
    ("version", "1.0: x\n  cmd.run:\n    - name: evil\n"),
    ("version", "{{ 1.0 }}"),
    ("name", "globo: x"),
    ("name", ["globoapp"]),
    ("user", "a: b"),
    ("bind", "x: y\n"),
    ("bind", "{% raise %}"),
    ("port", {"a": "b"}),
    ("root", "/opt/x: [y"),
    ("root", None),
    ("root", 7),
    ("keep", "a: b"),
]


@pytest.mark.parametrize(("key", "value"), TRICKS, ids=[f"{key}={value!r}" for key, value in TRICKS])
def test_no_sls_breaks_or_obeys_bad_input(loaders, pillar, key, value):
    pillar["globoapp"][key] = value
    low = steps(loaders.modules.state.show_low_sls("globoapp.monitor", pillar=pillar))  # it includes all the others
    assert low[0][1] == "globoapp.ready"
    assert "cmd.run" not in [function for _, function in low]


def test_bad_input_is_told_and_nothing_is_touched(loaders, pillar):
    pillar["globoapp"].update(version=1.10, port=0, prot=1)
    for sls in ("globoapp", "globoapp.record", "globoapp.service"):
        run = loaders.modules.state.sls(sls, pillar=pillar)
        states = sorted(getattr(run, "raw", run).values(), key=lambda one: one["__run_num__"])
        assert states[0]["result"] is False
        lines = states[0]["comment"].splitlines()
        assert lines[0] == "Nothing was touched. To be put right first:"
        assert [re.match(r"  - (\S+) is", line)[1] for line in lines[1:]] == ["globoapp:prot", "version", "port"]
        assert not any(one["changes"] for one in states)
        assert not os.path.exists(pillar["globoapp"]["root"])


def test_a_dry_run_renders_what_a_run_would(loaders, pillar):
    run = loaders.modules.state.sls("globoapp", pillar=pillar, test=True)
    states = list(getattr(run, "raw", run).values())
    assert {one["result"] for one in states} == {True, None}, [one["comment"] for one in states if not one["result"]]
    assert not os.path.exists(pillar["globoapp"]["root"])


def test_a_dry_run_names_the_background_processes(loaders, pillar):
    pillar["globoapp"]["processes"] = {"worker": "sleep 1000"}
    run = loaders.modules.state.sls("globoapp", pillar=pillar, test=True)
    states = {one["__id__"]: one for one in getattr(run, "raw", run).values()}
    assert states["globoapp 1.0 serves"]["changes"]["processes"] == "globoapp-worker@PACK1_0.service is not defined"


@pytest.mark.parametrize(("minion_id", "top"), [("web7", {"base": ["globoapp"]}), ("db1", {})])
def test_the_top_file_is_for_web_servers(minion, minion_id, top):
    options = copy.deepcopy(minion.config)
    options["id"] = minion_id
    options["grains"] = {"id": minion_id}
    assert salt.loader.minion_mods(options)["state.show_top"]() == top


# A load balancer.

BALANCER = {"globoapp_balancer": {"api": {"servers": {"web1": "10.0.0.1:8000"}, "check": {"path": "/a?b=c"}}}}


def test_a_load_balancer_has_its_states_by_its_pillar(minion, loaders):
    options = {**copy.deepcopy(minion.config), "id": "any", "grains": {"id": "any"}, "pillar": BALANCER}
    assert salt.loader.minion_mods(options)["state.show_top"]() == {"base": ["globoapp_balancer"]}
    low = loaders.modules.state.show_low_sls("globoapp_balancer", pillar=BALANCER)
    assert [function for _, function in steps(low)] == ["pkg.installed", "file.managed", "service.running"]
    (managed,) = (one for one in low if one["fun"] == "managed")
    assert managed["context"]["backends"]["api"]["check"] == {"path": "/a?b=c", "status": 200}


def test_its_configuration_is_written_from_them(loaders, tmp_path):
    shop = {"bind": [":81", "*:443 ssl crt /x.pem"], "servers": {"a": "[::1]:9000"}}
    backends, problems = balancer.backends({**BALANCER["globoapp_balancer"], "shop": shop})
    assert problems == []
    source = "salt://globoapp_balancer/haproxy.cfg.jinja"
    done = loaders.states.file.managed(
        str(tmp_path / "haproxy.cfg"), source=source, template="jinja", context={"backends": backends}
    )
    assert done.result is True, done.comment
    text = (tmp_path / "haproxy.cfg").read_text()
    assert haproxy.foreign("", str(tmp_path / "haproxy.cfg")) is None
    for line in ("server web1 10.0.0.1:8000", "bind *:443 ssl crt /x.pem", "frontend shop", "server a [::1]:9000"):
        assert f"{line}\n" in text
    assert "uri /a?b=c ver" in text


@pytest.mark.parametrize("given", [None, "x", {"shop": {}}, {"a\n b: c": {}}, {"shop": {"servers": {"a: b": "\"'"}}}])
def test_a_load_balancer_with_bad_pillar_says_so_and_has_no_other_state(loaders, given):
    """Only rendered and run dry: this machine is to have no HAProxy if the test fails."""
    pillar = {"globoapp_balancer": given}
    (low,) = loaders.modules.state.show_low_sls("globoapp_balancer", pillar=pillar)
    assert low["comment"].startswith("Nothing was touched. To be put right first:\n  - globoapp_balancer")
    run = loaders.modules.state.sls("globoapp_balancer", pillar=pillar, test=True)
    (state,) = getattr(run, "raw", run).values()
    assert (state["result"], state["changes"]) == (False, {})
    assert state["name"].startswith("globoapp_balancer")


# Several apps.


@pytest.fixture
def shop(pillar, tmp_path):
    """A pillar with the app shop beside globoapp: 1.0 of the API by another name."""
    source = tmp_path / "app" / "1.0"
    shutil.copytree(CHECKOUT / "app/1.0", source)
    manifest = json.loads((source / "manifest.json").read_text())
    (source / "manifest.json").write_text(json.dumps({**manifest, "name": "shop"}))
    artifact.make(source, tmp_path / "dist", {})
    section = {**pillar["globoapp"], "root": f"{pillar['globoapp']['root']}-shop", "port": 9000}
    shop = {**section, "source": f"file://{tmp_path}/dist/{{name}}-{{version}}.zip"}
    return {**pillar, "globoapps": {"shop": shop}}


def of(low, name):
    """The functions of an app's states, each once, in the order of the run."""
    return list(dict.fromkeys(function for identity, function in low if re.search(rf"\b{name}\b", identity)))


def test_each_step_is_done_for_each_app(loaders, shop):
    low = steps(loaders.modules.state.show_low_sls("globoapp", pillar=shop))
    assert list(dict.fromkeys(function for _, function in low)) == STATES
    assert of(low, "globoapp 1.0") == of(low, "shop 1.0") != []
    settings = [Settings(name=name, version="1.0", user=name, root=root) for name, root in (
        ("globoapp", shop["globoapp"]["root"]), ("shop", shop["globoapps"]["shop"]["root"])
    )]  # fmt: skip
    before = [identity for identity, _ in low][: low.index(("globoapp 1.0 is recorded", "globoapp.recorded"))]
    assert all(sum(is_of(one, identity) for one in settings) == 1 for identity in before)


def test_the_proxy_of_one_app_is_no_step_of_another(loaders, shop):
    shop = merged_deep(shop, {"globoapps": {"shop": {"proxy": PROXY}}})
    low = steps(loaders.modules.state.show_low_sls("globoapp", pillar=shop))
    wanted = {"pkg.installed", "globoapp.proxy_checked", "globoapp.proxied"}
    assert set(of(low, "shop 1.0")) - set(of(low, "globoapp 1.0")) == wanted - {"pkg.installed"}
    assert [identity for identity, function in low if function == "pkg.installed"] == ["nginx of shop is installed"]


def test_an_app_in_maintenance_has_its_first_step_and_stops_no_other(loaders, shop):
    before = steps(loaders.modules.state.show_low_sls("globoapp", pillar=shop))
    root = shop["globoapps"]["shop"]["root"]
    maintenance.begin(Settings(name="shop", root=root).layout, "a new disk", 60, "root", maintenance.clocks())
    after = steps(loaders.modules.state.show_low_sls("globoapp", pillar=shop))
    assert [identity for identity, _ in after if "shop" in identity] == ["shop 1.0 can be deployed"]
    assert of(after, "globoapp 1.0") == of(before, "globoapp 1.0")


@pytest.mark.parametrize("sls", SLS)
def test_each_sls_by_itself_for_each_app(loaders, shop, sls):
    low = steps(loaders.modules.state.show_low_sls(sls, pillar=shop))
    assert low[:2] == [
        ("globoapp 1.0 can be deployed", "globoapp.ready"), ("shop 1.0 can be deployed", "globoapp.ready")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "ids"),
    [
        ({"app": "shop", "version": "1.0"}, {"shop"}),
        ({"version": "1.1"}, {"globoapp"}),
        ({"globoapps": {"shop": {"version": None}}}, {"globoapp"}),
    ],
)
def test_which_apps_a_call_is_for(loaders, shop, call, ids):
    run = loaders.modules.state.sls("globoapp", pillar=merged_deep(shop, call), test=True)
    first = {one["name"].split()[0] for tag, one in getattr(run, "raw", run).items() if tag.endswith("|-ready")}
    assert first == ids


def merged_deep(pillar, more):
    """pillar with `more` over it, as Salt merges what came with a call."""
    pillar = copy.deepcopy(pillar)
    for key, value in more.items():
        pillar[key] = merged_deep(pillar.get(key, {}), value) if isinstance(value, dict) else value
    return pillar


# What is over the pillar of two apps; by app what its first state says.
REFUSED = {
    "an unknown app": ({"app": "shp"}, {"globoapp": "app is 'shp': an unknown app; did you mean shop?"}),
    "a root": ({"globoapps": {"shop": {"root": "/opt/a/b"}}, "globoapp": {"root": "/opt/a/b"}},
               {"globoapp": "needs a directory of its own", "shop": "needs a directory of its own"}),
    "a name": ({"globoapp": {"name": "shop"}},
               {"globoapp": "have the same name, shop", "shop": "have the same name, shop"}),
    "a port": ({"globoapp": {"port": 9000}}, {"globoapp": "has port 9000", "shop": "has port 9000"}),
    "a path": (
        {"globoapp": {"bind": "unix:/run/x.sock"}, "globoapps": {"shop": {"bind": "unix:/run/x.sock"}}},
        {"globoapp": "both have bind unix:/run/x.sock", "shop": "give one of them another path"},
    ),
    "the port of a proxy": ({"globoapp": {"proxy": {"self_signed": True, "port": 9000}}},
                            {"globoapp": "the proxy of globoapp has port 9000", "shop": "and so has globoapps:shop"}),
    "one port of two proxies without names": (
        {"globoapp": {"proxy": {"self_signed": True}}, "globoapps": {"shop": {"proxy": {"self_signed": True}}}},
        {"globoapp": "have their proxies on port 443", "shop": "needs a proxy:server_name of its own"}),
    "the settings of one": ({"globoapps": {"shop": {"prot": 1}}}, {"shop": "globoapps:shop:prot is an unknown"}),
    "the thresholds of one": (
        {"globoapps": {"shop": {"monitor": {"apy": 1}}}}, {"shop": "globoapps:shop:monitor:apy is an unknown setting"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_with_apps_is_told_and_stops_no_other(loaders, shop, case):
    more, expected = REFUSED[case]
    user = {"user": "nobody"}
    shop = merged_deep(shop, {"globoapp": user, "globoapps": {"shop": user}})
    run = loaders.modules.state.sls("globoapp", pillar=merged_deep(shop, more), test=True)
    states = getattr(run, "raw", run)
    assert isinstance(states, dict), states
    ready = [one for tag, one in states.items() if tag.endswith("|-ready")]
    red = [one for one in ready if one["result"] is False]
    assert len(red) == len(expected)
    for one, words in zip(red, expected.values(), strict=True):
        assert words in one["comment"], one["comment"]
    assert not [one["comment"] for one in states.values() if one["result"] is False and one not in red]
    assert case != "an unknown app" or len(states) == 1
