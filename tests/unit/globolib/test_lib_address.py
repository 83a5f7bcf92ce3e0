# ruff: noqa: E501  a table reads best with one line a case
"""Where a service listens: TCP or the path of a unix socket; in settings, names of units, plans and what is refused."""

import re

import pytest
from globolib import collisions, plan, preflight, settings, units
from globolib.address import Address
from globolib.host import SOCKET, Host, Listener, Owner
from globolib.layout import Layout
from globolib.minion import Call
from globolib.preflight import Examination
from globolib.settings import Resolution, Settings
from hosts import HOST, TARGET, but, entry, texts, unit
from hypothesis import given
from hypothesis import strategies as st

PATH = "/run/globoapp/shop.sock"
BIND = f"unix:{PATH}"
AT = Address(path=PATH)
UNIT = "globoapp-unix:run:globoapp:shop.sock.socket"
SHOP = Settings(version="1.0", root="/opt/x/y", bind=BIND, address=BIND, port=0)
DEPLOYED = {"version": "1.0", "bind": BIND, "address": BIND}
TCP = {"version": "1.0", "bind": "0.0.0.0", "address": "0.0.0.0", "port": 8001}
names = st.from_regex(r"(/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,20}){1,4}", fullmatch=True)


@pytest.mark.parametrize(
    ("written", "port", "text", "claim", "listen"),
    [
        ("0.0.0.0", 8000, "0.0.0.0:8000", "port 8000", "0.0.0.0:8000"),
        ("::1", 80, "::1:80", "port 80", "[::1]:80"),
        (BIND, 8000, BIND, BIND, PATH),
    ],
)
def test_how_an_address_is_written(written, port, text, claim, listen):
    address = Address.of(written, port)
    assert (str(address), address.claim, address.listen) == (text, claim, listen)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (AT, AT, True),
        (AT, Address(path="/run/other.sock"), False),
        (AT, Address("0.0.0.0", 8000), False),
        (Address("0.0.0.0", 8000), Address("10.0.0.5", 8000), True),
        (Address("0.0.0.0", 8000), Address("0.0.0.0", 8001), False),
    ],
)
def test_who_is_in_whose_way(one, other, both):
    assert one.overlaps(other) is other.overlaps(one) is both


# Settings.


def resolve(section, deployed=None, call=None, app="globoapp"):
    pillar = {"globoapp": {"version": "1.0", **section}}
    asked = Call("state.apply", {"pillar": call}) if call is not None else Call("state.apply")
    if call:
        pillar = {**pillar, **call, "globoapp": {**pillar["globoapp"], **call.get("globoapp", {})}}
    return settings.resolve(pillar, deployed, {"lo": ["127.0.0.1"]}, asked, app=app)


@given(names)
def test_a_path_below_run_is_taken_and_its_unit_is_known_by_its_name(name):
    deploy = resolve({"bind": f"unix:/run{name}"}).settings
    assert (deploy.address, deploy.port, deploy.listen) == (f"unix:/run{name}", 0, Address(path=f"/run{name}"))
    layout = Layout("shop", "/srv/one")
    socket = layout.socket(deploy.listen)
    assert layout.address_of(socket) == deploy.listen
    assert re.fullmatch(r"[A-Za-z0-9:_.-]{1,255}", socket), "what systemd takes as a name (systemd.unit(5))"
    assert Layout("shopx", "/srv/one").address_of(socket) is Layout("hop", "/srv/one").address_of(socket) is None


WRONG = [
    "/run/shop.sock", "unix:", "unix:run/shop.sock", "unix:/run", "unix:/run/", "unix:/tmp/shop.sock", "unix:/runner/x",
    "unix:/run/../etc/x", "unix:/run/./x", "unix:/run//x", "unix:///run/x", "unix:/run/x/", "unix:/run/a b", "unix:/run/%i",
    "unix:/run/a:b", "unix:/run/a@b", "unix:/run/a\\b", "unix:/run/x\n", "unix:/run/é", "unix:/run/$x", "unix:@x",
    "unix:/run/" + "x" * 103,
]  # fmt: skip


