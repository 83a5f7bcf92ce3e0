"""Two apps of a host: what each must have for itself."""

import pytest
from globolib import collisions, layout
from globolib.settings import Resolution, Settings

SHOP = {"name": "shop", "version": "1.0", "root": "/opt/x/shop", "port": 9000}
BILLING = {"name": "billing", "version": "2.0", "root": "/opt/x/billing", "port": 9001}

# What is different: of shop, of billing; the lines of shop.
CASES = {
    "nothing": ({}, {}, []),
    "a name": ({"name": "billing"}, {}, ["have the same name, billing: their units would be the same"]),
    "a root": ({"root": "/opt/x/billing"}, {}, ["globoapp has root /opt/x/billing, and globoapps:billing has /opt/x/"]),
    "a root in the other's": ({"root": "/opt/x/billing/shop"}, {}, ["each app needs a directory of its own, and none"]),
    "a root around the other's": ({"root": "/opt/x"}, {}, ["and none inside another's"]),
    "roots that begin alike": ({"root": "/opt/x/billing2"}, {}, []),
    "a port": ({"port": 9001}, {}, ["has port 9001 on 0.0.0.0, and globoapps:billing has it on 0.0.0.0"]),
    "a port of all addresses": ({"port": 9001, "address": "10.0.0.5"}, {}, ["on 10.0.0.5, and globoapps:billing has"]),
    "a port of another address": ({"port": 9001, "address": "10.0.0.5"}, {"address": "10.0.0.6"}, []),
    "a port of one that has no version": ({"port": 9001}, {"version": ""}, []),
    "a port without a version": ({"port": 9001, "version": ""}, {}, []),
    "all at once": ({**BILLING}, {}, ["have the same name", "has root", "has port"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_collides_is_named(case):
    mine, theirs, expected = CASES[case]
    one, other = Resolution(Settings(**{**SHOP, **mine})), Resolution(Settings(**{**BILLING, **theirs}))
    lines = collisions.problems("globoapp", one, {"billing": other})
    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True)), lines
    back = collisions.problems("billing", other, {"globoapp": one})
    assert len(back) == len(lines), "each of the two is told"


@pytest.mark.parametrize(("key", "part"), [("name", "same name"), ("root", "has root"), ("port", "has port"),
                                           ("bind", "has port"), ("version", "has port")])  # fmt: skip
def test_nothing_is_said_of_a_wrong_value(key, part):
    same = Settings(**BILLING)
    for mine, theirs in (({key}, set()), (set(), {key})):
        lines = collisions.problems(
            "shop", Resolution(same, frozenset(mine)), {"billing": Resolution(same, frozenset(theirs))}
        )
        assert len(lines) == 2
        assert not any(part in line for line in lines)


def test_units_of_different_names_are_different():
    """What a unit is called begins with the name, and what comes after it begins with what no name has."""
    one, other = layout.Layout("a", "/x"), layout.Layout("ab", "/x")
    for each in (one, other):
        for unit in (each.instance("PACK1_0"), each.instance("PACK1_0", layout.CANDIDATE), each.activate):
            assert unit.startswith((f"{each.name}@", f"{each.name}-"))
