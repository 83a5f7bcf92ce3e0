"""What the package needs of Salt: which job runs, what was called, files and events of the master."""

import json
import os

import msgpack
import pytest
from globolib.errors import Failure
from globolib.minion import Call, Minion
from hypothesis import given
from hypothesis import strategies as st

JID = "20260101000000000000"


@pytest.fixture
def minion(tmp_path):
    """Makes a minion; ``job`` is what Salt has noted of this process."""
    (tmp_path / "proc").mkdir()

    def make(job=None, functions=None, pillar=None, **opts):
        if job is not None:
            raw = job if isinstance(job, bytes) else msgpack.packb({"pid": os.getpid(), "jid": JID, **job})
            (tmp_path / "proc" / JID).write_bytes(raw)
        return Minion(functions or {}, {"id": "web1", "cachedir": str(tmp_path), **opts}, pillar or {}, json.loads)

    return make


def test_what_it_is(minion, tmp_path):
    one = minion(test=True)
    assert (one.id, one.test, one.cache) == ("web1", True, str(tmp_path))
    assert minion().test is False


@pytest.mark.parametrize(
    ("pillar", "section"),
    [({}, {}), ({"globoapp": None}, {}), ({"globoapp": "x"}, {}), ({"globoapp": {"port": 1}}, {"port": 1})],
)
def test_the_section_of_pillar_is_a_mapping(minion, pillar, section):
    assert minion(pillar=pillar).pillar_section == section


# Apps.

SITE = {"globoapp": {"port": 80}, "globoapps": {"shop": {"port": 9000}, "billing": {"port": 9001}}, "version": "site's"}


def called(minion, pillar, site=SITE):
    return minion(
        {"fun": "state.apply", "tgt": "*", "arg": ["globoapp", {"__kwarg__": True, "pillar": pillar}]}, pillar=site
    )


def test_a_minion_without_globoapps_is_as_it_was(minion):
    one = minion(pillar={"globoapp": {"port": 80}})
    assert one.for_app() is one.for_app("globoapp") is one
    assert (one.app, one.apps, one.chosen, one.app_problems) == ("globoapp", ("globoapp",), (("globoapp",), None), [])


def test_a_minion_for_one_app(minion):
    one = called(minion, {"app": "shop", "version": "1.2", "globoapps": {"shop": {"soak": 1}}})
    shop = one.for_app("shop")
    assert (shop.app, shop.pillar_section, shop.chosen) == ("shop", {"port": 9000, "name": "shop"}, (("shop",), None))
    assert (shop.call.pillar["version"], shop.call.pillar["globoapp"]) == ("1.2", {"soak": 1})
    assert shop.for_app("billing") == one.for_app("billing"), "the whole pillar is still there"
    for name in ("globoapp", "billing"):
        assert "version" not in one.for_app(name).call.pillar, "it came for another app"
        assert "version" not in one.for_app(name).pillar
    assert one.for_app().pillar_section == {"port": 80}


def test_a_version_without_an_app_is_the_defaults(minion):
    one = called(minion, {"version": "1.2"})
    assert [one.for_app(name).call.pillar.get("version") for name in one.apps] == ["1.2", None, None]


def test_where_salt_tells_nothing_of_the_call_the_whole_pillar_counts(minion):
    one = minion(pillar={**SITE, "app": "shop"})
    assert one.for_app("shop").call is None
    assert [one.for_app(name).pillar.get("version") for name in one.apps] == [None, "site's", None]


@pytest.mark.parametrize("app", ["blog", {"shop": 1}])
def test_an_app_in_a_sites_own_pillar_is_other_peoples(minion, app):
    assert minion(pillar={"app": app}).chosen == (("globoapp",), None), "also where the call is not known"
    wrong = minion(pillar={**SITE, "app": app}).chosen[1]
    assert wrong.startswith(f"app is {app!r}: an unknown app"), "it may have come with the call"
    assert called(minion, {}, {**SITE, "app": app}).chosen == (("globoapp", "shop", "billing"), None)


def test_what_was_called_without_a_mapping_is_told_as_it_came(minion):
    assert called(minion, "x").for_app("shop").call.arguments == {"pillar": "x"}


@pytest.mark.parametrize(
    ("site", "name", "words"),
    [
        (SITE, "shp", "app is 'shp': an unknown app; did you mean shop?"),
        ({"globoapps": SITE["globoapps"]}, None, "app is missing, and this host has several: shop, billing"),
        ({"globoapps": SITE["globoapps"]}, "globoapp", "app is 'globoapp': an unknown app; there are: shop, billing"),
        ({}, "shop", "app is 'shop': an unknown app; there are: globoapp"),
    ],
)
def test_an_unknown_app_is_refused(minion, site, name, words):
    with pytest.raises(Failure) as failure:
        minion(pillar=site).for_app(name)
    assert words in str(failure.value)


def test_what_salt_ssh_was_called_with_is_in_pillar(minion):
    """The job on the server is another one: salt-ssh's own."""
    call = {"fun": "state.apply", "arg": ["globoapp", 'pillar={"version": "1.2"}']}
    pillar = {**SITE, "globoapp_ssh": call}
    one = minion({"fun": "state.pkg", "arg": ["x.tgz"], "tgt": "salt-call"}, pillar=pillar)
    assert one.for_app().call == Call("state.apply", {"pillar": {"version": "1.2"}})
    assert "version" not in one.for_app("shop").call.pillar
    assert minion(pillar={"globoapp_ssh": {}}).call is None


