"""Talking to systemd: what its answers mean, which release starts at boot, which sockets there are."""

import os
import time

import pytest
from globolib import files, systemd
from globolib.address import Address
from globolib.errors import Failure
from globolib.host import Host, Unit
from globolib.layout import CANDIDATE, Layout
from hypothesis import given
from hypothesis import strategies as st

TEMPLATE = "shop@.service"
SOCKET = "shop-0.0.0.0:8000.socket"


@pytest.fixture
def layout(tmp_path):
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / TEMPLATE).write_text("")
    return Layout("shop", str(tmp_path / "root"), str(tmp_path / "units"), str(tmp_path / "run"))


def wants(layout):
    """{instance: what its link points to} of what starts at boot."""
    return {name: os.readlink(os.path.join(layout.wants, name)) for name in os.listdir(layout.wants)}


SHOW = """\
Id=shop@PACK1_0.service
ActiveState=active
SubState=running
MainPID=41
Result=success
UnitFileState=enabled
NeedDaemonReload=yes
InvocationID=abc

MainPID=0
Id=shop@PACK1_1.service
ActiveState=activating
SubState=auto-restart
Result=exit-code
NeedDaemonReload=no

Id=shop-candidate@PACK1_2.service
ActiveState=failed
MainPID=[not set]

Id=shop-0.0.0.0:8000.socket
ActiveState=active
SubState=running

Id=shop-x-0.0.0.0:8000.socket
ActiveState=active

Id=shop-x:y.socket
ActiveState=active

Id=shop-activate.service
ActiveState=inactive
"""


def test_what_systemctl_says_becomes_values(programs, layout):
    programs.says("systemctl", "show", SHOW)
    shown = systemd.show(layout)
    assert shown == {
        "shop@PACK1_0.service": Unit(
            "shop@PACK1_0.service", "active", "running", 41, "success", "enabled", True, "abc"
        ),
        "shop@PACK1_1.service": Unit("shop@PACK1_1.service", "activating", "auto-restart", result="exit-code"),
        "shop-candidate@PACK1_2.service": Unit("shop-candidate@PACK1_2.service", "failed"),
        SOCKET: Unit(SOCKET, "active", "running"),
        "shop-activate.service": Unit("shop-activate.service"),
    }
    assert Host(units=shown).running(layout) == ("PACK1_0", "PACK1_1")
    assert Host(units=shown).running(layout, CANDIDATE) == ()


def test_systemd_is_asked_once_for_all(programs, layout):
    assert systemd.show(layout, "shop@PACK1_2.service") == {}
    (call,) = programs.calls
    assert call.endswith(
        " -- shop@*.service shop-candidate@*.service shop-standin@*.service shop-command@*.service shop-*:*.socket"
        " shop-activate.service shop@PACK1_2.service"
    )


def test_a_unit_that_was_asked_for_by_name_is_shown_whatever_it_is(programs, layout):
    programs.says("systemctl", "show", "Id=other.service\nActiveState=active\n")
    assert systemd.show(layout) == {}
    assert list(systemd.show(layout, "other.service")) == ["other.service"]


def test_one_unit(programs):
    programs.says("systemctl", "show", "Id=shop@PACK1_0.service\nMainPID=7\nUnitFileState=masked\n")
    assert systemd.unit("shop@PACK1_0.service").pid == 7
    assert systemd.unit("shop@PACK1_0.service").file_state == "masked"
    assert systemd.unit("shop@PACK9_9.service") == Unit("shop@PACK9_9.service")


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("shop@PACK1_0.service", True),
        ("shop-candidate@PACK1_0.service", True),
        ("shop-activate.service", True),
        (SOCKET, True),
        ("shop-::1:80.socket", True),
        ("shop-10.0.0.5:80.socket", True),
        ("shop-x-10.0.0.5:80.socket", False),
        ("shop-x@PACK1_0.service", False),
        ("shop-x-candidate@PACK1_0.service", False),
        ("shop-x-activate.service", False),
        ("shop_x@PACK1_0.service", False),
        ("shop@.service", False),
        ("shop@PACK1_0.socket", False),
        ("shop-10.0.0.5:080.socket", False),
        ("shop-10.0.0.5:80.socket.bak", False),
        ("shop-:80.socket", False),
        ("workshop@PACK1_0.service", False),
    ],
)
def test_a_unit_of_another_app_is_none_of_ours(layout, name, own):
    assert systemd.ours(layout, name) is own


