"""The setting `proxy`: what may be wrong with it, and the text of the site."""

import re

import pytest
from globolib import proxy
from globolib.proxy import Proxy

OWN = {"certificate": "/etc/ssl/c.pem", "key": "/etc/ssl/k.pem"}

# What is wrong with the setting, and the line that a person reads.
WRONG = [
    (True, r"proxy is True: it must be a mapping with certificate and key, or self_signed: true"),
    ({}, r"proxy has no certificate: say certificate and key"),
    ({"certificate": "/etc/ssl/c.pem"}, r"proxy has no certificate: say certificate and key"),
    ({**OWN, "self_signed": True}, r"proxy has self_signed and certificate and key: one of the two"),
    ({**OWN, "key": "k.pem"}, r"proxy:key is 'k\.pem': an absolute path"),
    ({**OWN, "key": "/etc/../k.pem"}, r"proxy:key is '/etc/\.\./k\.pem': an absolute path"),
    ({**OWN, "key": "/etc/k.pem; include /x"}, r"proxy:key is '/etc/k\.pem; include /x': an absolute path"),
    ({**OWN, "conections": 1}, r"proxy:conections is an unknown setting; did you mean connections\?"),
    ({**OWN, "xyz": 1}, r"proxy:xyz is an unknown setting; there are: port, "),
    ({**OWN, "port": 0}, r"proxy:port is 0: a whole number from 1 to 65535"),
    ({**OWN, "port": "443"}, r"proxy:port is '443': a whole number"),
    ({**OWN, "connections": True}, r"proxy:connections is True: a whole number from 0"),
    ({**OWN, "idle_timeout": 0}, r"proxy:idle_timeout is 0: a whole number from 1 to 600"),
    ({**OWN, "hsts": -1}, r"proxy:hsts is -1: a whole number from 0"),
    ({**OWN, "max_body": 1}, r'proxy:max_body is 1: a size in quotes, like "512k" or "10m"'),
    ({**OWN, "max_body": "1m; #"}, r"proxy:max_body is '1m; #': a size"),
    ({**OWN, "gzip": "on"}, r"proxy:gzip is 'on': true or false, without quotes"),
    ({"self_signed": "yes"}, r"proxy has no certificate"),
    ({**OWN, "address": "eth0"}, r"proxy:address is 'eth0': an IP address"),
    ({**OWN, "server_name": "a.example"}, r"proxy:server_name is 'a\.example': it must be a list of names"),
    ({**OWN, "server_name": ["a.example:443"]}, r"proxy:server_name has 'a\.example:443': a name in lower case"),
    ({**OWN, "server_name": ["A.example"]}, r"proxy:server_name has 'A\.example': a name in lower case"),
    ({**OWN, "server_name": ["~^x"]}, r"proxy:server_name has '~\^x': a name"),
    ({**OWN, "server_name": ["a\n"]}, r"proxy:server_name has 'a\\n': a name"),
    ({**OWN, "redirect_port": 80}, r"proxy:redirect_port needs server_name"),
    ({**OWN, "redirect_port": 443, "server_name": ["a"]}, r"proxy:redirect_port is 443: that is the port of https"),
    ({**OWN, "static": ["/static/"]}, r"proxy:static is \['/static/'\]: it must be a mapping"),
    ({**OWN, "static": {"/static": "static"}}, r"proxy:static has '/static': a path that begins and ends with /"),
    ({**OWN, "static": {"/": "static"}}, r"proxy:static has '/': a path that begins and ends"),
    ({**OWN, "static": {"/a b/": "static"}}, r"proxy:static has '/a b/': a path"),
    ({**OWN, "static": {"/static/": ".."}}, r"proxy:static:/static/ is '\.\.': a directory inside the release"),
    ({**OWN, "static": {"/static/": "."}}, r"proxy:static:/static/ is '\.': a directory inside"),
    ({**OWN, "static": {"/static/": ".venv"}}, r"proxy:static:/static/ is '\.venv': a directory inside"),
    ({**OWN, "static": {"/static/": "/etc"}}, r"proxy:static:/static/ is '/etc': a directory inside"),
    ({**OWN, "static": {"/static/": "a/../../b"}}, r"proxy:static:/static/ is 'a/\.\./\.\./b': a directory"),
]


