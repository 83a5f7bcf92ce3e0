"""The lab's names, addresses, settings and command line."""

import ipaddress
import os
import pathlib
import subprocess

import pytest
from fleetlib import cli, host, image, naming, steps

CHECKOUT = pathlib.Path(__file__).parents[2]
HYBRID = """\
25 30 0:23 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
26 25 0:24 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
27 25 0:25 / /sys/fs/cgroup/systemd rw,relatime shared:4 - cgroup cgroup rw,xattr,name=systemd
28 25 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup rw,nsdelegate
"""


def test_every_lab_has_names_of_its_own():
    labs = [naming.Lab(pathlib.Path(path), name) for path in ("/a", "/b") for name in ("", "test")]
    assert len({lab.id for lab in labs}) == 4
    assert len({lab.bridge for lab in labs}) == 4
    assert len({next(lab.subnets()) for lab in labs}) == 4
    assert naming.Lab(pathlib.Path("/a")).id == labs[0].id


def test_names_fit_into_an_interface_name():
    lab = naming.Lab(pathlib.Path("/some/checkout"))
    names = [lab.interface(host) for host in ("master", "web1", f"web{naming.MAX_WEB}")]
    assert len(set(names)) == 3
    assert max(map(len, [*names, lab.bridge])) <= 15


def test_subnets_are_private_and_all_different():
    found = list(naming.Lab(pathlib.Path("/a")).subnets())
    assert len(set(found)) == naming.SUBNETS
    assert all(network.subnet_of(ipaddress.ip_network("10.64.0.0/10")) for network in found)


def test_a_subnet_that_the_host_uses_is_passed_over():
    candidates = list(naming.Lab(pathlib.Path("/a")).subnets())
    taken = [candidates[0], candidates[1].supernet(1)]
    chosen = naming.free_subnet(candidates, taken)
    assert not any(chosen.overlaps(network) for network in taken)
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/8"):
        naming.free_subnet(candidates, [ipaddress.ip_network("10.0.0.0/8")])


@pytest.mark.parametrize(("name", "last"), [("master", 10), ("web1", 11), ("web200", 210), ("db", 211), ("lb", 212)])
def test_addresses(name, last):
    assert naming.address(name, ipaddress.ip_network("10.70.1.0/24")) == f"10.70.1.{last}"


@pytest.mark.parametrize("name", ["web0", "web01", "web201", "db1", "web", "web1/../x", ""])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="no host"):
        naming.number(name)


def test_trixie_servers_come_last():
    assert naming.wanted_hosts(2, 1) == {"master": "bookworm", "web1": "bookworm", "web2": "bookworm", "web3": "trixie"}
    assert naming.wanted_hosts(0, 0) == {"master": "bookworm"}
    assert naming.wanted_hosts(0, 0, database=True) == {"master": "bookworm", "db": "bookworm"}
    assert naming.wanted_hosts(0, 0, balancer=True) == {"master": "bookworm", "lb": "bookworm"}


def test_what_a_host_is_by_its_name():
    assert [naming.role(name) for name in ("master", "web1", "db", "lb")] == ["master", "web", "db", "lb"]
    assert naming.Lab(pathlib.Path("/a")).machine("db").endswith("-d")


def test_hosts_file_names_all_and_has_ipv6_for_itself():
    lines = naming.hosts_file("web1", {"master": "10.0.0.10", "web1": "10.0.0.11", "web2": "10.0.0.12"}).splitlines()
    assert "10.0.0.10 master salt" in lines
    assert "10.0.0.12 web2" in lines
    assert [line for line in lines if line.startswith("::1 ") and line.split()[-1] == "web1"]


def test_cgroup_hierarchies_of_systemd():
    assert host.cgroup_mounts(HYBRID) == [
        pathlib.Path("/sys/fs/cgroup/systemd"),
        pathlib.Path("/sys/fs/cgroup/unified"),
    ]
    assert host.cgroup_mounts(HYBRID.splitlines()[1]) == []


def test_pip_settings_reach_uv(tmp_path):
    wheels, index = tmp_path / "wheels", tmp_path / "index"
    wheels.mkdir()
    (index / "simple").mkdir(parents=True)
    weak, strong = tmp_path / "weak.conf", tmp_path / "strong.conf"
    weak.write_text("[global]\nindex-url = https://weak.example/simple\ncert = /nowhere/ca.pem\n")
    strong.write_text(
        f"[global]\nindex-url = https://strong.example/simple\nextra-index-url =\n  file://{index}/simple\n"
    )
    found = host.pip_environment({"PIP_FIND_LINKS": str(wheels), "HTTPS_PROXY": "p"}, [weak, strong])
    assert found["UV_DEFAULT_INDEX"] == found["PIP_INDEX_URL"] == "https://strong.example/simple"
    assert found["UV_EXTRA_INDEX_URL"] == f"file://{index}/simple"
    assert found["UV_FIND_LINKS"] == str(wheels)
    assert found["SSL_CERT_FILE"] == "/nowhere/ca.pem"
    assert found["HTTPS_PROXY"] == "p"
    assert host.named_paths(found) == [str(index), str(wheels)]


def test_without_pip_settings_there_is_nothing_to_pass_on():
    assert {key for key in host.pip_environment({}, []) if key.startswith("PIP_")} == set()


