"""Salt's own reactor on our reactions: whatever an event holds, it comes through whole, or nothing happens."""

import datetime
from pathlib import Path

import pytest
import salt.config
import salt.minion
import salt.state
import salt.utils.reactor
from globolib.monitor import incoming

REACTOR = Path(__file__).resolve().parents[2] / "salt/reactor"
CARRYING = ["alert", "deploy", "healed", "report"]


@pytest.fixture(scope="module")
def reactions(tmp_path_factory):
    """Returns reactions(name, data): the calls that a reaction makes of an event."""
    directory = str(tmp_path_factory.mktemp("reactor"))
    opts = salt.config.master_config("/dev/null")
    opts.update(
        cachedir=directory, root_dir=directory, extension_modules=f"{directory}/ext", pki_dir=directory,
        sock_dir=directory, conf_file=f"{directory}/master", reactor=[], file_client="local",
    )  # fmt: skip
    # Without the process around it.
    made = salt.utils.reactor.Reactor.__new__(salt.utils.reactor.Reactor)
    made.minion = salt.minion.MasterMinion(opts)
    salt.state.Compiler.__init__(made, opts, made.minion.rend)
    return lambda name, data: made.reactions("a/tag", data, [str(REACTOR / f"{name}.sls")])


@pytest.mark.parametrize("name", CARRYING)
@pytest.mark.parametrize(
    "value",
    [
        "c1 \x85\x9b, separators \u2028\u2029, \x7f, \x00, \x1b[31m", "\ud800", "💚",
        "'\" {{ 7 * 7 }} {% x %} </script>",
        {"k" * 3000: 1}, "- a\nb: c", 2**63, "", "null",
    ],
)  # fmt: skip
def test_what_an_event_holds_comes_through_whole(reactions, name, value):
    (call,) = reactions(name, {"id": "web1", "data": {"x": value}, "x": value})
    assert call["args"]["minion"] == "web1"
    data = incoming.decoded(call["args"].get("data", call["args"].get("entries")))
    assert (data[0] if name == "deploy" else data)["x"] == value


@pytest.mark.parametrize("name", CARRYING)
@pytest.mark.parametrize("value", [b"\xff", datetime.datetime(2026, 1, 1)])
def test_what_json_has_no_word_for_calls_nothing(reactions, name, value):
    assert reactions(name, {"id": "web1", "data": {"x": value}, "x": value}) == []


@pytest.mark.parametrize("name", [*CARRYING, "heal", "tidy"])
def test_an_event_without_a_sender_calls_nothing(reactions, name):
    assert reactions(name, {"data": {}}) == []


@pytest.mark.parametrize("minion", ["web1,web2", "*", "web[12]", "E@web.*", "we\x7fb\u2028"])
def test_a_strange_name_is_one_name(reactions, minion):
    (call,) = reactions("tidy", {"id": minion})
    assert (call["tgt"], call["tgt_type"]) == ([minion], "list")
    (call,) = reactions("heal", {"id": minion})
    assert call["args"] == {"minion": minion}


def test_healing_is_of_the_app_that_is_meant(reactions):
    (call,) = reactions("heal", {"id": "web1", "app": "shop"})
    assert call["args"] == {"minion": "web1", "app": "shop"}
