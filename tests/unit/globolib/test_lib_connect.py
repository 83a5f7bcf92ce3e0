"""What the app may open connections to: each way to write it, and what is wrong with others."""

import ipaddress
import re

import pytest
from globolib import connect
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("written", "network", "port"),
    [
        ("10.0.0.5", "10.0.0.5/32", None),
        ("10.0.0.5/32", "10.0.0.5/32", None),
        ("10.0.0.0/24", "10.0.0.0/24", None),
        ("10.0.0.0/255.255.255.0", "10.0.0.0/24", None),
        ("10.0.0.6:5432", "10.0.0.6/32", 5432),
        ("fd00::1", "fd00::1/128", None),
        ("FD00::/64", "fd00::/64", None),
        ("[fd00::1]:5432", "fd00::1/128", 5432),
        ("0.0.0.0/0", "0.0.0.0/0", None),
    ],
)
def test_what_is_taken(written, network, port):
    assert connect.place(written) == connect.Place(ipaddress.ip_network(network), port)
    assert list(connect.problems([written])) == []


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (5432, "a text like 10.0.0.5"),
        (None, "a text like 10.0.0.5"),
        ("db", "a name; systemd limits by address"),
        ("db.example.com.", "a name; "),
        ("db.example.com:5432", "a name; "),
        ("", "neither an address nor a network; write 10.0.0.5, "),
        ("10.0.0.300", "neither an address"),
        ("10.0.0.300:80", "neither an address"),
        ("10.0.0.0/33", "neither an address"),
        ("10.0.0.0/24:80", "neither an address"),
        ("[fd00::1]", "neither an address"),
        ("[10.0.0.5]:80x", "neither an address"),
        ("10.0.0.5 10.0.0.6", "neither an address"),
        ("10.0.0.5\n", "neither an address"),
        ("any", "a name; "),
        ("10.0.0.6:0", "its port must be from 1 to 65535"),
        ("10.0.0.6:70000", "its port must be from 1 to 65535"),
        ("10.0.0.5/24", "the network is 10.0.0.0/24, the address alone 10.0.0.5"),
        ("fe80::1%eth0", "no zone (%eth0) and no IPv4 address in IPv6 form"),
        ("::ffff:10.0.0.5", "no zone (%eth0) and no IPv4 address in IPv6 form"),
        ("0.0.0.0", "no address that can be reached; all of IPv4 is 0.0.0.0/0"),
        ("::", "no address that can be reached; all of IPv6 is ::/0"),
    ],
)
def test_what_is_wrong(written, why):
    with pytest.raises(ValueError, match=f"^{re.escape(why)}"):
        connect.place(written)
    assert [line.startswith(f"connect has {written!r}: {why}") for line in connect.problems([written])] == [True]


def test_all_that_is_wrong_at_once():
    listed = ["db", "10.0.0.6:5432", "10.0.0.6:6432", "10.0.0.6:5432", "10.0.0.5", "10.0.0.5/32", "x/y"]
    assert [line.partition(": ")[0] for line in connect.problems(listed)] == [
        "connect has 'db'",
        "connect has '10.0.0.6:5432' twice",
        "connect has '10.0.0.5/32' twice",
        "connect has 'x/y'",
    ]


def test_everything_is_worth_a_word():
    assert connect.warnings(["10.0.0.5", "0.0.0.0/0", "::/0"]) == [
        "connect has 0.0.0.0/0: the app may reach all of IPv4",
        "connect has ::/0: the app may reach all of IPv6",
    ]


@given(st.text())
def test_no_text_gets_further_than_its_problem(written):
    if not list(connect.problems([written])):
        assert re.fullmatch("[0-9a-f.:/]+", connect.lines([written]).rpartition("IPAddressAllow=")[2].strip())
