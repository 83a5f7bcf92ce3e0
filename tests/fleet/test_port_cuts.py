"""A change of port that is cut: an address that is served stays so, and the next run leaves one of both."""

import pytest
from cuts import Cutter, power_cut
from load import Load
from polling import until
from server import words

UNITS = "/etc/systemd/system"
# In their order; OLD is the port of before.
POINTS = [
    f"{UNITS}/globoapp-standin@.service renamed to#1",  # the stand-in is about to start
    f"{UNITS}/globoapp-0.0.0.0:OLD.socket removed#1",  # systemd has let go of the old address
    f"{UNITS}/globoapp@.service.d/sockets.conf renamed to#2",  # the release is about to start afresh
    "/opt/globoHUB/desafio/.globoapp/started/PACK1_0.json renamed to#1",  # it has
]
CASES = [
    pytest.param(mode, point, after, marks=pytest.mark.long if mode == "stop" else ())
    for mode in ("job", "stop")
    for after in ("again", "highstate")
    for point in POINTS
]


@pytest.fixture(scope="module")
def web(alone):
    return alone("web1", "1.0")


@pytest.mark.parametrize(("mode", "point", "after"), CASES)
def test_one_of_both_is_served_all_the_time(web, mode, point, after):
    old = web.ledger()[-1]["port"]
    new = 8001 if old == 8000 else 8000
    with Load(web.url(old), web.url(new)) as load:
        cutter = Cutter(web, mode, point.replace("OLD", str(old)))
        salt, *rest = words(web.name, "1.0", port=new)
        web.fleet.run(salt, "--async", *rest)
        seen = cutter.result()
        assert "cut" in seen, seen
        if mode == "stop":
            power_cut(web)
            until(lambda: web.fleet.awake(web.name), 300)
        until(lambda: web.answers(old) or web.answers(new))
        web.deploy("1.0", port=new) if after == "again" else web.deploy(None)
    if mode == "job":
        load.assert_nothing_lost()
    assert web.listeners() == [f"0.0.0.0:{new if after == 'again' else old}"]
    assert web.sh("systemctl list-units --plain --no-legend 'globoapp-standin@*'").split() == []
    web.assert_serves("1.0")
