"""
The setting `proxy`: nginx in front of an app. What is wrong with it, its defaults, and the text of the site. Pure.
"""

import dataclasses
import hashlib
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from globolib import hints

# Answered by nginx itself, and to this host alone: the digest of the site that it has taken up.
MARK = "/.globoapp-proxy"
WRITTEN = "# Written by Salt (globoapp): the next deploy puts it back."
_DIGEST = "DIGEST"

WHOLE = {
    "port": (1, 65535),
    "redirect_port": (1, 65535),
    "connections": (0, 10000),
    "idle_timeout": (1, 600),
    "answer_timeout": (1, 3600),
    "hsts": (0, 63072000),
}
SWITCHES = ("self_signed", "gzip", "access_log")
NAME = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")
SIZE = re.compile(r"[1-9][0-9]{0,8}[km]?\Z")
PATH = re.compile(r"/[A-Za-z0-9_./@+-]+\Z")
PREFIX = re.compile(r"/([A-Za-z0-9_-][A-Za-z0-9_.-]*/)+\Z")
DIRECTORY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*\Z")


@dataclass(frozen=True)
class Proxy:
    """
    What pillar says below ``proxy``. Seconds where it is a time.

    server_name
        Empty takes every name.
    connections
        Requests of one client address at the same time; 0 is no limit.
    static
        Which URLs nginx answers from which directory of the release: ``{"/static/": "static"}``.
    """

    port: int = 443
    address: str = "0.0.0.0"
    server_name: Sequence[str] = ()
    certificate: str | None = None
    key: str | None = None
    self_signed: bool = False
    redirect_port: int | None = None
    max_body: str = "1m"
    connections: int = 20
    idle_timeout: int = 10
    answer_timeout: int = 60
    static: Mapping[str, str] = field(default_factory=dict)
    gzip: bool = True
    hsts: int = 31536000
    access_log: bool = True

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that nginx listens on."""
        return (self.port, self.redirect_port) if self.redirect_port else (self.port,)

    @property
    def name(self) -> str:
        """A name by which the site can be asked; empty where it takes every name."""
        return asked_as(self.server_name[0]) if self.server_name else ""


def asked_as(name: str) -> str:
    """A name by which a site is asked that has this server name: of ``*.example.com`` one of many."""
    return name.replace("*", "globoapp-health")


KNOWN = tuple(one.name for one in dataclasses.fields(Proxy))


def of(section: Mapping[str, Any] | None) -> Proxy | None:
    """The setting as an object; None without a proxy. It must have passed :func:`problems`."""
    return Proxy(**section) if section is not None else None


def problems(section: Any) -> Iterator[str]:
    """What is wrong with the setting, a line each."""
    if section is None:
        return
    if not isinstance(section, Mapping):
        yield f"proxy is {section!r}: it must be a mapping with certificate and key, or self_signed: true"
        return
    for key in section:
        if key not in KNOWN:
            yield hints.unknown_setting("proxy", key, KNOWN)
    values = {key: section.get(key, getattr(Proxy(), key)) for key in KNOWN}
    yield from _numbers(values)
    yield from _certificate(values)
    yield from _names(values)
    yield from _static(values["static"])
    for key in SWITCHES:
        if not isinstance(values[key], bool):
            yield f"proxy:{key} is {values[key]!r}: true or false, without quotes"
    if not isinstance(values["max_body"], str) or not SIZE.match(values["max_body"]):
        yield f'proxy:max_body is {values["max_body"]!r}: a size in quotes, like "512k" or "10m"'


def _numbers(values: Mapping[str, Any]) -> Iterator[str]:
    for key, (low, high) in WHOLE.items():
        value = values[key]
        if value is None and key == "redirect_port":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            yield f"proxy:{key} is {value!r}: a whole number from {low} to {high}"
    if values["redirect_port"] is not None and values["redirect_port"] == values["port"]:
        yield f"proxy:redirect_port is {values['port']}: that is the port of https; leave it out, or use 80"


def _certificate(values: Mapping[str, Any]) -> Iterator[str]:
    files = [key for key in ("certificate", "key") if values[key] is not None]
    if values["self_signed"] is True and files:
        yield f"proxy has self_signed and {' and '.join(files)}: one of the two"
    elif values["self_signed"] is not True and len(files) < 2:
        yield "proxy has no certificate: say certificate and key (files on the server), or self_signed: true in a lab"
    for key in files:
        if not isinstance(values[key], str) or not PATH.match(values[key]) or ".." in values[key].split("/"):
            yield f"proxy:{key} is {values[key]!r}: an absolute path of letters, digits and . _ - / only, without .."


def _names(values: Mapping[str, Any]) -> Iterator[str]:
    names = values["server_name"]
    if isinstance(names, str) or not isinstance(names, Sequence):
        yield f"proxy:server_name is {names!r}: it must be a list of names"
        return
    for name in names:
        if not isinstance(name, str) or not NAME.match(name) or len(name) > 253:
            yield f"proxy:server_name has {name!r}: a name in lower case, like api.example.com or *.example.com"
    if values["redirect_port"] is not None and not names:
        yield "proxy:redirect_port needs server_name: other sites of this nginx may have that port"
    try:
        ipaddress.ip_address(values["address"])
    except ValueError:
        yield f'proxy:address is {values["address"]!r}: an IP address; 0.0.0.0 is all of IPv4, "::" of IPv6 too'


def _static(static: Any) -> Iterator[str]:
    if not isinstance(static, Mapping):
        yield f"proxy:static is {static!r}: it must be a mapping, like /static/: static"
        return
    for prefix, directory in static.items():
        if not isinstance(prefix, str) or not PREFIX.match(prefix):
            yield f"proxy:static has {prefix!r}: a path that begins and ends with /, like /static/"
        if not isinstance(directory, str) or not DIRECTORY.match(directory):
            yield f"proxy:static:{prefix} is {directory!r}: a directory inside the release, like static, without .."


def site_text(
    proxy: Proxy, name: str, upstreams: Sequence[str], releases: tuple[str, str], pair: tuple[str, str], logs: str
) -> str:
    """
    The text of nginx's site of an app.

    upstreams
        Where the app listens, ``address:port`` or ``unix:PATH``; each but the first is asked where the one before takes
        no connection.
    releases
        The links to the deployed release, and to the one beside it.
    pair
        The files of certificate and key.
    logs
        The directory of the access log.
    """
    here = f"globoapp_{name}"
    host = "$host" if proxy.port == 443 else f"$host:{proxy.port}"
    text = _SITE.format(
        written=WRITTEN,
        here=here,
        upstreams="".join(
            f"    server {place}{' backup' if number else ''} max_fails=0;\n" for number, place in enumerate(upstreams)
        ),
        near="".join(f"    {address} 1;\n" for address in _near(proxy.address)),
        listen=_listen(proxy.address, proxy.port, " ssl"),
        names=" ".join(proxy.server_name) or "_",
        certificate=pair[0],
        key=pair[1],
        log=f"{logs}/{name}-access.log {here} if=${here}_logged" if proxy.access_log else "off",
        limit=f"    limit_conn {here} {proxy.connections};\n    limit_conn_status 429;\n" if proxy.connections else "",
        gzip=_GZIP if proxy.gzip else "    gzip off;\n",
        hsts=f'    add_header Strict-Transport-Security "max-age={proxy.hsts}" always;\n'
        if proxy.hsts and not proxy.self_signed
        else "",
        static="".join(
            _STATIC.format(
                prefix=prefix,
                pattern=re.escape(prefix),
                current=releases[0],
                beside=releases[1],
                directory=directory,
                named=f"{here}_static_{number}",
            )
            for number, (prefix, directory) in enumerate(sorted(proxy.static.items()))
        ),
        mark=MARK,
        digest=_DIGEST,
        idle=proxy.idle_timeout,
        answer=proxy.answer_timeout,
        body=proxy.max_body,
        host=host,
        port=proxy.port,
        redirect=_redirect(proxy, host) if proxy.redirect_port else "",
    )
    return text.replace(_DIGEST, hashlib.sha256(text.encode()).hexdigest())


def digest_of(text: str) -> str:
    """The digest that a site's text has of itself: what nginx answers at MARK when it has taken it up."""
    found = re.search(r'return 200 "([0-9a-f]{64})"', text)
    return found[1] if found else ""