@pytest.mark.parametrize(("section", "line"), WRONG, ids=range(len(WRONG)))
def test_each_problem_is_told(section, line):
    assert [one for one in proxy.problems(section) if re.match(line, one)]


@pytest.mark.parametrize(
    "section",
    [
        None,
        OWN,
        {"self_signed": True},
        {**OWN, "server_name": ["a.example", "*.b.example", "localhost"], "redirect_port": 80, "address": "::"},
        {**OWN, "static": {"/static/": "static", "/a/b/": "web/dist-1.2"}, "max_body": "10m", "connections": 0},
    ],
)
def test_what_is_right_has_no_problem(section):
    assert list(proxy.problems(section)) == []
    assert (proxy.of(section) is None) == (section is None)


def test_all_problems_at_once():
    found = list(proxy.problems({"port": 0, "gzip": 1, "server_name": ["A"]}))
    assert [line.partition(" ")[0] for line in found] == ["proxy:port", "proxy", "proxy:server_name", "proxy:gzip"]


def text(upstreams=("127.0.0.1:8000",), name="globoapp", **values):
    """The site of an app with these settings."""
    releases = ("/opt/x/y/current", "/opt/x/y/.globoapp/beside")
    return proxy.site_text(Proxy(**values), name, upstreams, releases, ("/c.pem", "/k.pem"), "/var/log/nginx")


def test_the_digest_is_of_the_whole_text():
    one, other = text(), text(max_body="2m")
    assert len(proxy.digest_of(one)) == 64
    assert proxy.digest_of(one) == proxy.digest_of(text()) != proxy.digest_of(other)
    assert proxy.digest_of("") == ""


def test_apps_share_no_name():
    zones = [set(re.findall(r"globoapp_\w+", text(name=name))) for name in ("shop", "bill")]
    assert zones[0] & zones[1] == set()


def test_hsts_is_for_a_certificate_of_ones_own():
    assert 'Strict-Transport-Security "max-age=31536000"' in text()
    assert "Strict-Transport-Security" not in text(self_signed=True)
    assert "Strict-Transport-Security" not in text(hsts=0)


@pytest.mark.parametrize(
    ("address", "listen", "near"),
    [
        ("0.0.0.0", "0.0.0.0:443 ssl;", []),
        ("::", "[::]:443 ssl ipv6only=off;", []),
        ("10.0.0.5", "10.0.0.5:443 ssl;", ["10.0.0.5"]),
        ("fd00::1", "[fd00::1]:443 ssl;", ["fd00::1"]),
    ],
)
def test_where_it_listens_and_who_may_see_its_digest(address, listen, near):
    site = text(address=address)
    assert f"    listen {listen}\n" in site
    block = re.search(r"geo \$globoapp_globoapp_near \{\n(.*?)\}", site, re.S)[1]
    assert [line.split()[0] for line in block.splitlines()] == ["default", "127.0.0.0/8", "::1", *near]


def test_the_second_place_of_the_app_is_asked_where_the_first_takes_nobody():
    site = text(("127.0.0.1:8001", "127.0.0.1:8000"))
    assert "server 127.0.0.1:8001 max_fails=0;\n    server 127.0.0.1:8000 backup max_fails=0;" in site


def test_what_can_be_left_out():
    assert "access_log off;\n\n    ssl" in text(access_log=False)
    assert "limit_conn globoapp_globoapp 20" not in text(connections=0)
    assert text().count("server {") == 1
    assert "return 308 https://$host$request_uri;" in text(redirect_port=80, server_name=["a"])
    assert "https://$host:8443$request_uri" in text(redirect_port=80, port=8443, server_name=["a"])
