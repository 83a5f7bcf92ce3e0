"""
The account and the group that the service runs as: what the host knows of them, what is in the way, what is to be made.

What exists is used as it is and never altered: a pillar that wants it otherwise is refused.
"""

import grp
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil

from globolib.settings import Settings

Key = TypeVar("Key")
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Accounts:
    """
    What the host knows.

    uid, primary
        The uid of the account, the gid of its primary group; None where there is no account.
    gid
        The gid of the group that the service is to have; None where there is no such group.
    uid_owner, gid_owner
        Who has the uid and the gid that pillar names: an account and a group; empty where nobody has.
    """

    uid: int | None = None
    primary: int | None = None
    gid: int | None = None
    uid_owner: str = ""
    gid_owner: str = ""


def group_of(settings: Settings) -> str:
    """The group that an account gets which is made: the setting, or one of the account's own name."""
    return settings.group or settings.user


def look(settings: Settings) -> Accounts:
    """Ask the host, once."""
    account = _known(pwd.getpwnam, settings.user)
    group = _known(grp.getgrnam, group_of(settings))
    uid_owner = None if settings.uid is None else _known(pwd.getpwuid, settings.uid)
    gid_owner = None if settings.gid is None else _known(grp.getgrgid, settings.gid)
    return Accounts(
        account.pw_uid if account else None,
        account.pw_gid if account else None,
        group.gr_gid if group else None,
        uid_owner.pw_name if uid_owner else "",
        gid_owner.gr_name if gid_owner else "",
    )


def _known(ask: Callable[[Key], Entry], key: Key) -> Entry | None:
    try:
        return ask(key)
    except KeyError:
        return None


def runs_as(settings: Settings, pid: int) -> str | None:
    """The account that a process runs with: a name, or the uid where that has none; None where the process is gone."""
    try:
        uid = psutil.Process(pid).uids().effective
    except (psutil.Error, ValueError):
        return None
    named = _known(pwd.getpwnam, settings.user)
    if named and named.pw_uid == uid:  # another account may have the same uid
        return settings.user
    account = _known(pwd.getpwuid, uid)
    return account.pw_name if account else str(uid)


def problems(settings: Settings, accounts: Accounts) -> list[str]:
    """Where the host has these accounts otherwise than pillar wants them: a list of lines."""
    found, user, group = [], settings.user, group_of(settings)
    kept = "which is never altered"
    if accounts.uid == 0:
        found.append(f"user is {user!r}: it has uid 0, and the app is to run as an account that may do nothing else")
    if settings.uid is not None and settings.uid != accounts.uid:
        if accounts.uid is not None:
            found.append(
                f"uid is {settings.uid}: the account {user} exists with uid {accounts.uid}, {kept}; "
                f"set uid: {accounts.uid}, or choose another user"
            )
        elif accounts.uid_owner:
            found.append(f"uid is {settings.uid}: the account {accounts.uid_owner} has it; choose another one")
    if settings.gid is None:
        return found
    if accounts.uid is not None and not settings.group:
        if settings.gid != accounts.primary:
            found.append(
                f"gid is {settings.gid}: the account {user} exists with the primary gid {accounts.primary}, {kept}; "
                f"set gid: {accounts.primary}, or name a group"
            )
    elif accounts.gid is not None and settings.gid != accounts.gid:
        found.append(
            f"gid is {settings.gid}: the group {group} exists with gid {accounts.gid}, {kept}; "
            f"set gid: {accounts.gid}, or choose another group"
        )
    elif accounts.gid is None and accounts.gid_owner:
        found.append(f"gid is {settings.gid}: the group {accounts.gid_owner} has it; choose another one")
    return found


def to_make(settings: Settings, accounts: Accounts) -> dict[str, Any]:
    """
    What the tree makes: ``new_user`` and ``new_group``, names or empty; ``primary``, the group that the new user gets,
    empty where useradd makes one of its name.
    """
    group, makes_user = group_of(settings), accounts.uid is None
    named = bool(settings.group) or (makes_user and (settings.gid is not None or accounts.gid is not None))
    return {
        "new_user": settings.user if makes_user else "",
        "new_group": group if named and accounts.gid is None else "",
        "primary": group if named and makes_user else "",
    }