def _near(address: str) -> list[str]:
    """The addresses that a question of this host to itself comes from."""
    near = ["127.0.0.0/8", "::1"]
    return near if ipaddress.ip_address(address).is_unspecified else [*near, address]


def _listen(address: str, port: int, more: str = "") -> str:
    if address == "::":
        return f"[::]:{port}{more} ipv6only=off"
    return f"[{address}]:{port}{more}" if ":" in address else f"{address}:{port}{more}"


def _redirect(proxy: Proxy, host: str) -> str:
    return _REDIRECT.format(
        listen=_listen(proxy.address, proxy.redirect_port or 80),
        names=" ".join(proxy.server_name),
        host=host,
        idle=proxy.idle_timeout,
    )


# json: escape=json leaves bytes from 0x80 on as they are, and a line with them may be no UTF-8: whatever has one is
# told, not shown. Numbers that nginx does not know yet are "000".
_SITE = """\
{written}
geo ${here}_near {{
    default 0;
{near}}}
# What this host asks every second to see whether it is well is no access, and not limited.
map "${here}_near $http_user_agent" ${here}_client {{ default $binary_remote_addr; "1 globoapp-health" ""; }}
map ${here}_client ${here}_logged {{ default 1; "" 0; }}
limit_conn_zone ${here}_client zone={here}:1m;
map $status ${here}_status {{ default 0; ~^[1-9] $status; }}
map $request_uri ${here}_uri {{ default $request_uri; "~[\\x80-\\xff]" "(not ASCII)"; }}
map $host ${here}_host {{ default $host; "~[\\x80-\\xff]" "(not ASCII)"; }}
map $http_referer ${here}_referer {{ default $http_referer; "~[\\x80-\\xff]" "(not ASCII)"; }}
map $http_user_agent ${here}_agent {{ default $http_user_agent; "~[\\x80-\\xff]" "(not ASCII)"; }}
log_format {here} escape=json '{{'
    '"time": "$time_iso8601", "client": "$remote_addr", "id": "$request_id", "method": "$request_method", '
    '"host": "${here}_host", "uri": "${here}_uri", "protocol": "$server_protocol", "status": ${here}_status, '
    '"bytes": $body_bytes_sent, "seconds": $request_time, "upstream": "$upstream_addr", '
    '"upstream_status": "$upstream_status", "upstream_seconds": "$upstream_response_time", '
    '"referer": "${here}_referer", "agent": "${here}_agent"}}';

upstream {here} {{
{upstreams}}}

server {{
    listen {listen};
    server_name {names};
    server_tokens off;
    access_log {log};

    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
    ssl_session_tickets off;

    # A client that says nothing holds a connection of nginx for so long, and never a thread of the app: a request is
    # handed on when it is complete.
    client_header_timeout {idle}s;
    client_body_timeout {idle}s;
    send_timeout {idle}s;
    keepalive_timeout {idle}s;
    reset_timedout_connection on;
    client_max_body_size {body};
{limit}
{gzip}
    proxy_hide_header X-Content-Type-Options;
    add_header X-Content-Type-Options nosniff always;
{hsts}
    location = {mark} {{
        access_log off;
        if (${here}_near = 0) {{ return 404; }}
        default_type text/plain;
        return 200 "{digest}";
    }}
{static}
    location / {{
        proxy_pass http://{here};
        proxy_http_version 1.1;
        proxy_request_buffering on;
        proxy_connect_timeout 5s;
        proxy_read_timeout {answer}s;
        proxy_send_timeout {answer}s;
        # Only where no connection came about: nginx never repeats a POST that it has begun to send.
        proxy_next_upstream error;
        # What a client says of itself here is replaced. gunicorn closes after each answer.
        proxy_set_header Connection close;
        proxy_set_header Host {host};
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Request-ID $request_id;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Host {host};
        proxy_set_header X-Forwarded-Port {port};
        proxy_set_header X-Forwarded-Proto https;
        proxy_set_header X-Forwarded-Protocol "";
        proxy_set_header X-Forwarded-Ssl "";
        proxy_set_header X-Forwarded-Prefix "";
        proxy_set_header X-Forwarded-Server "";
        proxy_set_header Forwarded "";
        proxy_set_header Proxy "";
    }}
}}
{redirect}"""

_GZIP = """\
    gzip on;
    gzip_vary on;
    gzip_proxied any;
    gzip_min_length 1024;
    gzip_types application/javascript application/json image/svg+xml text/css text/javascript text/plain text/xml;
"""

# ^~ and both slashes: no other location, and no /static../, leads out of the directory; no symlink does either.
# What the deployed release does not have may be one of the release beside it: both answer while a deploy switches.
_STATIC = """
    location ^~ {prefix} {{
        alias {current}/{directory}/;
        disable_symlinks on from={current};
        log_not_found off;
        error_page 404 = @{named};
    }}
    location @{named} {{
        rewrite ^{pattern}(.*)$ /{directory}/$1 break;
        root {beside};
        disable_symlinks on from={beside};
    }}
"""

_REDIRECT = """
server {{
    listen {listen};
    server_name {names};
    server_tokens off;
    access_log off;
    client_header_timeout {idle}s;
    keepalive_timeout {idle}s;
    return 308 https://{host}$request_uri;
}}
"""
