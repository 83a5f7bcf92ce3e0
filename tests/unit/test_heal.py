"""Healing as the server does it: what it does at once, what the states do, and that both are recorded once."""

import json
import pathlib

import pytest

STANDING = {
    "id": "a", "host": "web1", "name": "globoapp", "version": "1.0", "port": 8000, "bind": "0.0.0.0",
    "address": "0.0.0.0", "action": "deploy", "from": None, "result": "success", "time": "2026-01-01T00:00:00.000Z",
}  # fmt: skip


@pytest.fixture
def server(tree, settings, monkeypatch):
    """A server with 1.0; `aid` is what first aid does, `states` what state.apply returns, `ledger()` its lines."""
    tree.pillar["globoapp"] = {"root": settings["root"]}
    path = f"{settings['root']}/deployments.jsonl"
    with open(path, "w") as handle:
        handle.write(json.dumps(STANDING) + "\n")
    tree.aid, tree.events = [], []
    tree.states_return = {"x": {"result": True, "changes": {}, "comment": "", "__id__": "globoapp 1.0 serves"}}
    tree.by_states = []

    def apply(name, pillar):
        assert (name, pillar) == ("globoapp", {"version": "1.0", "port": 8000})
        with open(path, "a") as handle:
            handle.writelines(json.dumps(one) + "\n" for one in tree.by_states)
        return tree.states_return

    tree.salt.update(
        {
            "state.apply": apply,
            "state.running": lambda: [],
            "event.send": lambda tag, data: tree.events.append((tag, data)),
            "globoapp.settings": lambda: settings,
        }
    )
    monkeypatch.setattr(tree.modules.globoapp_heal, "_first_aid", lambda standing: tree.aid)
    tree.ledger = lambda: [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]
    return tree


def test_what_first_aid_did_is_recorded_when_the_states_had_nothing_to_do(server):
    server.aid = ["globoapp@PACK1_0.service does not run"]
    assert server.modules.globoapp_heal.heal()["result"] == "healed"
    line = server.ledger()[-1]
    assert (line["action"], line["version"], line["result"]) == ("repair", "1.0", "success")
    assert line["changed"] == server.aid and line["id"] != STANDING["id"]
    assert [tag for tag, _ in server.events] == ["globoapp/deploy/web1", "globoapp/heal/web1"]


def test_a_repair_of_the_states_is_not_recorded_twice(server):
    server.aid = ["globoapp@PACK1_0.service does not run"]
    server.by_states = [{**STANDING, "id": "b", "action": "repair"}]
    assert server.modules.globoapp_heal.heal()["result"] == "healed"
    assert [line["id"] for line in server.ledger()] == ["a", "b"]


def test_where_nothing_was_done_nothing_is_recorded(server):
    assert "nothing had to be changed" in server.modules.globoapp_heal.heal()["comment"]
    assert len(server.ledger()) == 1


def test_states_that_fail_are_told(server):
    server.states_return["x"].update(result=False, comment="the disk is full")
    answer = server.modules.globoapp_heal.heal()
    assert (answer["result"], answer["comment"]) == ("failed", "the disk is full")
    assert server.context["retcode"] == 1


def test_another_state_run_is_not_disturbed(server):
    server.states_return = ["The function state.apply is running"]
    server.salt["state.running"] = lambda: ["it is"]
    assert server.modules.globoapp_heal.heal()["result"] == "refused"
