"""The fleet itself: power cuts, reboots, two labs side by side, and nothing left of one that is gone."""

import json
import pathlib
import subprocess
import urllib.request

import pytest
from machines import Fleet
from polling import until
from sweeps import sampled

STATE = pathlib.Path("/var/lib/globoapp-lab")


def traces(lab_id):
    """Returns whatever a lab may leave on this machine: processes, mounts, interfaces, cgroups, files."""
    found = [str(path) for path in pathlib.Path("/sys/class/net").iterdir() if lab_id in path.name]
    # By name, not by a walk: below it are machines that come and go.
    places = (f"globoapp-lab/{lab_id}", f"*/globoapp-lab/{lab_id}")
    found += [str(path) for place in places for path in pathlib.Path("/sys/fs/cgroup").glob(place)]
    found += [str(path) for path in STATE.glob(f"{lab_id}*")]
    found += [str(path) for path in pathlib.Path("/run/systemd/nspawn").glob(f"**/*{lab_id}*")]
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "mounts", "environ"):
            try:
                text = (process / name).read_bytes().decode(errors="replace")
            except OSError:
                continue  # it ended, or is a kernel thread
            found += [f"{process}/{name}: {text[:80]}"] if lab_id in text else []
    return found


@pytest.fixture
def other(fleet, request):
    """A second lab beside the shared one, not yet up; down after the test."""
    second = Fleet("test-other")
    second.run("down")
    request.addfinalizer(lambda: second.run("down"))
    return second


def test_machines_are_machines(fleet):
    for host in fleet.status()["hosts"]:
        assert host["up"]
        assert fleet.exec(host["name"], "cat", "/proc/1/comm").stdout == "systemd\n"
        assert fleet.exec(host["name"], "hostname").stdout == f"{host['name']}\n"
        addresses = json.loads(fleet.exec(host["name"], "ip", "-j", "-4", "address", "show", "host0").stdout)
        assert addresses[0]["addr_info"][0]["local"] == host["address"]
        assert fleet.exec(host["name"], "ip", "route", "show", "default").stdout == ""


def test_each_machine_has_cgroups_of_its_own(fleet):
    fleet.exec("web1", "systemd-run", "--unit=only-here", "sleep", "infinity", check=True)
    find = ["find", "/sys/fs/cgroup", "-type", "d", "-name", "only-here.service"]
    assert fleet.exec("web1", *find).stdout
    assert fleet.exec("web2", *find).stdout == ""
    fleet.exec("web1", "systemctl", "stop", "only-here", check=True)


def test_exec_passes_input_output_and_exit_code_through(fleet):
    done = fleet.exec("web1", "sh", "-c", "tr a-z A-Z; echo oops >&2; exit 7", input="a line\n")
    assert (done.stdout, done.stderr, done.returncode) == ("A LINE\n", "oops\n", 7)
    assert fleet.exec("nobody", "true").returncode == 1
    assert "Hosts: master, web1, web2" in fleet.exec("nobody", "true").stderr


def test_salt_passes_its_exit_code_through(fleet):
    assert fleet.salt("web1", "test.ping").returncode == 0
    assert fleet.salt("web1", "test.retcode", "3").returncode != 0
    assert fleet.run("salt-run", "manage.up", "--out=json", check=True).stdout.count("web") == 2


def test_up_again_changes_nothing(fleet):
    before = [fleet.booted(host["name"]) for host in fleet.status()["hosts"]]
    fleet.run("up", "--web", "2")
    assert [fleet.booted(host["name"]) for host in fleet.status()["hosts"]] == before