@pytest.mark.parametrize("bind", WRONG)
def test_another_path_is_refused_with_one_line(bind):
    resolution = resolve({"bind": bind})
    (problem,) = resolution.problems
    assert problem.startswith(f"bind is {bind!r}: a unix socket is unix: and a path below /run")
    assert resolution.settings.bind == "0.0.0.0"


def test_the_longest_path():
    assert resolve({"bind": "unix:/run/" + "x" * 102}).problems == ()


@pytest.mark.parametrize(
    ("section", "deployed", "call"),
    [
        ({"bind": BIND}, None, {"port": 8001}),
        ({}, DEPLOYED, {"port": 8001}),
        ({}, None, {"globoapp": {"bind": BIND, "port": 8001}}),
    ],
)
def test_a_port_in_this_call_is_refused_beside_a_path(section, deployed, call):
    resolution = resolve(section, deployed, call)
    assert resolution.problems == (
        f"port is 8001 in this call, and bind is {BIND!r}: a unix socket has no port; leave it out, or name an address "
        "in bind",
    )


@pytest.mark.parametrize(
    ("section", "deployed", "call"),
    [
        ({"bind": BIND, "port": 8001}, None, {"version": "1.0"}),
        ({"bind": BIND, "port": "x"}, TCP, None),
        ({"bind": BIND}, TCP, {}),
        ({"port": 8001}, DEPLOYED, {}),
        ({}, DEPLOYED, {}),
    ],
)
def test_any_other_port_means_nothing_beside_a_path(section, deployed, call):
    resolution = resolve(section, deployed, call)
    assert (resolution.problems, resolution.warnings) == ((), ())
    deploy = resolution.settings
    assert (deploy.listen, deploy.bound, deploy.shown()["port"]) == (AT, BIND, None)


def test_a_run_inside_another_that_names_the_deployed_port_is_not_refused():
    pillar = {"globoapp": {"version": "1.0", "bind": BIND}, settings.INNER: {"version": "1.0", "port": 8000}}
    resolution = settings.resolve(pillar, TCP, {}, Call("globoapp_minion.heal"))
    assert (resolution.problems, resolution.settings.listen) == ((), AT)


@pytest.mark.parametrize(("call", "port"), [({"globoapp": {"bind": "0.0.0.0"}}, 8000), ({"port": 9, "globoapp": {"bind": "0.0.0.0"}}, 9)])  # fmt: skip
def test_back_on_tcp_it_has_a_port_again(call, port):
    resolution = resolve({}, DEPLOYED, call)
    assert (resolution.problems, resolution.settings.listen) == ((), Address("0.0.0.0", port))


def test_another_app_needs_no_port_on_a_path():
    assert resolve({"bind": BIND}, app="shop").problems == ()
    assert "port is missing" in str(resolve({}, {**DEPLOYED, "bind": "0.0.0.0"}, app="shop").problems)


def test_two_apps_on_one_path_are_refused():
    other = Resolution(SHOP.at(name="shop", root="/srv/shop"))
    assert collisions.problems("globoapp", Resolution(SHOP), {"shop": other}) == [
        f"globoapp and globoapps:shop both have bind {BIND}: give one of them another path"
    ]
    elsewhere = Resolution(other.settings.at(address="unix:/run/shop.sock"))
    assert collisions.problems("globoapp", Resolution(SHOP), {"shop": elsewhere}) == []
    on_tcp = Resolution(other.settings.at(address="0.0.0.0", port=8000))
    assert collisions.problems("globoapp", Resolution(SHOP), {"shop": on_tcp}) == []


# The socket's unit.


@pytest.mark.parametrize(
    ("more", "group"),
    [
        ({}, ""),
        ({"group": "web"}, "SocketGroup=web\n"),
        ({"group": "web", "proxy": {"self_signed": True}}, "SocketGroup=www-data\n"),
    ],
)
def test_who_may_connect_to_a_unix_socket(more, group):
    text = units.socket_unit(SHOP.at(**more))
    assert f"Description=globoapp on {PATH}\n" in text
    assert f"ListenStream={PATH}\n" in text
    assert f"SocketUser=globoapp\n{group}SocketMode=0660\nRemoveOnStop=yes\nBacklog=4096\n" in text
    assert not any(word in text for word in ("ReusePort", "DeferAccept", "FreeBind"))


