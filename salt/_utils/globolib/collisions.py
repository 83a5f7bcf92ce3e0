"""Whether two apps of a host would be in each other's way. Pure."""

from collections.abc import Mapping

from globolib.address import overlap
from globolib.apps import place
from globolib.settings import Resolution, Settings


def problems(app: str, mine: Resolution, others: Mapping[str, Resolution]) -> list[str]:
    """
    What an app shares with others that each must have for itself: a line each. Units, account, state directory and
    grain of an app go by its name. A port counts where both apps have a version.

    app
        The app, by which pillar names it.
    others
        The other apps' settings, by the same names. Of a value that is wrong nothing is said here.
    """
    return [line for other, theirs in others.items() for line in _pair(place(app), mine, place(other), theirs)]


def _pair(here: str, mine: Resolution, there: str, theirs: Resolution) -> list[str]:
    one, other, found = mine.settings, theirs.settings, []
    wrong = mine.invalid | theirs.invalid
    if "name" not in wrong and one.name == other.name:
        found.append(
            f"{here} and {there} have the same name, {one.name}: their units would be the same; name them differently"
        )
    if "root" not in wrong and _nested(one.root, other.root):
        found.append(
            f"{here} has root {one.root}, and {there} has {other.root}: each app needs a directory of its own, and "
            "none inside another's"
        )
    if not wrong & {"proxy", "port", "bind"}:
        found += _proxies(here, one, there, other)
    listens = not wrong & {"port", "bind", "version"} and one.version and other.version
    if listens and one.listen.overlaps(other.listen):
        found.append(
            f"{here} and {there} both have bind {one.listen}: give one of them another path"
            if one.listen.path
            else f"{here} has port {one.port} on {one.address}, and {there} has it on {other.address}: give one of "
            "them another port"
        )
    return found


def _proxies(here: str, one: Settings, there: str, other: Settings) -> list[str]:
    """Whether the proxies are in each other's way, or in that of the other app. One nginx may have many on one port."""
    mine, theirs, found = one.front, other.front, []
    if mine and theirs and overlap(mine.address, theirs.address):
        same = set(mine.server_name) & set(theirs.server_name)
        both = mine.port == theirs.port or (mine.redirect_port and mine.redirect_port == theirs.redirect_port)
        if both and (same or not mine.server_name or not theirs.server_name):
            found.append(
                f"{here} and {there} have their proxies on port {mine.port}: each needs a proxy:server_name of its "
                "own, and no name twice"
            )
        for mixed in {mine.port, theirs.port} & {mine.redirect_port, theirs.redirect_port}:
            found.append(f"{here} and {there} have port {mixed} for https and for proxy:redirect_port: choose two")
    for has, front, name, app in ((here, mine, there, other), (there, theirs, here, one)):
        if front and app.port in front.ports and overlap(front.address, app.address):
            found.append(f"the proxy of {has} has port {app.port}, and so has {name}: give one of them another port")
    return found


def _nested(one: str, other: str) -> bool:
    """Whether one of two directories is the other, or in it."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
