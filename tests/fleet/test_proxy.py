"""A proxy in front of the app: nginx, installed by apt, on real machines."""

import contextlib
import json
import socket
import ssl

import debs
import pytest
from load import Load
from polling import until

PACKAGES = ("nginx", "nginx-common")
PROXY = {"self_signed": True, "connections": 200}
SITE = "/etc/nginx/conf.d/globoapp-proxy.conf"
# Also what a run of these tests has left half installed.
PURGE = "dpkg --purge --force-all nginx nginx-common; rm -rf /etc/nginx /var/log/nginx"


def site(proxy):
    """The pillar of a site with a proxy, as a line of YAML."""
    return f"globoapp: {json.dumps({'proxy': proxy, 'bind': '127.0.0.1'})}\n"


@pytest.fixture(scope="module")
def web(fleet, alone):
    """web1 with 1.0 behind nginx, in its pillar; monitoring leaves it alone."""
    fleet.heal(False, site(PROXY))
    server = alone("web1")
    server.sh(PURGE, check=False)
    debs.isolate(server)
    server.without = server.apply("1.0")
    server.left = server.sh("ls -d /etc/nginx /opt/globoHUB/desafio/current; systemctl is-active 'globoapp*'", False)
    debs.offer(server, *PACKAGES)
    server.deploy("1.0")
    yield server
    fleet.heal(False)
    server.sh(PURGE, check=False)
    debs.take_away(server)


def over_tls(server, path="/api/comment/list/nobody-commented"):
    """(status, headers, body) of a GET by the proxy, from outside; OSError where there is no answer."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((server.address, 443), timeout=5) as plain,
        context.wrap_socket(plain) as secure,
    ):
        secure.sendall(f"GET {path} HTTP/1.1\r\nHost: web1\r\nConnection: close\r\n\r\n".encode())
        said = b"".join(iter(lambda: secure.recv(65536), b""))
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def answers(server):
    """Whether the API answers by its proxy."""
    try:
        return json.loads(over_tls(server)[2])["status"] == "NOT-FOUND"
    except (OSError, ValueError):
        return False


def differences(server):
    return server.call("globoapp.status")["differences"]


def test_where_nginx_cannot_be_installed_nothing_is_switched(web):
    assert "Unable to locate package nginx" in web.without.failed
    assert (web.without.code != 0, web.left) == (True, "")


def test_a_deploy_puts_nginx_in_front(web):
    status, headers, _ = over_tls(web)
    assert (status, headers["server"], headers["x-content-type-options"]) == (404, "nginx", "nosniff")
    assert not web.answers(), "the app itself is on loopback only"
    assert web.call("globoapp.health")["proxy"] == "https://127.0.0.1:443"
    assert differences(web) == []
    run = web.apply("1.0").green()
    assert run.changed == []


def test_switches_under_load_lose_nothing_and_reload_nothing(web):
    workers = web.sh("pgrep -f '[n]ginx: worker'")
    with Load(f"https://{web.address}") as load:
        web.deploy("1.1", soak=0.5)
        web.deploy("1.0", soak=0.5)
    load.assert_nothing_lost()
    assert web.sh("pgrep -f '[n]ginx: worker'") == workers


def test_the_port_of_the_app_changes_behind_nginx_without_an_error(web):
    """nginx reloads twice. Before 1.27.4 it may close an idle keep-alive connection just when its client asks."""
    with Load(f"https://{web.address}") as load:
        web.deploy("1.0", port=8001)
    assert load.seen["requests"] > 0
    assert set(load.seen["kinds"]) <= {"closed without an answer", "reset"}, load.seen["kinds"]
    assert load.seen["failed"] <= 2 * 16, "once for each reload and keep-alive client"
    assert differences(web) == []


def test_a_dry_run_and_a_bad_setting_change_nothing(web):
    before = web.listing()
    dry = web.apply(test=True, proxy={**PROXY, "max_body": "2m"})
    assert (dry.results, "client_max_body_size 2m" in dry.changes) == ({None, True}, True), dry.text
    run = web.apply("1.1", proxy={"self_signed": True, "conections": 3})
    assert run.code != 0
    assert "proxy:conections is an unknown setting; did you mean connections?" in run.failed
    web.sh("echo 'lisen 1;' > /etc/nginx/conf.d/someone.conf")
    run = web.apply("1.1", proxy={**PROXY, "max_body": "2m"})
    web.sh("rm /etc/nginx/conf.d/someone.conf")
    assert "nginx's configuration is broken without this app's part of it" in run.failed
    assert 'unknown directive "lisen" in /etc/nginx/conf.d/someone.conf:1' in run.failed
    assert web.listing() ^ before <= {line for line in web.listing() ^ before if "/etc/nginx/conf.d " in line}
    assert answers(web)


def test_the_app_moves_to_a_unix_socket_that_nginx_may_open_and_nobody_else(web):
    path = "/run/globoapp/shop.sock"
    web.deploy("1.0", bind=f"unix:{path}")
    assert (answers(web), differences(web)) == (True, [])
    assert web.sh(f"stat -c '%A %U %G' {path}") == "srw-rw---- globoapp www-data"
    asked = "curl -s -o /dev/null -w '%{http_code}' --unix-socket " + f"{path} http://x/api/comment/list/none"
    assert web.sh(f"setpriv --reuid=nobody --regid=nogroup --clear-groups {asked}", check=False) == "000"
    assert web.sh(f"setpriv --reuid=www-data --regid=www-data --clear-groups {asked}") == "404"
    with Load(f"https://{web.address}") as load:
        web.deploy("1.1", bind=f"unix:{path}", soak=0.5)
    load.assert_nothing_lost()
    web.deploy("1.0", port=8001)
    assert (answers(web), differences(web)) == (True, [])


def test_idle_clients_do_not_stop_it(web):
    with contextlib.ExitStack() as clients:
        for _ in range(8):
            clients.enter_context(socket.create_connection((web.address, 443))).sendall(b"\x16")
        assert [answers(web) for _ in range(20)] == [True] * 20


def test_a_dead_nginx_is_told_and_healed_and_the_app_left_alone(web):
    web.fleet.heal(True, site(PROXY))
    app = web.main_pid("1.0")
    web.sh("systemctl stop nginx")
    until(lambda: answers(web), 90)
    assert web.main_pid("1.0") == app

    def told():
        alerts = web.fleet.runner("globoapp.alerts", "from=2020-01-01")["history"]
        return [one for one in alerts if "nginx does not answer at https://127.0.0.1:443" in one["message"]]

    # It has cleared: what stays open while nobody looks would be healed for ever.
    until(lambda: told() and all(one["until"] for one in told()), 60)
    assert "the app itself answers" in told()[-1]["message"]
    until(lambda: differences(web) == [], 60)
    web.fleet.heal(False, site(PROXY))


def test_a_site_that_was_edited_is_seen_and_repaired(web):
    web.sh(f"sed -i 's/client_max_body_size .*/client_max_body_size 0;/' {SITE}; systemctl reload nginx")
    assert differences(web) == [f"{SITE} differs"]
    assert f"{SITE} differs" in web.highstate().green().changes
    assert differences(web) == []


def test_without_the_setting_it_is_taken_away(web):
    web.fleet.heal(False)
    web.deploy("1.0", bind="0.0.0.0")
    assert web.sh(f"ls {SITE} /opt/globoHUB/desafio/.globoapp/proxy.json 2>/dev/null || true") == ""
    with pytest.raises(OSError):
        over_tls(web)
    assert web.answers(8001)
    assert differences(web) == []
    assert web.apply("1.0", bind="0.0.0.0").green().changed == []