def test_a_layer_is_named_by_what_it_is_made_of(monkeypatch):
    monkeypatch.delenv("GLOBOAPP_SALT", raising=False)
    pinned = [layer.key for layer in image.layers("bookworm", "web")]
    monkeypatch.setenv("GLOBOAPP_SALT", "salt~=3006.28")
    other = [layer.key for layer in image.layers("bookworm", "web")]
    assert pinned[0] == other[0]
    assert pinned[1] != other[1]
    assert not set(pinned) & {layer.key for layer in image.layers("trixie", "web")}


@pytest.mark.parametrize(
    ("argv", "rest"),
    [
        (["salt", "*", "--out", "json", "test.ping"], ["*", "--out", "json", "test.ping"]),
        (["salt", "--help"], ["--help"]),
        (["salt-run", "manage.status"], ["manage.status"]),
        (["exec", "web1", "--", "ls", "--", "-l"], ["ls", "--", "-l"]),
        (["exec", "web1", "ls", "-l"], ["ls", "-l"]),
    ],
)
def test_commands_pass_their_words_on_untouched(argv, rest):
    args, found = cli.parse(argv)
    assert args.command == argv[0]
    assert found == rest


def test_up_boots_two_servers_unless_told_otherwise():
    assert (cli.parse(["up"])[0].web, cli.parse(["up"])[0].trixie) == (2, 0)
    assert cli.parse(["up", "--web", "5", "--trixie", "1"])[0].web == 5


@pytest.mark.parametrize("argv", [[], ["up", "--web", "-1"], ["up", "--web", "201"], ["cut"], ["exec", "web1"], ["x"]])
def test_a_wrong_command_line_says_how_it_goes(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(argv)
    assert stop.value.code == 2
    assert "usage: lab/fleet" in capsys.readouterr().err


def test_without_root_it_points_to_vagrant(monkeypatch, capsys):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for argv in (["can"], ["up"], ["status"]):
        assert cli.main(argv) == 3
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "not root (uid 1000)" in said
        assert "vagrant up" in said


def test_a_failed_command_says_step_reason_and_log(tmp_path):
    log = tmp_path / "some.log"
    with pytest.raises(steps.Failure) as caught, steps.step("the step"):
        steps.run(["sh", "-c", "echo the reason; exit 7"], log)
    text = str(caught.value)
    assert text.startswith("the step: exit code 7 from sh")
    assert "the reason" in text
    assert str(log) in text


def test_the_executable_answers():
    done = subprocess.run([CHECKOUT / "lab/fleet", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "boot a master and web servers" in done.stdout


def test_the_cache_loses_what_nobody_needs(tmp_path, monkeypatch):
    for name in ("CACHE", "STATE", "LOCKS"):
        monkeypatch.setattr(naming, name, tmp_path / name)
    layers = {"base-bookworm-old": 1, "base-bookworm-used": 1, "base-bookworm-new": None, "tmp-salt-bookworm-x-y": None}
    for name, age in layers.items():
        (naming.CACHE / name / "etc").mkdir(parents=True)
        if age:
            os.utime(naming.CACHE / name, (age, age))
    (naming.STATE / "g000000/web1").mkdir(parents=True)
    (naming.STATE / "g000000/web1/lower").write_text("base-bookworm-used\n")
    (naming.CACHE / "some-other-file").touch()
    os.utime(naming.CACHE / "some-other-file", (1, 1))
    image.sweep()
    left = {path.name for path in naming.CACHE.iterdir()}
    assert left == {"base-bookworm-used", "base-bookworm-new", "some-other-file"}


def test_the_cache_keeps_what_is_being_made(tmp_path, monkeypatch):
    for name in ("CACHE", "STATE", "LOCKS"):
        monkeypatch.setattr(naming, name, tmp_path / name)
    (naming.CACHE / "tmp-salt-bookworm-x-y").mkdir(parents=True)
    with image.only_one("salt-bookworm-x"):
        image.sweep()
    assert (naming.CACHE / "tmp-salt-bookworm-x-y").exists()
    image.sweep()
    assert not (naming.CACHE / "tmp-salt-bookworm-x-y").exists()


@pytest.mark.parametrize(
    ("target", "value", "reason"),
    [
        ("platform.system", lambda: "Darwin", "this is Darwin, not Linux"),
        ("fleetlib.host.cgroup_mounts", list, "no cgroup hierarchy"),
        ("fleetlib.host._has_overlay", lambda: False, "no overlay file system"),
        ("shutil.which", lambda name: None, "no apt-get to install it with"),
        (
            "subprocess.run",
            lambda argv, **_: subprocess.CompletedProcess(argv, 1),
            "no permission for a mount namespace",
        ),
    ],
)
def test_what_keeps_machines_from_booting_is_named(monkeypatch, target, value, reason):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.access", lambda *_: True)
    monkeypatch.setattr(target, value)
    assert reason in host.obstacle()


def test_a_command_for_a_lab_that_is_there_does_not_ask_whether_one_could_be(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(naming, "STATE", tmp_path)
    monkeypatch.setattr(host, "obstacle", lambda: "this is a test")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("GLOBOAPP_LAB", "parts")
    assert cli.main(["exec", "web1", "--", "true"]) == host.NO_MACHINES
    assert "machines cannot be booted here: this is a test" in capsys.readouterr().err
    naming.Lab(CHECKOUT, "parts").state.mkdir()
    assert cli.main(["exec", "web1", "--", "true"]) == 1
    assert "no host 'web1' in this fleet" in capsys.readouterr().err
    assert cli.main(["up"]) == host.NO_MACHINES
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["exec", "web1", "--", "true"]) == host.NO_MACHINES