@given(st.ip_addresses(), st.integers(1, 65535), st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True))
def test_a_socket_is_known_by_its_name_and_by_no_other_apps(address, port, name):
    unit = Layout(name, "/srv/one").socket(Address(str(address), port))
    assert systemd.is_socket(Layout(name, "/srv/one"), unit)
    assert not systemd.is_socket(Layout(name + "x", "/srv/one"), unit)
    assert not systemd.is_socket(Layout(name, "/srv/one"), "x" + unit)


def test_the_release_of_an_instance(layout):
    assert systemd.instance(layout, "shop@PACK1_0.service") == "PACK1_0"
    assert systemd.instance(layout, "shop@PACK1_0.service", CANDIDATE) is None
    assert systemd.instance(layout, "shop-candidate@PACK1_0.service", CANDIDATE) == "PACK1_0"
    assert systemd.instance(layout, "shop@.service") is None


def test_systemctl_speaks_for_itself(programs):
    programs.says("systemctl", "start", stderr="Job failed. \x1b[31mSee logs.\n", code=1)
    with pytest.raises(Failure, match=r"^systemctl start shop@PACK1_0\.service: exit 1: Job failed\. See logs\.$"):
        systemd.systemctl("start", "shop@PACK1_0.service")
    programs.says("systemctl", "is-active", "active\n")
    assert systemd.systemctl("is-active", "x.service") == "active"


@pytest.mark.parametrize("code", [0, 1])
def test_a_unit_is_stopped_and_its_failures_forgotten_whether_it_stops_or_not(programs, code):
    programs.says("systemctl", "stop", stderr="no", code=code)
    programs.says("systemctl", "reset-failed", stderr="no", code=code)
    systemd.stop("shop@PACK1_0.service")
    assert programs.calls == [
        "systemctl stop -- shop@PACK1_0.service",
        "systemctl reset-failed -- shop@PACK1_0.service",
    ]


@pytest.mark.parametrize("there", [True, False])
def test_whether_systemd_is_the_init(monkeypatch, tmp_path, there):
    monkeypatch.setattr(systemd, "BOOTED", str(tmp_path if there else tmp_path / "none"))
    assert systemd.booted() is there


def test_the_journal_is_harmless_text_of_one_run(programs):
    programs.says("journalctl", "--no-pager", b"one\n\xff\x1b[31mtwo\x00\nthree\n")
    assert systemd.journal("shop@PACK1_0.service", 2) == ["\ufffdtwo?", "three"]
    assert systemd.journal("shop@PACK1_0.service", 3, "abc")[0] == "one"
    sync, first, _, second = programs.calls
    assert sync == "journalctl --sync", "what has just ended may not be in it yet"
    assert first.endswith(" --lines 2 --unit shop@PACK1_0.service")
    assert second.endswith(" --lines 3 _SYSTEMD_INVOCATION_ID=abc")


def test_a_journal_that_says_nothing_says_so(programs):
    assert systemd.journal("x.service") == ["(the journal holds no line of x.service)"]


def test_a_journal_that_cannot_be_read_says_why(programs, monkeypatch):
    programs.says("journalctl", "--no-pager", stderr="No journal files\nwere found.\n", code=1)
    (line,) = systemd.journal("x.service")
    assert line == "(no log of x.service: journalctl ...: exit 1: No journal files were found.)"
    programs.says("journalctl", "--no-pager", script="exec sleep 60")
    monkeypatch.setattr(systemd, "JOURNAL_DEADLINE", 0.2)
    begun = time.monotonic()
    assert systemd.journal("x.service") == ["(no log of x.service: journalctl ...: no end after 0.2 s)"]
    assert time.monotonic() - begun < 10
    programs.remove("journalctl")
    monkeypatch.setenv("PATH", "/nowhere")
    (line,) = systemd.journal("x.service")
    assert line.startswith("(no log of x.service: journalctl does not run: ")


def test_the_output_of_a_unit_is_all_that_it_wrote_and_nothing_of_systemds(programs):
    programs.says("journalctl", "--sync", "")
    programs.says("journalctl", "--no-pager", b"one\n\x1b[31mtwo\x00\n")
    assert systemd.output("x.service", 9) == ["one", "two?"]
    sync, asked = programs.calls
    assert sync == "journalctl --sync" and asked.endswith("--output=cat --lines 9 _SYSTEMD_UNIT=x.service")
    programs.says("journalctl", "--no-pager", "")
    assert systemd.output("x.service", 9) == []
    programs.says("journalctl", "--no-pager", stderr="No journal files.\n", code=1)
    assert systemd.output("x.service", 9) == ["(no output of x.service: journalctl ...: exit 1: No journal files.)"]


