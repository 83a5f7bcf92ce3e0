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


def test_systemd_reads_its_files_again_only_when_they_changed(systemd):
    systemd.said["show"] = SHOW
    assert systemd.reload_if_needed("globoapp") is False
    systemd.said["show"] = SHOW.replace("NeedDaemonReload=no", "NeedDaemonReload=yes", 1)
    assert systemd.reload_if_needed("globoapp") is True
    assert systemd.calls[-1] == ("systemctl", "daemon-reload")


def test_a_command_that_fails_speaks_for_itself(systemd):
    error = systemd.CommandExecutionError
    with pytest.raises(error, match=r"ls /nowhere/at/all: .*No such file"):
        systemd.real_run("ls", "/nowhere/at/all")
    assert systemd.real_run("false", check=False).returncode == 1
    with pytest.raises(error, match=r"sleep 60: no end after 0\.1 s"):
        systemd.real_run("sleep", "60", timeout=0.1)