def test_states_that_are_applied_by_salt_ssh_get_the_pillar_that_was_sent(minion):
    """The server has none of its own."""
    seen = []
    functions = {"state.apply": lambda name, **more: seen.append(more["pillar"]) or {}}
    call = {"fun": "globoapp.rollback", "arg": []}
    minion(functions=functions, pillar={**SITE, "globoapp_ssh": call}).for_app("shop").apply({"x": 1})
    minion(functions=functions, pillar=SITE).apply({"x": 1})
    assert seen == [{**SITE, "globoapp_ssh": call, "x": 1}, {"x": 1}]


# The job.


def test_the_job_is_the_one_of_this_process(minion, tmp_path):
    one = minion({"fun": "state.apply", "arg": [], "tgt": "web*"})
    (tmp_path / "proc" / "other").write_bytes(msgpack.packb({"pid": 1, "jid": "other", "fun": "x", "arg": []}))
    assert one.job == JID
    assert one.call == Call("state.apply", {})


def test_what_the_minion_was_told_goes_before_what_is_noted(minion):
    assert minion(jid="7").job == "7"
    assert minion({"fun": "test.ping", "arg": []}, jid="7").call is None, "it is another job's"


def test_without_a_job(minion, tmp_path):
    assert minion().job is None
    (tmp_path / "proc").rmdir()
    assert minion().job is None
    assert minion().call is None


@pytest.mark.parametrize(
    "raw", [b"", b"\xc1", b"\x93", b"[]", msgpack.packb([1]), msgpack.packb("x"), b"\xd9\xff", b"\x81\x80\x00"]
)
def test_a_note_of_a_job_that_is_torn_is_none(minion, raw):
    assert minion(raw).job is None


def test_a_note_of_a_job_that_is_gone_is_none(minion, tmp_path):
    (tmp_path / "proc" / "gone").symlink_to("nowhere")
    assert minion().job is None


@given(st.binary(max_size=40))
def test_whatever_is_in_a_note_is_survived(tmp_path_factory, raw):
    directory = tmp_path_factory.mktemp("cache")
    (directory / "proc").mkdir()
    (directory / "proc" / JID).write_bytes(raw)
    assert Minion({}, {"id": "web1", "cachedir": str(directory)}, {}).call is None


# The call.

PILLAR = {"version": "1.1"}


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["globoapp"], {}),
        (["globoapp", {"__kwarg__": True, "pillar": PILLAR, "test": True}], {"pillar": PILLAR, "test": True}),
        (["globoapp", 'pillar={"version": "1.1"}'], {"pillar": PILLAR}),
        (["globoapp", {"pillar": PILLAR}], {}),  # a dict that is an argument by itself
        (["=x", "1x=2", {"__kwarg__": True}], {}),
    ],
)
@pytest.mark.parametrize("by", ["a master", "salt-call"])
def test_what_was_called(minion, words, arguments, by):
    if by == "a master":
        one = minion({"fun": "state.apply", "arg": words, "tgt": "web*"}, fun="other", arg=[])
    else:  # salt-call notes its job without the arguments
        one = minion({"fun": "state.apply", "tgt": "salt-call"}, fun="state.apply", arg=words)
    assert one.call == Call("state.apply", arguments)
    assert "__kwarg__" not in one.call.arguments


@pytest.mark.parametrize("pillar", [None, "version: 1.1", ["x"], 7])
def test_a_pillar_of_a_call_that_is_no_mapping_is_none(pillar):
    assert Call("state.apply", {"pillar": pillar}).pillar == {}
    assert Call("state.apply", {"pillar": PILLAR}).pillar == PILLAR


@pytest.mark.parametrize(("function", "words"), [(None, []), ("state.apply", None), (["a", "b"], [[], []])])
def test_where_salt_tells_nothing_of_it_there_is_no_call(minion, function, words):
    assert minion(fun=function, arg=words).call is None


# The master.


def test_a_file_of_the_master(minion):
    fetched = {"salt://a": "/cache/a"}
    one = minion(functions={"cp.cache_file": fetched.get, "cp.list_master": lambda: ("a", "b")})
    assert one.fetch("salt://a") == "/cache/a"
    assert one.names() == ["a", "b"]
    with pytest.raises(Failure, match="^salt://b is not there$"):
        one.fetch("salt://b")


def test_events_and_states_go_by_salt(minion):
    calls = []
    one = minion(
        functions={
            "event.send": lambda *args: calls.append(args),
            "state.apply": lambda *args, **kwargs: calls.append((args, kwargs)) or {"a": {}},
            "state.running": lambda: ["a highstate"],
            "saltutil.refresh_pillar": lambda: calls.append("refresh") or None,
        }
    )
    one.send("tag", {"a": 1})
    assert one.apply({"x": 1}) == {"a": {}}
    assert one.busy() == ["a highstate"]
    assert one.refresh() is False
    assert calls == [("tag", {"a": 1}), (("globoapp",), {"pillar": {"x": 1}, "queue": False}), "refresh"]


def test_its_pillar_is_in_no_message(minion):
    one = minion(pillar={"globoapp": {"credentials": "geheim"}}, fun="x", arg=["pillar=1"])
    assert "geheim" not in repr(one)
    assert "geheim" not in repr(Call("x", {"pillar": {"a": "geheim"}}))
