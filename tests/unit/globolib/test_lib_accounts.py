"""The account and the group of the service: what is in the way, and what is to be made."""

import grp
import os
import pwd

import pytest
from globolib import accounts
from globolib.accounts import Accounts
from globolib.settings import Settings

APP = Settings(user="my-app")
UID = "uid is 980: the account my-app exists with uid 7, which is never altered; set uid: 7, or choose another user"
PRIMARY = "gid is 980: the account my-app exists with the primary gid 8, which is never altered; set gid: 8, or name a"
GROUP = "gid is 980: the group web exists with gid 9, which is never altered; set gid: 9, or choose another group"
OWN = "gid is 980: the group my-app exists with gid 9, which is never altered; set gid: 9, or choose another group"
# case: (settings, what the host has, the beginnings of the lines)
PROBLEMS = {
    "nothing is there, nothing is wanted": ({}, Accounts(), []),
    "an account, nothing is wanted": ({}, Accounts(uid=7, primary=8, gid=9), []),
    "free numbers": ({"uid": 980, "gid": 980}, Accounts(), []),
    "the same numbers": ({"uid": 7, "gid": 8}, Accounts(7, 8, 8, "my-app", "my-app"), []),
    "another uid": ({"uid": 980}, Accounts(uid=7, primary=8), [UID]),
    "another uid, which is taken": ({"uid": 980}, Accounts(7, 8, None, "backup"), [UID]),
    "a uid that is taken": ({"uid": 980}, Accounts(uid_owner="backup"), ["uid is 980: the account backup has it;"]),
    "another primary group": ({"gid": 980}, Accounts(uid=7, primary=8), [PRIMARY]),
    "a group with another gid": ({"gid": 980, "group": "web"}, Accounts(7, 980, 9), [GROUP]),
    "a group of the user's name with another gid": ({"gid": 980}, Accounts(gid=9), [OWN]),
    "the same group, not the primary one": ({"gid": 980, "group": "web"}, Accounts(7, 8, 980, "", "web"), []),
    "a gid that is taken": ({"gid": 980}, Accounts(gid_owner="web"), ["gid is 980: the group web has it; choose"]),
    "a gid that is taken, for a new group": (
        {"gid": 980, "group": "web"},
        Accounts(7, 8, None, "", "other"),
        ["gid is 980: the group other has it; choose another one"],
    ),
    "root by another name": ({}, Accounts(uid=0), ["user is 'my-app': it has uid 0, and the app is to run as"]),
    "all of it": ({"uid": 980, "gid": 980}, Accounts(uid=7, primary=8), [UID, PRIMARY]),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_is_in_the_way(case):
    wanted, there, lines = PROBLEMS[case]
    told = accounts.problems(APP.at(**wanted), there)
    assert len(told) == len(lines), told
    assert all(line.startswith(start) for line, start in zip(told, lines, strict=True)), told


# case: (settings, what the host has, new user, new group, its primary group)
MADE = {
    "nothing is there": ({}, Accounts(), "my-app", "", ""),
    "all is there": ({}, Accounts(7, 8, 9), "", "", ""),
    "a group of that name is there": ({}, Accounts(gid=9), "my-app", "", "my-app"),
    "with a gid": ({"gid": 980}, Accounts(), "my-app", "my-app", "my-app"),
    "with a uid alone": ({"uid": 980}, Accounts(), "my-app", "", ""),
    "with a group": ({"group": "web"}, Accounts(), "my-app", "web", "web"),
    "with a group that is there": ({"group": "web"}, Accounts(gid=9), "my-app", "", "web"),
    "a group for a user that is there": ({"group": "web"}, Accounts(7, 8), "", "web", ""),
    "both are there": ({"group": "web"}, Accounts(7, 8, 9), "", "", ""),
    "a user that is there, whose group has another name": ({"gid": 8}, Accounts(7, 8), "", "", ""),
}


@pytest.mark.parametrize("case", MADE)
def test_what_is_made(case):
    wanted, there, user, group, primary = MADE[case]
    made = accounts.to_make(APP.at(**wanted), there)
    assert made == {"new_user": user, "new_group": group, "primary": primary}


def test_the_host_is_asked():
    me, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
    here = accounts.look(Settings(user=me.pw_name, group=group.gr_name, uid=me.pw_uid, gid=group.gr_gid))
    assert here == Accounts(me.pw_uid, me.pw_gid, group.gr_gid, me.pw_name, group.gr_name)
    assert accounts.look(Settings(user="no-such-account", uid=4000000, gid=4000000)) == Accounts()


def test_what_a_process_runs_with(monkeypatch):
    own = pwd.getpwuid(os.geteuid()).pw_name
    assert accounts.runs_as(APP, os.getpid()) == own
    same = pwd.getpwuid(os.geteuid())
    monkeypatch.setattr(pwd, "getpwnam", lambda name: same)
    assert accounts.runs_as(APP, os.getpid()) == "my-app"
    monkeypatch.undo()

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert accounts.runs_as(APP, os.getpid()) == str(os.geteuid())
    assert accounts.runs_as(APP, 0) is None
    assert accounts.runs_as(APP, 1 << 40) is None
