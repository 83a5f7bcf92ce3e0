"""Several apps on one server: a Flask app and a Django app from the package index beside globoapp. Each is deployed,
broken, healed and rolled back, and the others do not notice."""

import json
import time

import others
import pytest
from polling import until
from server import release_of

SITE_PY = """\
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

settings.configure(SECRET_KEY=os.environ["SECRET_KEY"], ALLOWED_HOSTS=["site.example"], ROOT_URLCONF=__name__)
urlpatterns = [path("status/", lambda request: JsonResponse({"version": "{version}"}))]
app = get_wsgi_application()
"""
DJANGO = {
    "name": "site",
    "versions": ["1.0", "1.1"],
    "wanted": ["django==4.2.16", "gunicorn==23.0.0"],
    "manifest": {
        "wsgi": "hello:app",
        "health": {"path": "/status/", "status": 200, "headers": {"Host": "site.example"}},
    },
    "files": {"hello.py": SITE_PY},
}
QUICK = {"prove": 0, "soak": 0}
PILLAR = {
    "globoapps": {
        "httpbin": {**QUICK, "port": 9000, "wheels": "salt://httpbin-wheels"},
        "site": {**QUICK, "port": 9001, "wheels": "salt://site-wheels", "environment": {"SECRET_KEY": "not-told"}},
    }
}
# The version that is there from the start, and the one after it.
VERSIONS = {"globoapp": ("1.0", "1.1"), "httpbin": ("0.10.2", "0.10.3"), "site": ("1.0", "1.1")}
PORTS = {"globoapp": 8000, "httpbin": 9000, "site": 9001}
PATHS = {"globoapp": "/api/comment/list/nobody-commented", "httpbin": "/status/200", "site": "/status/"}
CLEAN = """
systemctl disable --now 'httpbin@*' 'site@*'; systemctl stop 'httpbin*' 'site@*' 'site-*'
rm -rf /opt/globoHUB/httpbin /opt/globoHUB/site /etc/systemd/system/httpbin* /etc/systemd/system/site[@-]*
rm -rf /etc/systemd/system/multi-user.target.wants/httpbin@* /etc/systemd/system/multi-user.target.wants/site@*
systemctl daemon-reload; userdel httpbin; userdel site; true"""

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Two versions of each app, among what the master serves; gone after the tests."""
    directory = tmp_path_factory.mktemp("apps")
    with (
        others.published(directory, versions=["0.10.2", "0.10.3"], **others.HTTPBIN),
        others.published(directory, **DJANGO),
    ):
        yield


@pytest.fixture(scope="module")
def web(fleet, alone, published):
    """web1 with globoapp 1.0 and, in its pillar, two apps more; monitoring looks after it."""
    fleet.heal(True, _yaml(PILLAR))
    server = alone("web1", "1.0")
    yield server
    fleet.heal(False)
    server.sh(CLEAN, check=False)
    for name in ("httpbin", "site"):
        server.call("grains.delkey", name, "force=True")


def _yaml(pillar):
    """A pillar as a line of YAML for each of its keys."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in pillar.items())


def answers(web, app):
    """Whether an app answers, as its clients ask."""
    host = "-H 'Host: site.example'" if app == "site" else ""
    code = web.sh(
        f"curl -s -o /dev/null -m 5 -w '%{{http_code}}' {host} http://127.0.0.1:{PORTS[app]}{PATHS[app]}", False
    )
    return code in ("200", "404" if app == "globoapp" else "200")


def main_pids(web, *without):
    """{app: the main process of what is deployed} of the others."""
    found = {}
    for app in VERSIONS:
        if app not in without:
            version = web.call("globoapp.status", f"app={app}")["version"]
            found[app] = web.sh(f"systemctl show -P MainPID {app}@{release_of(version)}.service")
    return found


def assert_well(web, **versions):
    """Fails the test unless these versions, of all others the first ones, are deployed and serve."""
    for app, (first, _) in VERSIONS.items():
        status = web.call("globoapp.status", f"app={app}")
        assert (status["version"], status["differences"]) == (versions.get(app, first), []), app
        assert answers(web, app), app


def test_each_is_deployed_alone(web):
    for app in ("httpbin", "site"):
        before = web.ledger()
        run = web.deploy(VERSIONS[app][0], app=app)
        assert all(app in identity or identity.startswith("tree") for identity in run.ids), run.ids
        assert web.ledger() == before
    assert_well(web)
    owners = set(web.sh("ps -o user= -C gunicorn").split())
    assert owners >= set(VERSIONS)
    assert web.apply().changed == [], "a run without an app is for all of them, and changes nothing"
    assert {identity.split()[0] for identity in web.apply().ids if identity.endswith("serves")} == set(VERSIONS)


@pytest.mark.parametrize("app", VERSIONS)
def test_each_is_healed_alone(web, app, say):
    unit = f"{app}@{release_of(VERSIONS[app][0])}.service"
    others_before = main_pids(web, app)
    began = time.time()
    web.sh(f"systemctl mask {unit}; systemctl kill --signal=KILL {unit}; systemctl stop {unit}; true")
    until(lambda: answers(web, app), 120)
    say(f"{app}: {time.time() - began:.1f} s to the first answer")
    until(lambda: web.call("globoapp.deploying", f"app={app}") is None, 60)
    until(lambda: web.call("globoapp.status", f"app={app}")["differences"] == [], 120)
    assert main_pids(web, app) == others_before
    last = web.call("globoapp.history", "limit=1", f"app={app}")[0]
    assert (last["action"], last.get("app", "globoapp")) == ("repair", app)
    alerts = web.fleet.runner("globoapp.alerts", "from=2020-01-01")["history"]
    assert app in {one.get("app", "globoapp") for one in alerts if one["probe"] == "api"}


@pytest.mark.parametrize("app", VERSIONS)
def test_each_is_rolled_back_alone(web, app):
    first, second = VERSIONS[app]
    others_before = main_pids(web, app)
    web.deploy(second, app=app)
    assert_well(web, **{app: second})
    answer = web.call("globoapp.rollback", f"app={app}")
    assert (answer["result"], answer["to"]) == (True, first), answer
    assert_well(web)
    assert main_pids(web, app) == others_before


def test_a_bad_release_of_one_leaves_the_others(web):
    before = main_pids(web)
    run = web.apply("9.9", app="site")
    assert run.code != 0 and "version 9.9 is unknown" in run.failed, run.text
    assert main_pids(web) == before


def test_the_master_shows_each(web):
    def shown():
        return web.fleet.runner("globoapp.inventory")

    web.call("globoapp.health", "report=True")
    until(lambda: {"web1", "web1/httpbin", "web1/site"} <= set(shown()), 90)
    found = shown()
    assert {name: found[f"web1/{name}"]["version"] for name in ("httpbin", "site")} == {
        "httpbin": "0.10.2",
        "site": "1.0",
    }
    until(lambda: all(shown()[name]["healthy"] for name in ("web1", "web1/httpbin", "web1/site")), 90)


def test_what_collides_is_refused_and_stops_no_other(web):
    before = main_pids(web)
    pillar = {"globoapps": {"site": {"port": 9000}}}
    run = web.apply(pillar=pillar)
    assert "has port 9000" in run.failed
    assert {identity.split()[0] for identity in run.ids if identity.endswith("serves")} == {"globoapp"}
    assert main_pids(web) == before