def test_a_socket_of_tcp_has_no_owner():
    assert "RemoveOnStop" not in units.socket_unit(SHOP.at(address="0.0.0.0", port=8000))
    assert "Socket" not in units.socket_unit(SHOP.at(address="0.0.0.0", port=8000)).replace("[Socket]", "")


# The plan, and what is proven.

MINE = Listener(BIND, 0, "7", owners=(Owner(1, "systemd"), Owner(100, "gunicorn")))
THERE = but(
    HOST,
    entries=(entry(bind=BIND),),
    units={"globoapp-0.0.0.0:8000.socket": None, UNIT: unit(UNIT)},
    handed=(UNIT,),
    listeners=(MINE,),
    at_path=SOCKET,
)
THERE = but(THERE, texts={**dict.fromkeys(HOST.texts), **texts(SHOP)})
FILE = SHOP.layout.unit_file(UNIT)
PLANS = {
    "nothing to do": (SHOP, THERE, ""),
    "from TCP": (SHOP, HOST, "open restart close"),
    "to TCP": (SHOP.at(address="0.0.0.0", port=8000), THERE, "open restart close"),
    "to another path": (SHOP.at(address="unix:/run/x"), THERE, "open restart close"),
    "its file is gone": (SHOP, but(THERE, at_path=""), "open restart"),
    "something else is there": (SHOP, but(THERE, at_path="a regular file"), "open restart"),
    "the unit was stopped": (SHOP, but(THERE, units={UNIT: unit(UNIT, "inactive")}), "open restart"),
    "only the release holds it": (
        SHOP,
        but(THERE, listeners=(Listener(BIND, 0, "7", owners=(Owner(100, "x"),)),)),
        "open restart",
    ),
    "the unit was edited": (SHOP, but(THERE, texts={FILE: "[Socket]\n"}), "define"),
    "another group": (SHOP.at(group="web"), THERE, "configure define restart"),
    "a port of pillar's": (SHOP.at(port=0), THERE, ""),
}


@pytest.mark.parametrize("case", PLANS)
def test_what_is_to_be_done(case):
    wanted, host, steps = PLANS[case]
    assert " ".join(plan.plan(wanted, host, TARGET)) == steps


def test_why_a_socket_is_opened_again():
    assert plan.plan(SHOP, but(THERE, at_path=""), TARGET)["open"] == f"{UNIT} is active, yet {PATH} is not there"


def test_who_else_takes_requests():
    assert plan.proof(SHOP, THERE) == []
    assert plan.proof(SHOP, but(THERE, listeners=())) == [f"nothing listens on {BIND}"]
    stranger = but(THERE, listeners=(MINE, Listener(BIND, 0, "9", owners=(Owner(66, "nc"),))))
    assert plan.proof(SHOP, stranger) == [f"process 66 (nc) also takes requests on {BIND}"]


# What is in the way.

IN_THE_WAY = {
    "nothing": (Host(), []),
    "a dead socket": (Host(at_path=SOCKET), []),
    "our own": (THERE, []),
    "a file": (
        Host(at_path="a regular file"),
        [f"bind is {BIND!r}: {PATH} is a regular file; remove it, or choose another path"],
    ),
    "a program": (
        Host(listeners=(Listener(BIND, 0, "9", owners=(Owner(7, "nc"),)),), at_path=SOCKET),
        [f"{BIND} is taken: nc (process 7) listens on {BIND}; stop it or choose another path"],
    ),
    "another path": (Host(listeners=(Listener("unix:/run/x", 0, "9", owners=(Owner(7, "nc"),)),)), []),
    "TCP": (Host(listeners=(Listener("0.0.0.0", 8000, "9", owners=(Owner(7, "nc"),)),)), []),
    "another unit": (
        Host(listeners=(Listener(BIND, 0, "9", owners=(Owner(1, "systemd"),)),), at_path=SOCKET),
        [
            f"{BIND} is taken: another socket unit of systemd listens on {BIND} (systemctl list-sockets); stop it or "
            "choose another path"
        ],
    ),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_is_in_the_way_of_a_path(case):
    host, lines = IN_THE_WAY[case]
    examined = Examination(free=10 << 30)
    assert preflight.problems("web1", Resolution(SHOP, frozenset({"source"})), host, examined) == lines
