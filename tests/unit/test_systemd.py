"""Units: what is written, which release starts at boot, and what systemctl's answers mean."""

import os
import subprocess

import pytest

TEMPLATE = "globoapp@.service"


@pytest.fixture
def systemd(tree, tmp_path):
    """globoapp_systemd with its unit directory below the test's, and no systemctl but what a test gives it."""
    module = tree.modules.globoapp_systemd
    units = tmp_path / "units"
    units.mkdir()
    (units / TEMPLATE).write_text("")
    module.UNITS, module.WANTS = str(units), f"{units}/multi-user.target.wants"
    module.calls, module.said = [], {}

    def run(*command, **kwargs):
        module.calls.append(command)
        return subprocess.CompletedProcess(command, 0, module.said.get(command[1], ""), "")

    module.real_run, module._run = module._run, run
    return module


def wants(systemd):
    """{instance: what its link points to} of what starts at boot."""
    return {one: os.readlink(os.path.join(systemd.WANTS, one)) for one in os.listdir(systemd.WANTS)}


def test_names(systemd):
    assert systemd.instance("globoapp", "PACK1_0") == "globoapp@PACK1_0.service"
    assert systemd.instance("globoapp", "PACK1_0", True) == "globoapp-candidate@PACK1_0.service"
    assert systemd.socket_unit("globoapp", "0.0.0.0", 8000) == "globoapp-0.0.0.0:8000.socket"


def test_the_first_release_starts_at_boot(systemd):
    assert systemd.enabled("globoapp") == []
    assert systemd.enable("globoapp", "PACK1_0") is True
    assert wants(systemd) == {"globoapp@PACK1_0.service": f"{systemd.UNITS}/{TEMPLATE}"}
    assert systemd.enabled("globoapp") == ["PACK1_0"]
    assert systemd.enable("globoapp", "PACK1_0") is False


def test_a_switch_at_boot_is_one_rename(systemd, monkeypatch):
    """A power cut at any point leaves the old release or the new one enabled: never both, never none."""
    systemd.enable("globoapp", "PACK1_0")
    seen, real = [], os.rename

    def rename(old, new):
        seen.append((os.path.basename(old), os.path.basename(new)))
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    for name in ("symlink", "unlink"):
        monkeypatch.setattr(os, name, lambda *args: pytest.fail(f"more than a rename: {args}"))
    assert systemd.enable("globoapp", "PACK1_1") is True
    assert seen == [("globoapp@PACK1_0.service", "globoapp@PACK1_1.service")]
    assert systemd.enabled("globoapp") == ["PACK1_1"]


@pytest.mark.parametrize("broken", ["/nowhere", "../elsewhere"])
def test_a_link_to_elsewhere_is_put_right(systemd, broken):
    os.makedirs(systemd.WANTS)
    os.symlink(broken, f"{systemd.WANTS}/globoapp@PACK1_0.service")
    os.symlink(broken, f"{systemd.WANTS}/globoapp@PACK1_1.service")
    assert systemd.enable("globoapp", "PACK1_1") is True
    assert wants(systemd) == {"globoapp@PACK1_1.service": f"{systemd.UNITS}/{TEMPLATE}"}


def test_another_app_starts_at_boot_as_before(systemd):
    systemd.enable("globoapp", "PACK1_0")
    systemd.enable("globoapp2", "PACK9_9")
    systemd.enable("globoapp", "PACK1_1")
    assert systemd.enabled("globoapp2") == ["PACK9_9"]
    assert systemd.enabled("globoapp") == ["PACK1_1"]


SHOW = """\
Id=globoapp@PACK1_0.service
ActiveState=active
SubState=running
MainPID=41
NeedDaemonReload=no

MainPID=0
Id=globoapp@PACK1_1.service
ActiveState=activating
SubState=auto-restart
NeedDaemonReload=no

Id=globoapp@PACK1_2.service
ActiveState=failed
MainPID=0
NeedDaemonReload=no
"""


def test_what_systemctl_says_becomes_data(systemd):
    systemd.said["show"] = SHOW
    units = systemd.show("globoapp@*.service")
    assert list(units) == ["globoapp@PACK1_0.service", "globoapp@PACK1_1.service", "globoapp@PACK1_2.service"]
    assert units["globoapp@PACK1_0.service"]["MainPID"] == "41"
    assert systemd.running("globoapp") == ["PACK1_0", "PACK1_1"]
    assert systemd.main_pid("globoapp@PACK1_0.service") == 41
    assert systemd.main_pid("globoapp@PACK1_2.service") == 0
    assert systemd.main_pid("globoapp@PACK9_9.service") == 0


def test_nothing_loaded_is_nothing(systemd):
    assert systemd.show("globoapp@*.service") == {}
    assert systemd.running("globoapp") == []
    assert systemd.sockets("globoapp") == {}


def test_systemd_reads_its_files_again_only_when_they_changed(systemd):
    systemd.said["show"] = SHOW
    assert systemd.reload_if_needed("globoapp") is False
    systemd.said["show"] = SHOW.replace("NeedDaemonReload=no", "NeedDaemonReload=yes", 1)
    assert systemd.reload_if_needed("globoapp") is True
    assert systemd.calls[-1] == ("systemctl", "daemon-reload")


def test_sockets_come_from_the_disk_and_from_systemd(systemd):
    assert systemd.write_socket("globoapp", "0.0.0.0", 8000) is True
    assert systemd.write_socket("globoapp", "0.0.0.0", 8000) is False
    systemd.said["show"] = "Id=globoapp-10.0.0.5:81.socket\nActiveState=active\n"
    assert systemd.sockets("globoapp") == {
        "globoapp-10.0.0.5:81.socket": "active",
        "globoapp-0.0.0.0:8000.socket": "inactive",
    }


@pytest.mark.parametrize(("address", "listen"), [("10.0.0.5", "10.0.0.5:8000"), ("::1", "[::1]:8000")])
def test_a_socket_listens_where_it_should(systemd, address, listen):
    systemd.write_socket("globoapp", address, 8000)
    with open(f"{systemd.UNITS}/globoapp-{address}:8000.socket") as handle:
        assert f"\nListenStream={listen}\n" in handle.read()


def test_a_socket_goes_with_its_file(systemd):
    systemd.write_socket("globoapp", "0.0.0.0", 8000)
    systemd.remove_socket("globoapp-0.0.0.0:8000.socket")
    assert os.listdir(systemd.UNITS) == [TEMPLATE]
    assert ("systemctl", "stop", "--", "globoapp-0.0.0.0:8000.socket") in systemd.calls
    assert systemd.calls[-1] == ("systemctl", "daemon-reload")


def test_sockets_are_handed_over_in_order(systemd):
    assert systemd.handed("globoapp") == []
    both = ["globoapp-0.0.0.0:8000.socket", "globoapp-0.0.0.0:81.socket"]
    assert systemd.hand_over("globoapp", both) is True
    assert systemd.hand_over("globoapp", both) is False
    assert systemd.handed("globoapp") == both
    assert systemd.hand_over("globoapp", both[:1]) is True
    assert systemd.handed("globoapp") == both[:1]


def test_a_command_that_fails_speaks_for_itself(systemd):
    error = systemd.CommandExecutionError
    with pytest.raises(error, match=r"ls /nowhere/at/all: .*No such file"):
        systemd.real_run("ls", "/nowhere/at/all")
    assert systemd.real_run("false", check=False).returncode == 1
    with pytest.raises(error, match=r"sleep 60: no end after 0\.1 s"):
        systemd.real_run("sleep", "60", timeout=0.1)