def test_a_power_cut_keeps_the_disk_and_nothing_else(fleet):
    fleet.exec("web1", "sh", "-c", "echo kept > /root/kept; echo lost > /run/lost", check=True)
    fleet.cut("web1")
    off = {each["name"]: each["up"] for each in fleet.status()["hosts"]}
    assert off == {"master": True, "web1": False, "web2": True}
    assert fleet.run("status", check=False).returncode == 1
    assert "lab/fleet boot web1" in fleet.exec("web1", "true").stderr
    fleet.boot("web1")
    assert fleet.exec("web1", "cat", "/root/kept").stdout == "kept\n"
    assert fleet.exec("web1", "test", "-e", "/run/lost").returncode == 1
    assert fleet.ask("web1", "test.ping") == {"web1": True}
    boots = fleet.exec("web1", "journalctl", "--list-boots", "--no-pager").stdout
    assert len([line for line in boots.splitlines() if "UTC" in line]) >= 2


def test_a_machine_reboots_from_inside(fleet):
    before = fleet.booted("web2")
    fleet.exec("web2", "systemctl", "reboot")
    until(lambda: fleet.booted("web2") not in ("", before))
    fleet.boot("web2")  # which it has done by itself: this only waits for its minion
    assert fleet.ask("web2", "test.ping") == {"web2": True}


def test_the_checkout_is_on_the_master_only_and_read_only(fleet):
    assert fleet.exec("master", "test", "-e", "/srv/globoapp/lab/fleet").returncode == 0
    assert fleet.exec("master", "touch", "/srv/globoapp/x").returncode != 0
    assert fleet.exec("web1", "test", "-e", "/srv/globoapp").returncode != 0


def test_no_key_is_accepted_by_itself(fleet):
    listed = json.loads(fleet.exec("master", "salt-key", "--out=json").stdout)
    assert listed["minions"] == ["web1", "web2"]
    assert listed["minions_pre"] == []
    config = json.loads(fleet.run("salt-run", "--out=json", "config.get", "auto_accept").stdout)
    assert config is False


def test_a_web_server_has_no_compiler(fleet):
    assert fleet.exec("web1", "sh", "-c", "command -v gcc cc make").stdout == ""


def test_this_machine_reaches_the_servers(fleet):
    server = ["systemd-run", "--unit=answer", "python3", "-m", "http.server", "8123", "--directory", "/usr/share"]
    fleet.exec("web1", *server, check=True)
    url = f"http://{fleet.address('web1')}:8123/"

    def answers():
        try:
            return urllib.request.urlopen(url, timeout=5).status == 200
        except OSError:
            return False

    until(answers)
    fleet.exec("web1", "systemctl", "stop", "answer", check=True)


def test_a_second_lab_comes_and_goes_without_a_trace(fleet, other):
    other.run("up", "--web", "1")
    status = other.status()
    shared = fleet.status()
    assert not {each["address"] for each in status["hosts"]} & {each["address"] for each in shared["hosts"]}
    assert traces(status["lab"])
    assert other.ask("*", "test.ping") == {"web1": True}
    other.run("down")
    assert traces(status["lab"]) == []
    assert all(each["up"] for each in fleet.status()["hosts"])
    assert "there was nothing" in other.run("down").stderr


def test_hosts_join_a_fleet_that_runs(fleet, other):
    other.run("up", "--web", "1")
    other.run("up", "--web", "2")
    assert other.ask("*", "test.ping") == {"web1": True, "web2": True}
    assert other.exec("web1", "getent", "hosts", "web2").stdout.split()[0] == other.address("web2")


@pytest.mark.parametrize("forgotten", sampled([False, True], True))
def test_down_clears_what_a_killed_up_left(fleet, other, forgotten):
    lab_id = other.status()["lab"]
    up = other.start("up", "--web", "1", stderr=subprocess.DEVNULL)
    until(lambda: any(each["up"] for each in other.status()["hosts"]))
    up.kill()
    up.wait()
    assert traces(lab_id)
    if forgotten:
        (STATE / lab_id / "lab.json").unlink()
    other.run("down")
    assert traces(lab_id) == []


def test_up_goes_on_from_where_a_killed_one_was(fleet, other):
    up = other.start("up", "--web", "1", stderr=subprocess.DEVNULL)
    until(lambda: other.status()["hosts"])
    up.kill()
    up.wait()
    other.run("up", "--web", "1")
    assert other.ask("*", "test.ping") == {"web1": True}
