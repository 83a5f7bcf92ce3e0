"""The apps of a host: which there are, which a call is for, and what each sees of pillar."""

import pytest
from globolib import apps

TWO = {"globoapps": {"shop": {"port": 9000}, "billing": None}}
BESIDE = {"globoapp": {"port": 80}, **TWO}
INNER = {"globoapp_run": {"version": "1.0", "app": "shop"}}

NAMES = {
    "nothing": ({}, ("globoapp",), "globoapp"),
    "globoapp alone": ({"globoapp": None}, ("globoapp",), "globoapp"),
    "beside it": (BESIDE, ("globoapp", "shop", "billing"), "globoapp"),
    "several others alone": (TWO, ("shop", "billing"), None),
    "one other alone": ({"globoapps": {"shop": {}}}, ("shop",), "shop"),
    "none below globoapps": ({"globoapps": None}, ("globoapp",), "globoapp"),
    "no mapping": ({"globoapps": ["shop"]}, ("globoapp",), "globoapp"),
    "names that are none": ({"globoapps": {"Shop": {}, 7: {}, "globoapp": {}, "a": "x"}}, ("a",), "a"),
}


@pytest.mark.parametrize("case", NAMES)
def test_the_apps_of_a_pillar(case):
    pillar, names, default = NAMES[case]
    assert (apps.names(pillar), apps.default(pillar)) == (names, default)


CHOSEN = {
    "all": (BESIDE, {}, ("globoapp", "shop", "billing"), None),
    "all, with a word of another's": (BESIDE, {"vesrion": 1, "port": None}, ("globoapp", "shop", "billing"), None),
    "one by its name": (BESIDE, {"app": "shop"}, ("shop",), None),
    "one by its name, with a version": (BESIDE, {"app": "shop", "version": "1.2"}, ("shop",), None),
    "a version is the default's": (BESIDE, {"version": "1.2"}, ("globoapp",), None),
    "a port is the default's": (BESIDE, {"port": 1}, ("globoapp",), None),
    "of one alone": ({"globoapps": {"shop": {}}}, {"version": "1.2"}, ("shop",), None),
    "nobody's version": (
        TWO, {"version": "1.2"}, ("shop",), "app is missing, and this host has several: shop, billing; say which one"
    ),
    "a slip": (BESIDE, {"app": "shp"}, ("globoapp",), "app is 'shp': an unknown app; did you mean shop?"),
    "an unknown one": (
        BESIDE, {"app": "x"}, ("globoapp",), "app is 'x': an unknown app; there are: globoapp, shop, billing"
    ),
    "no text": (TWO, {"app": ["shop"]}, ("shop",), "app is ['shop']: an unknown app; did you mean shop?"),
    "without globoapps": ({}, {"app": "shop"}, ("globoapp",), "app is 'shop': an unknown app; there are: globoapp"),
    "a run by another one": ({**BESIDE, **INNER}, {}, ("shop",), None),
    "a run by another one of the default": ({**BESIDE, "globoapp_run": {}}, {}, ("globoapp",), None),
    "what is no run": ({**BESIDE, "globoapp_run": 1}, {"app": "shop"}, ("shop",), None),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOSEN)
def test_what_a_run_works_on(case):
    pillar, asked, names, problem = CHOSEN[case]
    assert apps.chosen(pillar, asked) == (names, problem)


def test_each_app_sees_its_own_settings():
    pillar = {**BESIDE, "version": "1.0", "port": 1, "other": 2, **INNER}
    assert apps.view(pillar, "shop", True) == {**pillar, "globoapp": {"port": 9000, "name": "shop"}}
    seen = apps.view(pillar, "billing", False)
    assert seen == {"globoapps": TWO["globoapps"], "other": 2, "globoapp": {"name": "billing"}}
    assert apps.view(pillar, "globoapp", False) == {"globoapps": TWO["globoapps"], "other": 2, "globoapp": {"port": 80}}
    assert apps.view({"globoapps": {"a": "x"}}, "a", True)["globoapp"] == {"name": "a"}
    assert apps.told({"globoapps": {"a": "x"}}, "a", True)["globoapp"] == "x"


PROBLEMS = {
    "nothing": ({"globoapp": {"name": "x"}}, "globoapp", []),
    "all is well": (BESIDE, "billing", []),
    "its own name": ({"globoapps": {"shop": {"name": "shop"}}}, "shop", []),
    "no mapping": ({"globoapps": ["shop"]}, "globoapp", ["globoapps is a list in pillar: it must be a mapping of the"]),
    "no settings": ({"globoapps": {"shop": 8000}}, "shop", ["globoapps:shop is a int in pillar: it must be a mapping"]),
    "another name": (
        {"globoapps": {"shop": {"name": "x"}}}, "shop", ["globoapps:shop:name is 'x': the app's name is shop, its key"]
    ),
    "another app's": ({"globoapps": {"shop": {"name": "x"}, "a": {}}}, "a", []),
    "names that are none": (
        {"globoapps": {"Shop": {}, 7: {}, "globoapp": {}}}, "globoapp",
        ["globoapps has 'Shop': the name of an app is", "globoapps has 7: ", "globoapps has globoapp: its settings go"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_is_wrong_with_globoapps(case):
    pillar, name, lines = PROBLEMS[case]
    said = apps.problems(pillar, name)
    assert len(said) == len(lines)
    assert all(line.startswith(begin) for line, begin in zip(said, lines, strict=True)), said
