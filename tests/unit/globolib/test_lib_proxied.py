"""A deploy with a proxy: what a failure of nginx, and what one of the release by nginx, comes to."""

import os
import sys

import pytest
from globolib import nginx, nginx_preflight, systemd
from globolib.host import Unit
from tlsfront import Front


class Nginx:
    """A Front that takes up what the site's file says when it is told to, as nginx would."""

    def __init__(self, directory, monkeypatch):
        self.front = Front(directory)
        self.up, self.deaf, self.verbs = True, False, []
        (directory / "nginx/conf.d").mkdir(parents=True)
        place = nginx.Place(sys.executable, str(directory / "nginx"), str(directory), control=self.control)
        self.site = place.site("globoapp")
        self.refused = None
        real = systemd.unit
        monkeypatch.setattr(nginx, "HERE", place)
        monkeypatch.setattr(nginx, "_tried", lambda name, site: self.refused if site else None)
        monkeypatch.setattr(
            systemd, "unit", lambda name, *more: self.unit() if name == place.unit else real(name, *more)
        )

    def unit(self):
        return Unit("nginx.service", active="active" if self.up else "inactive", file_state="enabled")

    def control(self, verb):
        self.verbs.append(verb)
        self.up = True
        if not self.deaf:
            self.front.site = nginx.proxy.digest_of(nginx.files.read(self.site) or "")

    def setting(self, **more):
        certificate, key = self.front.pair
        port = self.front.place.port
        return {"certificate": certificate, "key": key, "address": "127.0.0.1", "port": port, **more}


@pytest.fixture
def proxied(machine, tmp_path, monkeypatch):
    """A machine with 1.0 behind a proxy, and 1.1 to be had; `nginx` is the Nginx."""
    machine.nginx = Nginx(tmp_path, monkeypatch)
    machine.pillar["globoapp"].update(proxy=machine.nginx.setting(), timeout=1)
    monkeypatch.setattr(nginx_preflight, "_taken", lambda settings, front: [])  # the Front is no nginx
    for version in ("1.0", "1.1"):
        machine.publish(version)
    machine.nginx.front.answer = (200, b'{"version": "1.0"}')
    done = machine.deploy("1.0")
    assert done.failure is None
    # What does not answer is waited for so long. A worker takes longer to start where the machine is busy.
    machine.pillar["globoapp"].update(deadline=3)
    yield machine
    machine.nginx.front.stop()


def switch_to_1_1(machine, answers=True, **settings):
    """Deploys 1.1, which by the proxy answers as it should, or not."""
    machine.nginx.front.answer = (200, b'{"version": "1.1"}') if answers else (400, b"no such host")
    machine.nginx.verbs.clear()
    return machine.deploy("1.1", **({"globoapp": settings} if settings else {}))


def test_a_switch_asks_nothing_of_nginx_but_whether_it_is_well(proxied):
    done = switch_to_1_1(proxied)
    assert (done.failure, proxied.deployed(), proxied.nginx.verbs) == (None, "1.1", [])
    assert done.said["proxied"] == f"{proxied.nginx.front.place} answers as it should.".replace("api.example", "")


def test_a_release_that_is_well_by_itself_and_not_by_the_proxy_is_switched_back(proxied):
    done = switch_to_1_1(proxied, answers=False)
    assert "1.1 does not answer by its proxy: GET /status/ for 3 s: status 400 instead of 200" in done.failure
    assert "Switched back: 1.0 serves again." in done.failure
    assert (proxied.deployed(), proxied.running()) == ("1.0", ["PACK1_0"])
    assert os.readlink(proxied.layout.beside) == "../PACK1_1", "its pages may still ask for its static files"


def test_a_site_that_nginx_does_not_take_up_goes_with_the_release_of_before(proxied):
    before = nginx.files.read(proxied.nginx.site)
    proxied.nginx.deaf = True
    done = switch_to_1_1(proxied, proxy=proxied.nginx.setting(max_body="2m"))
    assert f"nginx has not taken up {proxied.nginx.site}, 3 s after its reload" in done.failure
    assert "What nginx had before was put back." in done.failure
    assert (nginx.files.read(proxied.nginx.site), proxied.running()) == (before, ["PACK1_0"])


def test_what_nginx_refuses_stops_a_deploy_before_anything(proxied):
    proxied.nginx.refused = "unknown directive"
    done = switch_to_1_1(proxied, proxy=proxied.nginx.setting(max_body="2m"))
    assert "Nothing was touched" in done.failure
    assert "nginx refuses the site of globoapp, which was not taken up: unknown directive" in done.failure
    assert (proxied.running(), proxied.nginx.verbs) == (["PACK1_0"], [])


def test_an_nginx_that_was_not_well_before_stops_no_deploy(proxied):
    proxied.nginx.front.site, proxied.nginx.deaf = "another", True
    done = switch_to_1_1(proxied)
    assert (done.failure, proxied.deployed(), proxied.running()) == (None, "1.1", ["PACK1_1"])
    assert any("It is nginx that is not well, so the release stays" in one for one in done.warnings)
    again = proxied.deploy("1.1")
    assert "1.1 does not answer by its proxy" in again.failure, "a repair that does not help is red"
    assert proxied.running() == ["PACK1_1"]


def test_a_certificate_that_cannot_be_used_any_more_stops_no_rollback(proxied):
    assert switch_to_1_1(proxied).failure is None
    os.unlink(proxied.nginx.front.pair[1])
    proxied.nginx.front.answer = (200, b'{"version": "1.0"}')
    done = proxied.deploy("1.0")
    assert done.failure is None
    assert any("it cannot be read: No such file or directory" in one for one in done.warnings)
    refused = proxied.deploy("1.0", globoapp={"proxy": proxied.nginx.setting(max_body="2m")})
    assert "it cannot be read: No such file or directory" in refused.failure


def test_static_files_that_the_release_does_not_have_are_told(proxied):
    setting = proxied.nginx.setting(static={"/static/": "static"})
    assert os.readlink(proxied.layout.beside) == "../PACK1_0"
    done = switch_to_1_1(proxied, proxy=setting)
    assert done.failure is None
    assert os.readlink(proxied.layout.beside) == "../PACK1_0", "the one before"
    assert any("1.1 has no such directory: nginx answers 404" in one for one in done.warnings)


def test_a_dead_nginx_is_a_difference_and_started_without_the_app(proxied):
    proxied.nginx.up = False
    run = proxied.deploy("1.0", test=True)
    assert run.said["proxied"] == "nginx would be changed."
    pid = proxied.systemd.pid("globoapp@PACK1_0.service")
    assert proxied.deploy("1.0").failure is None
    assert (proxied.nginx.verbs[-1], proxied.systemd.pid("globoapp@PACK1_0.service")) == ("start", pid)


def test_without_the_setting_it_goes(proxied):
    site, note = proxied.nginx.site, proxied.layout.proxy
    assert os.path.exists(note)
    done = proxied.deploy("1.0", globoapp={"proxy": None})
    assert done.failure is None
    here = proxied.begin("1.0", globoapp={"proxy": None})
    assert set(nginx.take_up(here.settings)) == {"remove"}
    assert not os.path.exists(site) and not os.path.exists(note)
