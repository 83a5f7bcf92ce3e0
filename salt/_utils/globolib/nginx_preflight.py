"""What stands in the way of a proxy, found before anything is touched: all of it at once."""

import os
from collections.abc import Sequence

from globolib import certificate, files, nginx, processes, systemd
from globolib.address import overlap
from globolib.errors import Failure
from globolib.host import Listener
from globolib.proxy import Proxy
from globolib.settings import Settings


def examined(settings: Settings) -> tuple[list[str], list[str]]:
    """
    What is in the way of the proxy, and what a person should know of it: a line each. Where nginx has the site already
    nothing is in the way: a certificate that has ended must not stop a rollback.
    """
    front, path = settings.front, nginx.HERE.site(settings.name)
    held = files.read(path)
    found: list[str] = []
    notes: list[str] = []
    try:
        if front is None:
            if nginx.is_ours(settings, held) and nginx.HERE.installed:
                nginx.check(settings.name, None)
            return found, notes
        if held is not None and not nginx.is_ours(settings, held):
            found.append(f"{path} was not written by this tree, which needs that name: move it away")
        pair, fit = nginx.pair_of(settings, front), True
        if front.self_signed:
            fit = os.path.exists(pair[0])  # else it is made, and nginx is asked then
            found += certificate.cannot_make()
        else:
            try:
                days = certificate.days_left(*pair, front.server_name)
                if days < certificate.SOON:
                    notes.append(f"proxy:certificate is {pair[0]}: it ends in {days:.0f} days")
            except Failure as failure:
                fit = False
                found.append(str(failure))
        found += _taken(settings, front)
        if systemd.booted() and systemd.unit(nginx.HERE.unit).file_state.startswith("masked"):
            found.append(f"{nginx.HERE.unit} is masked, and the setting proxy needs it: systemctl unmask nginx")
        if fit and nginx.HERE.installed and held != nginx.wanted(settings):
            nginx.check(settings.name, nginx.wanted(settings))
    except Failure as failure:
        found.append(str(failure))
    if held is not None and held == nginx.wanted(settings):
        found, notes = [], [*notes, *found]
    if not settings.listen.path and settings.address not in ("127.0.0.1", "::1"):
        notes.append(
            f"bind is {settings.bind!r}: port {settings.port} answers clients without the proxy, its limits and TLS; "
            "bind: 127.0.0.1 closes that way"
        )
    return found, notes


def _taken(settings: Settings, front: Proxy) -> list[str]:
    """The programs that have a port of the proxy and are not nginx."""
    if settings.port in front.ports and overlap(settings.address, front.address):
        return [f"port {settings.port} is the app's and its proxy's: choose another proxy:port, 443 for https"]
    found = []
    listening: Sequence[Listener] = [
        socket
        for socket in processes.listeners()
        if socket.port in front.ports and overlap(socket.address, front.address)
    ]
    for listener in processes.with_owners(listening):
        others = [owner for owner in listener.owners if owner.program != "nginx"]
        if others or not listener.owners:
            who = f"{others[0].program} (process {others[0].pid})" if others else "a program of another container"
            found.append(
                f"port {listener.port} of the proxy is taken: {who} listens on {listener.address}:{listener.port}; "
                "stop it or choose another port"
            )
    return list(dict.fromkeys(found))
