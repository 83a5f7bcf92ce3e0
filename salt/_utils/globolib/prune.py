"""
History without a full disk: which releases may go, and their going.

Setting ``keep`` is how many releases stay. Whatever it says, these stay: the deployed one, the one that a rollback
would go to, any that a process runs out of, and as many failed ones (evidence) as good ones.
"""

import glob
import logging
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from globolib import checks, ledger, processes, release, virtualenv
from globolib.errors import Failure
from globolib.host import Record
from globolib.ledger import Entry
from globolib.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Going:
    """What goes: releases, oldest version first, and virtualenvs, both by their names."""

    releases: tuple[str, ...] = ()
    virtualenvs: tuple[str, ...] = ()


def keep_checked(keep: Any) -> int | str:
    """``keep`` as a number of releases or ``"all"``. Raises Failure when it is neither."""
    problem = checks.keep_problem(keep)
    if problem:
        raise Failure(problem)
    kept: int | str = keep
    return kept


def plan(
    settings: Settings,
    entries: Sequence[Entry],
    records: Mapping[str, Record],
    in_use: Collection[str],
    virtualenvs_present: Collection[str],
    wanted_virtualenv: str,
    keep: int | str,
) -> Going:
    """
    What would go, once ``settings.version`` is deployed here. Pure.

    entries
        The ledger, oldest line first.
    records
        The releases that are complete here, oldest version first.
    in_use
        The names of the releases and virtualenvs that a process runs out of.
    virtualenvs_present
        The names of the virtualenvs that are there.
    wanted_virtualenv
        The virtualenv of ``settings.version``: a path or name; empty where it is not known.
    keep
        How many releases stay, or ``"all"``.
    """
    if isinstance(keep, str):
        return Going()
    staying = _staying(settings.version, entries, records, in_use, keep)
    going = tuple(name for name in records if name not in staying)
    # By their names: a root that is a link, or was moved, has given them other paths.
    used = {os.path.basename(record.virtualenv) for name, record in records.items() if name in staying}
    used |= {os.path.basename(wanted_virtualenv), *in_use}
    return Going(going, tuple(name for name in sorted(virtualenvs_present) if name not in used))


def _staying(
    version: str, entries: Sequence[Entry], records: Mapping[str, Record], in_use: Collection[str], keep: int
) -> set[str]:
    """The names of the releases that stay."""
    now = ledger.deployed(entries)
    if version:
        # As if it were deployed already: test=True says before a deploy what would go after it.
        entries = [*entries, Entry("", "", version, ledger.SUCCESS, "deploy", 0, "", "", None, {})]
    good = ledger.good(entries)
    sound = {record.version for record in records.values() if record.failed is None}
    back = next((candidate for candidate in reversed(good[:-1]) if candidate in sound), None)
    # The ledger's order, not its clock.
    latest = {entry.version: position for position, entry in enumerate(entries)}

    def rank(record: Record) -> tuple[bool, int, str]:
        """Good ones before those that nobody would go back to, the latest first."""
        return record.version in good, latest.get(record.version, -1), record.unpacked

    ranked = sorted(records.values(), key=rank, reverse=True)
    places = max(0, keep - bool(version))
    others = [record.version for record in ranked if record.version in sound and record.version != version][:places]
    failed = sorted(
        (record for record in records.values() if record.failed),
        key=lambda record: (latest.get(record.version, -1), record.failed.time if record.failed else ""),
    )
    must = {version, back, now.version if now else None, *others, *(record.version for record in failed[-keep:])}
    return {name for name, record in records.items() if record.version in must or name in in_use}


def planned(
    settings: Settings, entries: Sequence[Entry], wanted_virtualenv: str = "", keep: int | str | None = None
) -> Going:
    """:func:`plan` for this host as it is; ``keep`` is the setting where it is None."""
    keep = settings.keep if keep is None else keep
    if keep == "all":  # nothing is looked at
        return Going()
    layout = settings.layout
    records = release.records(layout)
    present = _virtualenvs(settings)
    paths = {
        **{name: layout.release(name) for name in records},
        **{name: layout.virtualenv(name) for name in present},
    }
    in_use = {name for name, path in paths.items() if processes.in_use(path)}
    return plan(settings, entries, records, in_use, present, wanted_virtualenv, keep)


def prune(settings: Settings, going: Going) -> Going:
    """
    Remove what :func:`plan` names, with the artifacts, logs and virtualenvs that belong to it, and what a removal
    that was cut has left. The caller holds the lock of a deploy.

    Returns what went: of what has come into use since, nothing.
    """
    layout = settings.layout
    gone = []
    for name in [*going.releases, *_orphans(settings)]:
        try:
            release.remove(settings, name)
        except Failure as error:
            log.warning("%s", error)
            continue
        _remove_evidence(settings, name)
        gone.append(name)
    staying = [record.virtualenv for record in release.records(layout).values()]
    staying += [name for name in _virtualenvs(settings) if name not in going.virtualenvs]
    swept = virtualenv.sweep(layout, staying)
    return Going(tuple(name for name in gone if name in going.releases), tuple(swept))


def _virtualenvs(settings: Settings) -> list[str]:
    """The names of the virtualenvs that are there; what a build that was cut has left begins with a dot."""
    path = settings.layout.virtualenvs
    names = sorted(os.listdir(path)) if os.path.isdir(path) else []
    return [name for name in names if not name.startswith(".") and os.path.isdir(os.path.join(path, name))]


def _orphans(settings: Settings) -> list[str]:
    """Releases whose directory is gone but not yet their record: what a removal left that was cut."""
    layout = settings.layout
    records = glob.glob(os.path.join(glob.escape(layout.records), "PACK*.json"))
    names = sorted(os.path.basename(path).removesuffix(".json") for path in records)
    return [name for name in names if not os.path.lexists(layout.release(name))]


def _remove_evidence(settings: Settings, name: str) -> None:
    """Remove the evidence of a release that is gone: the logs of its failures, the files set aside from it."""
    layout = settings.layout
    for path in glob.glob(os.path.join(glob.escape(layout.failures), f"{name}-*.log")):
        os.unlink(path)
    for path in glob.glob(os.path.join(glob.escape(layout.aside), f"{name}-*")):
        shutil.rmtree(path)
