"""How answers read for many servers: a line each, or a table."""

import pytest
from globolib import ledger, output

ECHO = {"result": False, "comment": "One or more requisite failed: x", "__run_num__": 3, "changes": {}}


def state(number, result=True, comment="", changes=None, name="s"):
    return {"result": result, "comment": comment, "changes": changes or {}, "__run_num__": number, "__id__": name}


def states(*made):
    return {f"globoapp_|-{number}_|-x_|-y": one for number, one in enumerate(made)}


LINE = {"from": "1.0", "version": "1.1", "result": "success", "action": "deploy", "duration": 9.54}
SAID = "1.0 -> 1.1 ok 9.5 s, 276 requests, 0 failed"

ANSWERS = {
    "a deploy": (states(state(1), state(2, changes={"line": "i", "said": SAID})), f"web1 {SAID}"),
    "nothing to do": (states(state(1), state(2)), "web1 ok, nothing to do"),
    "only a part": (states(state(1, changes={"a": 1}, name="tree")), "web1 ok, changed: tree"),
    "a dry run": (states(state(1), state(2, None, changes={"a": 1}, name="serves")), "web1 would change:\n    serves"),
    "a failure and what followed": (
        states(
            state(1, False, "1.1 failed its trial: boom\nits log\n\x1b[31mred"), ECHO, state(4, changes={"said": "x"})
        ),
        "web1 failed: 1.1 failed its trial: boom\n    its log\n    red",
    ),
    "only echoes": (states(ECHO), "web1 failed: One or more requisite failed: x"),
    "no run at all": (["Rendering SLS failed", "why"], "web1 failed: Rendering SLS failed\n    why"),
    "words": ("Pillar failed to render", "web1 failed: Pillar failed to render"),
    "nothing said": ("", "web1 failed: "),
    "a rollback": (
        {"result": True, "from": "1.1", "to": "1.0", "comment": "1.0 (the last good release) serves."},
        "web1 1.1 -> 1.0 ok: 1.0 (the last good release) serves.",
    ),
    "a rollback that failed": (
        {"result": False, "from": "1.1", "to": None, "comment": "no", "failed": ["why"]},
        "web1 failed: no\n    why",
    ),
    "health": (
        {"healthy": True, "version": "1.1", "latency_ms": 2.1, "asked": "http://x/"},
        "web1 1.1 healthy, 2.1 ms at http://x/",
    ),
    "bad health": (
        {"healthy": False, "version": None, "problems": ["it is dead"], "log": ["boom"]},
        "web1 - unhealthy: it is dead\n    boom",
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_line_for_a_server(case):
    answer, line = ANSWERS[case]
    assert output.told({"web1": answer}) == line


@pytest.mark.parametrize("data", [None, {}, [], "x", {"web1": True}, {"web1": {"a": 1}}, {"web1": [1]}, {"web1": {}}])
def test_what_is_of_another_kind_is_left_to_salt(data):
    assert output.told(data) is None
    assert output.table(data) is None


def test_many_servers_are_many_lines():
    data = {f"web{number}": ANSWERS["health"][0] for number in (1, 2)} | {"web3": False}
    assert output.told(data) is None, "one that did not return is Salt's to tell"
    del data["web3"]
    assert len(output.told(data).splitlines()) == 2


def test_a_long_reason_is_cut():
    told = output.told({"web1": states(state(1, False, "\n".join(map(str, range(100)))))})
    assert len(told.splitlines()) == output.MOST + 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "1.0 -> 1.1 ok 9.5 s"),
        ({"probe": {"sent": 276, "failed": 0}}, SAID),
        ({"from": None, "app": "shop"}, "shop - -> 1.1 ok 9.5 s"),
        ({"result": "failed", "action": "rollback", "duration": None}, "1.0 -> 1.1 failed (rollback)"),
    ],
)
def test_a_ledger_line_in_one(more, said):
    assert ledger.told({**LINE, **more}) == said


def server(**more):
    line = {"version": "1.1", "healthy": True, "latency_ms": 2, "alerts": {}, "heard": ago(20), "silent": False}
    line |= {"watched": True, "cpu": 7.4, "memory": 80.2, "disk": {"/": 40.0, "/var": 91.2}}
    return {
        **line,
        "last_deploy": {"time": ago(7300), "version": "1.1", "action": "deploy", "result": "success"},
        **more,
    }


def ago(seconds):
    return ledger.datetime.fromtimestamp(output.time.time() - seconds, ledger.timezone.utc).isoformat()


def test_the_inventory_is_a_table_with_the_worst_first():
    shown = output.table(
        {
            "web1": server(),
            "web2": server(healthy=False, latency_ms=None),
            "web3": server(alerts={"disk": "91 % full"}),
            "web4": server(silent=True, heard=ago(400)),
            "web5": server(behind={"version": "1.2", "rollout": "r"}),
            "web6": server(watched=False),
            "web7": {"heard": None, "alerts": {}},
            "web0": server(
                healthy=False, maintenance={"reason": "a new disk", "by": "ann", "until": "2026-01-01T00:00:00Z"}
            ),
        }
    ).splitlines()
    assert [row.split()[0] for row in shown] == [
        "server",
        "web2",
        "web3",
        "web4",
        "web7",
        "web5",
        "web6",
        "web0",
        "web1",
    ]
    assert shown[-2].endswith("in maintenance until 2026-01-01T00:00:00Z (ann): a new disk")
    head = shown[0]
    assert all(title in head for title in ("disk used", "cpu used", "memory available"))
    well = "web1    1.1      well 2 ms  91% /var   7%        80%               20 s ago   deploy 1.1 success 2 h ago"
    assert shown[-1].split() == well.split()
    assert [shown[place].split("ago  ")[-1].strip() for place in (2, 3, 5, 6)] == [
        "disk: 91 % full",
        "silent",
        "behind 1.2",
        "not watched",
    ]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, "0 s ago"), (119, "119 s ago"), (240, "4 min ago"), (7300, "2 h ago"), (400000, "5 d ago")],
)
def test_an_age(seconds, told):
    assert output.age(ago(seconds)) == told


@pytest.mark.parametrize("moment", [None, "", "yesterday", 7])
def test_no_age(moment):
    assert output.age(moment) == "-"
