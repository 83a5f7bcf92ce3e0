"""What is in front of an app, as health checks and the beacon see it: a TLS server below the test, no nginx."""

import dataclasses
import json
import os

import pytest
from globolib import certificate, files, health, nginx, nginx_preflight, proxy
from globolib.manifest import Health
from globolib.monitor import probes, thresholds
from globolib.settings import Settings
from tlsfront import Front

ASKED = Health("/", 200, {"status": "UP"})


@pytest.fixture
def front(tmp_path):
    made = Front(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def layout(tmp_path):
    return Settings(root=str(tmp_path / "root")).layout


def test_it_is_asked_by_its_name_and_certificate(front):
    problem, answer = health.once(front.place, ASKED, 5)
    assert (problem, answer.status, front.asked) == (None, 200, [("/", "api.example")])
    assert str(front.place) == f"https://127.0.0.1:{front.place.port}"


def test_another_certificate_and_another_name_are_no_answer(front, tmp_path):
    other = str(tmp_path / "other.pem"), str(tmp_path / "other.key")
    certificate.make(*other, ["api.example"], "x")
    both = tmp_path / "both.pem"  # a chain: only its first one is the server's
    both.write_text(files.read(other[0]) + files.read(front.pair[0]))
    for held, name, words in (
        (other[0], "api.example", f"it shows another certificate than {other[0]} holds"),
        (str(both), "api.example", f"it shows another certificate than {both} holds"),
        (front.pair[0], "b.example", "Hostname mismatch"),
    ):
        problem, answer = health.once(health.Tls("127.0.0.1", front.place.port, held, name), ASKED, 5)
        assert (answer, words in problem) == (None, True), problem
    assert front.asked == []


def test_a_renewed_certificate_is_no_fault_before_it_is_taken_up_and_after(front, layout):
    front.note(layout)
    os.unlink(front.pair[0])
    assert nginx.unwell(layout, ASKED, 5) is None
    certificate.make(*front.pair, ["api.example"], "x")
    assert nginx.unwell(layout, ASKED, 5) is None
    other = dataclasses.replace(front.place, also=health.first_certificate(front.pair[0]))
    assert "it shows another certificate than" in health.once(other, ASKED, 5)[0]


def test_a_certificate_that_is_gone_is_no_answer(front, tmp_path):
    problem, _ = health.once(health.Tls("127.0.0.1", front.place.port, str(tmp_path / "none")), ASKED, 5)
    assert "FileNotFoundError" in problem


def test_one_that_takes_the_connection_and_says_nothing_ends_in_time():
    with health.socket.create_server(("127.0.0.1", 0)) as silent:
        place = health.Tls("127.0.0.1", silent.getsockname()[1], __file__)
        problem, _ = health.once(place, ASKED, 0.2)
        assert problem.startswith("no answer: ")


def test_who_is_dead_is_told(front, layout):
    assert nginx.unwell(layout, ASKED, 5) is None, "there is no proxy"
    front.note(layout)
    assert nginx.unwell(layout, ASKED, 5) is None
    front.answer = (502, b"")
    assert nginx.unwell(layout, ASKED, 5).startswith("the proxy nginx answers, and by it GET https://127.0.0.1:")
    front.stop()
    assert nginx.unwell(layout, ASKED, 5).startswith(f"nginx does not answer at {front.place}: ConnectionRefusedError")


@pytest.mark.parametrize("torn", ["", "{", "[1]", '{"host": "x"}'])
def test_a_note_that_a_power_cut_has_torn_is_no_proxy(layout, torn):
    files.make_directory(layout.own)
    files.write(layout.proxy, torn)
    assert nginx.taken_up(layout) is None


class Target:
    """A stand-in for what is deployed."""

    health = ASKED


@pytest.mark.parametrize(
    ("app", "by_proxy", "expected"),
    [
        ((False, False), (200, b'{"status": "UP"}'), (False, False, "well")),
        ((True, True), (200, b'{"status": "UP"}'), (True, True, "well")),
        ((True, False), (502, b""), (True, False, "well; its proxy nginx answers at https://")),
        ((False, False), (502, b""), (True, False, "by it GET https://")),
        ((True, True), (502, b""), (True, False, "; the app itself answers")),
        ((True, False), None, (True, False, "well; nginx does not answer at https://")),
        ((False, False), None, (True, False, "nginx does not answer at https://")),
    ],
)
def test_the_beacon_says_which_of_the_two_is_dead(front, layout, monkeypatch, app, by_proxy, expected):
    bad, slow = app
    front.note(layout)
    front.answer = by_proxy
    if by_proxy is None:
        front.stop()
    sample = {"bad": bad, "slow": slow, "value": 1.0, "threshold": 800, "message": "well"}
    monkeypatch.setattr(probes, "deployed", lambda memory: Target)
    monkeypatch.setattr(probes, "_app", lambda *words: sample)
    seen = probes.api({**thresholds.DEFAULTS["api"], "timeout": 5}, probes.Memory(layout, "/nowhere"))
    assert (seen["bad"], seen["slow"], expected[2] in seen["message"]) == (*expected[:2], True), seen


def test_what_separates_a_host_without_nginx(tmp_path, monkeypatch):
    monkeypatch.setattr(nginx, "HERE", nginx.Place(str(tmp_path / "none"), str(tmp_path)))
    (tmp_path / "conf.d").mkdir()
    settings = Settings(root=str(tmp_path / "root"), proxy={"self_signed": True})
    assert nginx.steps(settings) == {"install": "nginx is not installed"}
    assert nginx.steps(Settings(root=str(tmp_path / "root"))) == {}
    site = tmp_path / "conf.d/globoapp-proxy.conf"
    site.write_text("somebody's")
    assert nginx.steps(Settings(root=str(tmp_path / "root"))) == {}
    problems, notes = nginx_preflight.examined(settings)
    assert problems == [f"{site} was not written by this tree, which needs that name: move it away"]
    assert [note.partition(":")[0] for note in notes] == ["bind is '0.0.0.0'"]
    site.write_text(proxy.WRITTEN)
    assert nginx_preflight.examined(settings.at(address="127.0.0.1", bind="127.0.0.1")) == ([], [])
    assert nginx.steps(settings.at(proxy=None)) == {"remove": f"{site} is left"}


def test_a_port_that_another_program_has_is_told_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(nginx, "HERE", nginx.Place(str(tmp_path / "none"), str(tmp_path)))
    with health.socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        values = {"self_signed": True, "port": port, "address": "127.0.0.1"}
        settings = Settings(root=str(tmp_path), proxy=values, address="127.0.0.1")
        (problem,), _ = nginx_preflight.examined(settings)
        assert problem.startswith(f"port {port} of the proxy is taken: ")
        assert f"listens on 127.0.0.1:{port}; stop it or choose another port" in problem
        (problem,), _ = nginx_preflight.examined(settings.at(port=port))
        assert problem.startswith(f"port {port} is the app's and its proxy's")


def test_the_note_is_json_that_other_releases_read(front, layout):
    front.note(layout)
    assert set(json.loads(files.read(layout.proxy))) == {"host", "port", "certificate", "name", "also"}
