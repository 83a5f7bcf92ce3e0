"""Names and paths of an app."""

import pytest
from globolib import layout
from globolib.address import Address
from globolib.layout import CANDIDATE, Layout
from hypothesis import given
from hypothesis import strategies as st

SHOP = Layout("shop", "/srv/shop")
OWN = "/srv/shop/.globoapp"
UNITS = "/etc/systemd/system"


@given(st.lists(st.integers(0, 9999), min_size=2, max_size=4))
def test_a_version_and_its_release_name_each_other(numbers):
    version = ".".join(map(str, numbers))
    release = layout.release_of(version)
    assert layout.version_of(release) == version
    assert layout.RELEASE.match(release)
    assert layout.order(version) == tuple(numbers)


def test_versions_are_sorted_as_numbers():
    assert sorted(["1.10", "1.9", "1.2.3", "1.2"], key=layout.order) == ["1.2", "1.2.3", "1.9", "1.10"]


@pytest.mark.parametrize("name", ["PACK1", "PACK1_0_", "PACK1_0\n", "pack1_0", "PACK1_0_0_0_0", "xPACK1_0"])
def test_what_is_no_release(name):
    assert not layout.RELEASE.match(name)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        (SHOP.own, OWN),
        (SHOP.current, "/srv/shop/current"),
        (SHOP.ledger, "/srv/shop/deployments.jsonl"),
        (SHOP.virtualenvs, "/srv/shop/virtualenvs"),
        (SHOP.virtualenv("abc"), "/srv/shop/virtualenvs/abc"),
        (SHOP.own_file("a", "b"), f"{OWN}/a/b"),
        (SHOP.lock, f"{OWN}/lock"),
        (SHOP.note, f"{OWN}/deploying.json"),
        (SHOP.artifacts, f"{OWN}/artifacts"),
        (SHOP.artifact("1.0"), f"{OWN}/artifacts/shop-1.0.zip"),
        (SHOP.records, f"{OWN}/releases"),
        (SHOP.record("PACK1_0"), f"{OWN}/releases/PACK1_0.json"),
        (SHOP.failures, f"{OWN}/failed"),
        (SHOP.aside, f"{OWN}/aside"),
        (SHOP.gunicorn_conf, f"{OWN}/gunicorn.conf.py"),
        (SHOP.gunicorn_settings, f"{OWN}/gunicorn.json"),
        (SHOP.candidate_gunicorn_settings, f"{OWN}/candidate/gunicorn.json"),
        (SHOP.environment("PACK1_0"), f"{OWN}/PACK1_0.env"),
        (SHOP.started("PACK1_0"), f"{OWN}/started/PACK1_0.json"),
        (SHOP.release("PACK1_0"), "/srv/shop/PACK1_0"),
        (SHOP.incoming("PACK1_0"), "/srv/shop/.incoming-PACK1_0"),
        (SHOP.instance("PACK1_0"), "shop@PACK1_0.service"),
        (SHOP.instance("PACK1_0", CANDIDATE), "shop-candidate@PACK1_0.service"),
        (SHOP.activate, "shop-activate.service"),
        (SHOP.socket(Address("0.0.0.0", 8000)), "shop-0.0.0.0:8000.socket"),
        (SHOP.wants, f"{UNITS}/multi-user.target.wants"),
        (SHOP.enabled("PACK1_0"), f"{UNITS}/multi-user.target.wants/shop@PACK1_0.service"),
        (SHOP.unit_file(SHOP.instance("PACK1_0")), f"{UNITS}/shop@.service"),
        (SHOP.unit_file(SHOP.instance("PACK1_0", CANDIDATE)), f"{UNITS}/shop-candidate@.service"),
        (SHOP.unit_file(SHOP.activate), f"{UNITS}/shop-activate.service"),
        (SHOP.unit_file(SHOP.socket(Address("::1", 80))), f"{UNITS}/shop-::1:80.socket"),
        (SHOP.drop_ins(), f"{UNITS}/shop@.service.d"),
        (SHOP.handed, f"{UNITS}/shop@.service.d/sockets.conf"),
        (SHOP.runtime("PACK1_0"), "/run/shop/PACK1_0"),
        (SHOP.runtime("PACK1_0", CANDIDATE), "/run/shop-candidate/PACK1_0"),
        (SHOP.candidate_socket("PACK1_0"), "/run/shop-candidate/PACK1_0/gunicorn.sock"),
        (Layout("shop", "/srv/shop", "/u", "/r").handed, "/u/shop@.service.d/sockets.conf"),
        (Layout("shop", "/srv/shop", "/u", "/r").runtime("PACK1_0"), "/r/shop/PACK1_0"),
    ],
)
def test_where_it_is(path, where):
    assert path == where