@pytest.mark.parametrize(
    ("code", "status", "result", "told"),
    [
        (1, 3, "exit-code", (3, "exit-code")),
        (2, 15, "timeout", (None, "timeout")),
        (1, 0, "timeout", (None, "timeout")),  # it took its end in order: that is no success
        (2, 9, "oom-kill", (None, "oom-kill")),
        (0, 0, "success", (None, "success")),
    ],
)
def test_how_a_unit_ended(programs, code, status, result, told):
    programs.says("systemctl", "show", f"Id=x.service\nResult={result}\nExecMainCode={code}\nExecMainStatus={status}\n")
    assert systemd.ended("x.service") == told


def test_the_journal_forgets_what_is_old(programs):
    programs.says("journalctl", "--quiet", stderr="Vacuuming done, freed 8M\n", code=1)
    assert systemd.vacuum(14) == "Vacuuming done, freed 8M"
    assert programs.calls == ["journalctl --quiet --vacuum-time=14d"]


def test_the_first_release_starts_at_boot(layout):
    assert systemd.enabled(layout) == ()
    assert systemd.stray_links(layout) is False
    before = os.umask(0o077)
    try:
        assert systemd.enable(layout, "PACK1_0") is True
    finally:
        os.umask(before)
    assert os.stat(layout.wants).st_mode & 0o777 == 0o755
    assert wants(layout) == {"shop@PACK1_0.service": f"{layout.units}/{TEMPLATE}"}
    assert systemd.enabled(layout) == ("PACK1_0",)
    assert systemd.stray_links(layout) is False
    assert systemd.enable(layout, "PACK1_0") is False


def test_a_switch_at_boot_is_one_rename(layout, monkeypatch):
    """A power cut at any point leaves the old release or the new one enabled: never both, never none."""
    systemd.enable(layout, "PACK1_0")
    seen, real = [], os.rename

    def rename(old, new):
        seen.append((os.path.basename(old), os.path.basename(new)))
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    for name in ("symlink", "unlink"):
        monkeypatch.setattr(os, name, lambda *args: pytest.fail(f"more than a rename: {args}"))
    assert systemd.enable(layout, "PACK1_1") is True
    assert seen == [("shop@PACK1_0.service", "shop@PACK1_1.service")]
    assert systemd.enabled(layout) == ("PACK1_1",)


