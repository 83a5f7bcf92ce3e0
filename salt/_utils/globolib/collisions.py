"""Whether two apps of a host would be in each other's way. Pure."""

from collections.abc import Mapping

from globolib.apps import place
from globolib.processes import overlap
from globolib.settings import Resolution


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
    listens = not wrong & {"port", "bind", "version"} and one.version and other.version and one.port == other.port
    if listens and overlap(one.address, other.address):
        found.append(
            f"{here} has port {one.port} on {one.address}, and {there} has it on {other.address}: give one of them "
            "another port"
        )
    return found


def _nested(one: str, other: str) -> bool:
    """Whether one of two directories is the other, or in it."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