def test_a_switch_at_boot_is_on_the_disk_when_it_returns(layout, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync_directory", lambda path: synced.append((path, systemd.enabled(layout))))
    systemd.enable(layout, "PACK1_0")
    systemd.enable(layout, None)
    assert synced[-2:] == [(layout.wants, ("PACK1_0",)), (layout.wants, ())]


@pytest.mark.parametrize("broken", ["/nowhere", "../elsewhere"])
def test_a_link_to_elsewhere_is_put_right(layout, broken):
    os.makedirs(layout.wants)
    os.symlink(broken, layout.enabled("PACK1_0"))
    os.symlink(broken, layout.enabled("PACK1_1"))
    assert systemd.stray_links(layout) is True
    assert systemd.enable(layout, "PACK1_1") is True
    assert wants(layout) == {"shop@PACK1_1.service": f"{layout.units}/{TEMPLATE}"}
    assert systemd.stray_links(layout) is False


def test_a_file_in_the_place_of_a_link_is_put_right(layout):
    os.makedirs(layout.wants)
    with open(layout.enabled("PACK1_1"), "w"):
        pass
    assert systemd.stray_links(layout) is True
    assert systemd.enable(layout, "PACK1_1") is True
    assert systemd.stray_links(layout) is False


def test_a_second_one_that_starts_at_boot_no_longer_does(layout):
    systemd.enable(layout, "PACK1_0")
    os.symlink(f"{layout.units}/{TEMPLATE}", layout.enabled("PACK1_1"))
    assert systemd.enable(layout, "PACK1_1") is True
    assert systemd.enabled(layout) == ("PACK1_1",)


def test_what_a_cut_left_of_a_link_is_in_nobodys_way(layout):
    os.makedirs(layout.wants)
    os.symlink("/nowhere", f"{layout.wants}/.shop-enable")
    assert systemd.temporary(layout) == [f"{layout.wants}/.shop-enable"]
    assert systemd.enable(layout, "PACK1_0") is True
    assert systemd.temporary(layout) == []
    assert systemd.enabled(layout) == ("PACK1_0",)


def test_no_release_starts_at_boot(layout):
    assert systemd.enable(layout, None) is False
    systemd.enable(layout, "PACK1_0")
    assert systemd.enable(layout, None) is True
    assert systemd.enabled(layout) == ()


def test_another_app_starts_at_boot_as_before(layout):
    other = Layout("shop_x", layout.root, layout.units)
    systemd.enable(other, "PACK9_9")
    systemd.enable(layout, "PACK1_0")
    systemd.enable(layout, "PACK1_1")
    assert systemd.enabled(other) == ("PACK9_9",)
    assert systemd.enabled(layout) == ("PACK1_1",)


def test_sockets_that_have_a_file(layout):
    assert systemd.socket_files(layout) == []
    assert systemd.write_socket(layout, "shop-10.0.0.5:81.socket", "[Socket]\n") is True
    assert systemd.write_socket(layout, SOCKET, "[Socket]\n") is True
    assert systemd.write_socket(layout, SOCKET, "[Socket]\n") is False
    systemd.write_socket(layout, "shop-x-0.0.0.0:82.socket", "[Socket]\n")
    assert systemd.socket_files(layout) == [SOCKET, "shop-10.0.0.5:81.socket"]
    assert files.read(layout.unit_file(SOCKET)) == "[Socket]\n"


def test_a_socket_that_was_edited_is_written_again(layout):
    systemd.write_socket(layout, SOCKET, "[Socket]\n")
    with open(layout.unit_file(SOCKET), "a") as handle:
        handle.write("Backlog=1\n")
    assert systemd.write_socket(layout, SOCKET, "[Socket]\n") is True
    assert systemd.write_socket(layout, SOCKET, "[Socket]\n") is False


def test_a_socket_goes_with_its_file(programs, layout):
    systemd.write_socket(layout, SOCKET, "[Socket]\n")
    systemd.remove_socket(layout, SOCKET)
    assert systemd.socket_files(layout) == []
    stopped = [f"systemctl stop -- {SOCKET}", f"systemctl reset-failed -- {SOCKET}"]
    assert programs.calls == [*stopped, "systemctl daemon-reload"]
    systemd.remove_socket(layout, SOCKET)
    assert programs.calls[3:] == stopped


def test_sockets_are_handed_over_in_order(layout):
    assert systemd.handed(layout) == ()
    both = ("shop-9.9.9.9:8000.socket", "shop-0.0.0.0:81.socket")
    before = os.umask(0o077)
    try:
        assert systemd.hand_over(layout, both) is True
    finally:
        os.umask(before)
    assert os.stat(layout.drop_ins()).st_mode & 0o777 == 0o755
    assert systemd.hand_over(layout, both) is False
    assert systemd.handed(layout) == both
    assert systemd.hand_over(layout, both[:1]) is True
    assert systemd.handed(layout) == both[:1]


def test_what_a_cut_left_of_unit_files_is_ours_alone(layout, monkeypatch):
    """Each file that the package writes, torn in mid-write; beside it what belongs to others."""
    systemd.hand_over(layout, ())
    others = Layout("shop_x", layout.root, layout.units)
    ours = [
        layout.unit_file(layout.instance("")),
        layout.unit_file(layout.instance("", CANDIDATE)),
        layout.unit_file(layout.activate),
        layout.unit_file(SOCKET),
        layout.unit_file("shop-::1:80.socket"),
        layout.unit_file("shop-unix:run:shop:x-1_y.sock.socket"),
        layout.handed,
        layout.process_file("shop-worker@PACK1_0.service"),
        layout.process_file("shop-worker@PACK1_1.service.d/zz-globoapp.conf"),
    ]
    os.makedirs(os.path.dirname(ours[-1]))
    files.write(layout.process_file("shop-worker@PACK1_1.service"), "")
    with monkeypatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(os, name, lambda *args: (_ for _ in ()).throw(InterruptedError))
        for path in [*ours, others.unit_file(others.activate), f"{layout.units}/nginx.service"]:
            with pytest.raises(InterruptedError):
                files.write(path, "")
    for name in (
        f"{TEMPLATE}ab_3xyz9",
        "shop-activate.serviceabcdefgh",
        "shop_x@.serviceab_3xyz9",
        "shop@.service.bak",
    ):
        with open(f"{layout.units}/{name}", "w"):
            pass
    torn = sorted(os.path.basename(path) for path in systemd.temporary(layout))
    assert torn == sorted(
        [f"{TEMPLATE}ab_3xyz9", "shop-activate.serviceabcdefgh", *[name for name in torn if name.startswith(".write-")]]
    )
    assert sorted(name[len(".write-") : -9] for name in torn if name.startswith(".write-")) == sorted(
        os.path.basename(path) for path in ours
    )
