"""What stands in the way of a deploy: all of it at once, and nothing else."""

import dataclasses
import errno
import pathlib
import re
import socket

import pytest
from globolib import artifact, files, preflight, reach, run, units, virtualenv
from globolib.accounts import Accounts
from globolib.artifact import Artifact
from globolib.errors import Failure
from globolib.host import Listener, Owner
from globolib.manifest import Manifest, parsed
from globolib.preflight import MIB, RELEASE_FILES, VIRTUALENV_BYTES, Examination
from globolib.settings import Resolution
from globolib.virtualenv import Interpreter
from hosts import BARE, HOST, LAYOUT, SETTINGS, SOCKET, TARGET, but, unit

# The judgement: pure.

MADE = Artifact("/x.zip", "0" * 64, Manifest("globoapp", "1.0", "api:app"), "a==1", size=10 * MIB)
PYTHON = Interpreter("cpython-311", "3.11.2", True)
PLENTY = 10 << 30
FINE = Examination(MADE, PYTHON, TARGET, PLENTY)
NEW = SETTINGS.at(version="1.1")


def listens(*owners, address="0.0.0.0", port=8000):
    """A host where these (pid, program) hold a socket."""
    return but(BARE, listeners=(Listener(address, port, "9", owners=tuple(Owner(*owner) for owner in owners)),))


def room(mib):
    """An examination that found so much room."""
    return dataclasses.replace(FINE, free=mib * MIB)


NGINX = "port 8000 is taken: nginx (process 7) listens on 0.0.0.0:8000; stop it or choose another port"
UNIT = (
    "port 8000 is taken: another socket unit of systemd listens on 0.0.0.0:8000 (systemctl list-sockets); stop it or "
    "choose another port"
)
STRANGER = "port 8000 is taken: a program of another container (process unknown) listens on 0.0.0.0:8000; stop it"
RESERVE = SETTINGS.reserve
FULL = "no room on the disk of /opt/x/y: {} MiB free, {} MiB wanted (of these 100 MiB to stay free, pillar reserve)"
# case: (host, examination, the beginnings of the lines)
PROBLEMS = {
    "fit": (HOST, FINE, []),
    "a bare host": (BARE, FINE, []),
    "no systemd": (dataclasses.replace(HOST, booted=False), FINE, ["systemd is not running this machine: "]),
    "all that failed": (HOST, dataclasses.replace(FINE, failures=("a", "b")), ["a", "b"]),
    "another program on the port": (listens((7, "nginx")), FINE, [NGINX]),
    "two others": (
        listens((7, "nginx"), (8, "nc")),
        FINE,
        ["port 8000 is taken: nc (process 8)", "port 8000 is taken: nginx (process 7)"],
    ),
    "on one address of it": (listens((7, "nginx"), address="127.0.0.1"), FINE, ["port 8000 is taken: nginx"]),
    "on another port": (listens((7, "nginx"), port=8001), FINE, []),
    "another socket of systemd": (listens((1, "systemd")), FINE, [UNIT]),
    "one of another container": (listens(), FINE, [STRANGER]),
    "our own socket": (HOST, FINE, []),
    "our own socket, which is closed": (
        but(units={SOCKET: unit(SOCKET, "inactive")}, listeners=listens((1, "systemd")).listeners),
        FINE,
        [UNIT],
    ),
    "only the release holds it still": (
        but(units={SOCKET: None}, texts={LAYOUT.unit_file(SOCKET): None}, listeners=listens((100, "x")).listeners),
        FINE,
        [],
    ),
    "no room, and none is needed": (HOST, room(0), []),
    "room for a virtualenv": (BARE, room(RESERVE + 30 + VIRTUALENV_BYTES // MIB), []),
    "no room for one": (BARE, room(RESERVE + 30 + VIRTUALENV_BYTES // MIB - 1), [FULL.format(229, 230)]),
    "a virtualenv that is broken": (
        but(virtualenv_differences={TARGET.virtualenv: ("x",)}),
        room(RESERVE + VIRTUALENV_BYTES // MIB - 1),
        [FULL.format(199, 200)],
    ),
    "an account with another uid": (
        HOST,
        dataclasses.replace(FINE, accounts=Accounts(uid=0)),
        ["user is 'globoapp': it has uid 0"],
    ),
    "where nothing could be examined": (HOST, Examination(free=PLENTY, failures=("x",)), ["x"]),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_problems(case):
    host, examined, expected = PROBLEMS[case]
    told = preflight.problems("web1", Resolution(SETTINGS), host, examined)
    assert len(told) == len(expected), told
    assert all(line.startswith(start) for line, start in zip(told, expected, strict=True)), told


def test_a_new_release_needs_room_for_itself():
    resolution = Resolution(NEW)
    assert preflight.problems("web1", resolution, HOST, room(RESERVE + 30)) == []
    (line,) = preflight.problems("web1", resolution, HOST, room(RESERVE + 29))
    assert "129 MiB free, 130 MiB wanted" in line
    assert line.endswith("; make room: salt 'web1' globoapp.prune keep=2")


def test_files_are_counted_too():
    """A new release, then its virtualenv too; where the file system counts none there is nothing to judge."""
    few = dataclasses.replace(FINE, inodes=files.Inodes(600, RELEASE_FILES - 1))
    (line,) = preflight.problems("web1", Resolution(NEW), HOST, few)
    assert line.startswith("no inodes on the disk of /opt/x/y: 499 of 600 are free, 500 wanted; ")
    enough = dataclasses.replace(FINE, inodes=files.Inodes(600, RELEASE_FILES))
    assert preflight.problems("web1", Resolution(NEW), HOST, enough) == []
    (line,) = preflight.problems("web1", Resolution(NEW), BARE, enough)
    assert "500 of 600 are free, 3500 wanted" in line
    assert preflight.problems("web1", Resolution(SETTINGS), HOST, few) == []  # a repair needs none


def test_an_address_that_cannot_be_asked_is_refused():
    examined = dataclasses.replace(FINE, unreachable="the kernel of this host has no IPv6")
    (line,) = preflight.problems("web1", Resolution(SETTINGS.at(bind="::")), HOST, examined)
    assert line.startswith("bind is '::': the kernel of this host has no IPv6, so no health check can reach")
    wrong = Resolution(SETTINGS, problems=("x",), invalid=frozenset(["bind"]))
    assert preflight.problems("web1", wrong, HOST, examined) == ["x"]


def test_a_read_only_file_system_is_named():
    examined = dataclasses.replace(FINE, read_only=("/opt/x/y", "/etc/systemd/system"))
    told = preflight.problems("web1", Resolution(SETTINGS), HOST, examined)
    assert [line.partition(":")[0] for line in told] == [
        "/opt/x/y is on a file system that is mounted read-only",
        "/etc/systemd/system is on a file system that is mounted read-only",
    ]


def test_all_is_told_at_once_the_settings_first():
    resolution = Resolution(SETTINGS, problems=("keep is 0",))
    examined = dataclasses.replace(room(1), failures=("uv is missing",))
    told = preflight.problems("web1", resolution, listens((7, "nginx")), examined)
    assert [line.split(" is ")[0] for line in told[:3]] == ["keep", "port 8000", "uv"]
    assert told[3].startswith("no room")


@pytest.mark.parametrize("key", ["port", "bind", "name"])
def test_a_port_that_is_wrong_is_not_looked_for(key):
    resolution = Resolution(SETTINGS, invalid=frozenset([key]), problems=("it is wrong",))
    assert preflight.problems("web1", resolution, listens((7, "nginx")), FINE) == ["it is wrong"]


def test_a_reserve_that_is_wrong_asks_for_no_room():
    resolution = Resolution(SETTINGS, invalid=frozenset(["reserve"]))
    assert preflight.problems("web1", resolution, HOST, room(1)) == []


@pytest.mark.parametrize("key", sorted(preflight.NEEDED))
def test_room_is_not_judged_where_the_place_or_the_size_is_not_known(key):
    resolution = Resolution(SETTINGS, invalid=frozenset([key]))
    assert preflight.problems("web1", resolution, HOST, Examination(free=0)) == []


@pytest.mark.parametrize("above", ["/home", "/root", "/run/user", "/tmp", "/var/tmp"])
def test_a_root_that_the_service_cannot_see(above):
    directive = "PrivateTmp=yes" if "tmp" in above else "ProtectHome=yes"
    words = f"the service cannot see what is below {above} (its unit says {directive}); choose another one, like /srv/"
    for root, real in ((f"{above}/x/y", ""), ("/srv/x/y", f"{above}/x")):
        examined = dataclasses.replace(FINE, real_root=real)
        (line,) = preflight.problems("web1", Resolution(SETTINGS.at(root=root)), HOST, examined)
        assert line.startswith(f"root is {root}: {words}")
    assert f"\n{directive}\n" in units.release_unit(SETTINGS)  # else it could see it
    beside = Resolution(SETTINGS.at(root=f"{above}s/x"))
    assert preflight.problems("web1", beside, HOST, FINE) == []


def test_a_root_where_no_program_runs():
    examined = dataclasses.replace(FINE, noexec="/opt")
    (line,) = preflight.problems("web1", Resolution(SETTINGS), HOST, examined)
    assert line == (
        "root is /opt/x/y: the file system of /opt is mounted noexec, so no virtualenv runs there; mount it without "
        "noexec, or choose another root"
    )
    wrong = Resolution(SETTINGS, frozenset(["root"]), ("root is wrong",))
    assert preflight.problems("web1", wrong, HOST, examined) == ["root is wrong"]


SINGLE = {"name": "globoapp", "version": "1.0", "wsgi": "api:app", "health": {"path": "/"}}


@pytest.mark.parametrize(
    ("manifest", "workers", "says"),
    [
        ({}, 2, "workers 1, and not single_process false"),
        ({"workers": 1, "single_process": True}, 3, "single_process"),
        ({"workers": 1, "single_process": True}, 1, None),
        ({"workers": 1, "single_process": True}, "auto", None),
        ({"workers": 1, "single_process": False}, 2, None),
        ({"workers": 2}, 4, None),
        ({}, None, None),
    ],
)
def test_a_version_that_keeps_state_in_its_process_has_one_worker(manifest, workers, says):
    made = dataclasses.replace(MADE, manifest=parsed({**SINGLE, **manifest}))
    examined = dataclasses.replace(FINE, artifact=made)
    told = preflight.problems("web1", Resolution(SETTINGS.at(workers=workers)), HOST, examined)
    assert told == [
        f"workers is {workers}: 1.0 keeps its state in one process (its manifest says {says}), and each worker would "
        "have its own; set workers to 1 or auto, or remove it"
    ] * bool(says)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tasks_max": 10}, None),
        ({"tasks_max": 9, "threads": 9}, "tasks_max is 9: 1.0 takes 11 with workers 1 and threads 9; allow as many"),
        ({"tasks_max": 16, "worker_count": 3}, None),
        ({"tasks_max": 15, "worker_count": 3}, "tasks_max is 15: 1.0 takes 16 with workers 3 and threads 4; allow"),
        ({}, None),
    ],
)
def test_a_release_may_have_the_threads_that_it_takes(given, words):
    told = preflight.problems("web1", Resolution(SETTINGS.at(**given)), HOST, FINE)
    assert len(told) == (words is not None)
    assert not words or told[0].startswith(words)


# The examination.


def problems(machine, version="1.0", **pillar):
    """The problems of a deploy on the machine."""
    return machine.begin(version, **pillar).problems


def test_a_fit_host_has_no_problem(machine):
    here = machine.begin("1.0")
    assert here.problems == []
    assert here.examined.target.virtualenv.startswith(f"{machine.root}/virtualenvs/")
    assert here.examined.free > MIB
    assert not machine.root.exists()


def test_a_version_that_is_not_there_is_told_with_those_that_are(machine):
    machine.has("1.0")
    (line,) = problems(machine, "9.9")
    assert line == (
        f"version 9.9 is unknown: file://{machine.dist}/globoapp-9.9.zip.sha256 is not there. The source has 1.0, "
        "1.1; on this host there is 1.0"
    )
    for path in machine.dist.iterdir():
        path.unlink()
    (line,) = problems(machine, "9.9")
    assert line.endswith("The source has no version; on this host there is 1.0")


def test_without_a_version_there_is_nothing_to_examine(machine):
    (line,) = problems(machine, None)
    assert line.startswith("version is missing")


def test_what_a_wrong_setting_is_needed_for_is_not_asked(machine, monkeypatch):
    for module, name in ((artifact, "of"), (virtualenv, "interpreter")):
        monkeypatch.setattr(module, name, lambda *args: pytest.fail("it was asked for"))
    (line,) = problems(machine, "1.0", globoapp={"source": "ftp://x"})
    assert line.startswith("source is 'ftp://x'")


def test_an_artifact_that_is_torn_and_a_python_that_is_none_are_told_together(machine):
    (machine.dist / "globoapp-1.0.zip").write_bytes(b"PK")
    told = problems(machine, "1.0", globoapp={"python": "/usr/bin/false"})
    assert [re.sub(r":.*", "", line) for line in told] == ["/usr/bin/false -I -c ...", "file"] or len(told) == 2
    assert "does not match its checksum" in told[1]


@pytest.mark.parametrize(("wanted", "fits"), [(">=3.9", True), ("<3.0", False)])
def test_the_python_that_a_release_wants(machine, wanted, fits):
    machine.publish("1.0", python=wanted)
    told = problems(machine)
    assert told == [] if fits else re.match(rf"1\.0 wants Python {re.escape(wanted)}, \S+ is 3\.", told[0])


def test_an_installer_is_only_asked_for_where_something_is_to_be_built(machine, monkeypatch):
    def installer(*args):
        raise Failure("install python3-venv")

    machine.has("1.0")
    monkeypatch.setattr(virtualenv, "installer", installer)
    assert problems(machine) == ["install python3-venv"]
    monkeypatch.undo()


def test_with_a_virtualenv_that_is_complete_no_installer_is_needed(machine, monkeypatch):
    machine.deploy("1.0")
    monkeypatch.setattr(virtualenv, "installer", lambda *args: pytest.fail("it was asked for"))
    assert problems(machine, "1.1") == []


def test_a_version_that_changed_its_content_is_refused(machine):
    machine.has("1.0")
    machine.publish("1.0", "def answer():\n    return 200, 'other'\n")
    pathlib.Path(machine.layout.artifact("1.0")).unlink()
    machine.edit("1.0")
    (line,) = problems(machine)
    assert "is not what this host has as PACK1_0" in line and "A version never changes" in line


def test_a_program_that_really_listens_is_found(machine):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", machine.port))
        taken.listen()
        (line,) = problems(machine)
    assert line.startswith(f"port {machine.port} is taken: another socket unit of systemd listens")  # this process


def test_the_room_is_that_of_the_disk(machine, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: MIB)
    (line,) = problems(machine, "1.0", globoapp={"reserve": 1})
    assert line.startswith(f"no room on the disk of {machine.root}: 1 MiB free, ")


def test_without_systemd_there_is_one_line(machine, monkeypatch):
    monkeypatch.setattr(preflight.artifact, "of", artifact.of)
    monkeypatch.setattr("globolib.systemd.BOOTED", "/nowhere")
    assert problems(machine) == ["systemd is not running this machine: the service is a systemd unit"]
    assert machine.systemd.calls == []


def test_a_version_that_was_published_again_is_refused_before_it_is_gone_back_to_by_a_deploy(machine):
    machine.has("1.0", "1.1")
    machine.publish("1.0", "def answer():\n    return 200, 'other'\n")
    (line,) = problems(machine, "1.0")
    assert "is not what this host has as PACK1_0" in line and "A version never changes" in line
    inner = run.Run(machine.inner({"globoapp_run": {"version": "1.0", "action": "rollback"}}))
    assert inner.problems == []  # a rollback goes to what is here


def test_where_the_source_cannot_be_asked_that_is_told_and_not_in_the_way(machine):
    machine.has("1.0", "1.1")
    for path in machine.dist.iterdir():
        path.unlink()
    here = machine.begin("1.0")
    assert here.problems == []
    (note,) = here.examined.notes
    assert note.startswith(f"whether file://{machine.dist}/globoapp-1.0.zip still is what this host has could not be ")
    assert note in machine.deploy(here=here).said["ready"]
    assert machine.begin("1.0").examined.notes == ()  # what is deployed by now is only repaired


def test_a_source_that_cannot_be_read_is_told_and_no_crash(machine, monkeypatch):
    def of(*args):
        raise Failure(f"x cannot be read: {errno.errorcode[errno.EIO]}")

    monkeypatch.setattr(artifact, "of", of)
    assert problems(machine) == ["x cannot be read: EIO"]


def test_an_account_that_exists_is_used_as_it_is_or_refused(machine):
    told = problems(machine, "1.0", globoapp={"user": "nobody", "uid": 980, "gid": 981})
    assert [line.partition(", ")[0] for line in told] == [
        "uid is 980: the account nobody exists with uid 65534",
        "gid is 981: the account nobody exists with the primary gid 65534",
    ]
    told = problems(machine, "9.9", globoapp={"user": "nobody", "uid": 980, "python": "x"})
    assert [line.partition(" ")[0] for line in told] == ["python", "uid"]  # where no release can be looked at, too
    (line,) = problems(machine, "1.0", globoapp={"group": "no group", "user": "nobody", "uid": 980})
    assert line.startswith("group is 'no group'")
    assert problems(machine, "1.0", globoapp={"user": "nobody"}) == []


def test_the_root_is_looked_at_without_links(machine, monkeypatch, tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "link").symlink_to("hidden")
    monkeypatch.setattr(preflight, "HIDDEN", {str(tmp_path / "hidden"): "ProtectHome=yes"})
    (line,) = problems(machine, "1.0", globoapp={"root": str(tmp_path / "link/x/y")})
    assert line.startswith(f"root is {tmp_path}/link/x/y: the service cannot see what is below {tmp_path}/hidden ")
    assert problems(machine, "1.0") == []
    monkeypatch.setattr(files, "noexec", lambda path: str(tmp_path))
    (line,) = problems(machine, "1.0")
    assert f"the file system of {tmp_path} is mounted noexec" in line


def test_the_file_system_is_asked(machine, monkeypatch):
    monkeypatch.setattr(files, "inodes", lambda path: files.Inodes(100, 7))
    monkeypatch.setattr(files, "is_read_only", lambda path: path == str(machine.root))
    read_only, inodes = problems(machine, "1.0")
    assert read_only.startswith(f"{machine.root} is on a file system that is mounted read-only")
    assert inodes.startswith(f"no inodes on the disk of {machine.root}: 7 of 100 are free")


def test_a_host_without_ipv6_is_not_to_listen_on_all_of_it(machine, monkeypatch):
    monkeypatch.setattr(preflight.health, "unreachable", {"::": "it has none"}.get)
    (line,) = problems(machine, "1.0", globoapp={"bind": "::"})
    assert line.startswith("bind is '::': it has none, so")


OFF = dict.fromkeys(("api", "disk", "cpu", "memory"), False)


@pytest.mark.parametrize(
    ("pillar", "opts", "warned"),
    [
        ({"beacons": {}}, {}, True),
        ({"beacons": "x"}, {"beacons": {"load": []}}, True),
        ({"beacons": {}, "monitor": {"api": False, "disk": {"percent": 80}}}, {}, True),
        ({"beacons": {}, "monitor": {"reminder": 5}}, {}, True),
        ({"beacons": {"globoapp": []}}, {}, False),
        ({"beacons": {}}, {"beacons": {"globoapp": []}}, False),
        ({"beacons": {"enabled": False}}, {}, False),
        ({"beacons": {}, "monitor": OFF}, {}, False),
        ({"beacons": {}}, {"file_client": "local"}, False),
    ],
)
def test_a_server_that_nothing_watches_is_named(machine, pillar, opts, warned):
    """The id is not among those that pillar's top file names: deployed, and nobody would hear of an outage."""
    machine.pillar["beacons"] = pillar["beacons"]
    machine.opts.update(opts, id="Shop.Example.COM")
    more = {"globoapp": {"monitor": pillar["monitor"]}} if "monitor" in pillar else {}
    done = machine.deploy("1.0", **more)
    assert done.failure is None
    words = "no monitoring watches this server: its pillar brings no beacon globoapp. Does a target of pillar's top.sls"
    assert (f"{words} match the id Shop.Example.COM?" in done.said["ready"]) is warned


def test_data_that_cannot_be_written_is_told_and_stops_no_deploy(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(type(machine.layout), "state", str(tmp_path / "state"))
    monkeypatch.setattr(files, "is_read_only", lambda path: path == str(tmp_path / "state"))
    words = f"{tmp_path}/state is on a file system that is mounted read-only: the app cannot write its data"
    assert words not in machine.deploy("1.0").said["ready"]  # the first deploy makes it
    (tmp_path / "state").mkdir()
    done = machine.deploy("1.1")
    assert (done.failure, words in done.said["ready"]) == (None, True)


@pytest.fixture
def asked(machine, monkeypatch):
    """What was asked about ``connect``; the machine limits, and nothing answers."""
    told = []
    monkeypatch.setattr(reach, "unlimited", lambda python: told.append("limits"))
    monkeypatch.setattr(reach, "unanswered", lambda places, seconds: told.append("places") or ["10.0.0.6:5432: E"])
    return told


def test_where_nothing_answers_a_deploy_is_told_and_goes_on(machine, asked):
    machine.publish("1.0")
    deploy = machine.deploy("1.0", globoapp={"connect": ["10.0.0.6:5432"]})
    assert deploy.failure is None and asked == ["limits", "places"]
    assert "connect: nothing answers at 10.0.0.6:5432: E; the deploy goes on" in deploy.said["ready"]


def test_a_host_that_does_not_limit_is_refused(machine, asked, monkeypatch):
    machine.publish("1.0")
    monkeypatch.setattr(reach, "unlimited", lambda python: "a unit with IPAddressDeny=any could send")
    (line,) = problems(machine, globoapp={"connect": ["10.0.0.6"]})
    assert line.startswith("connect is set, and systemd is not seen to limit what a service reaches on this host (a ")


def test_a_repair_asks_nobody_and_a_change_of_connect_does(machine, asked):
    machine.publish("1.0")
    machine.pillar["globoapp"]["connect"] = ["10.0.0.6:5432"]
    machine.deploy("1.0")
    asked.clear()
    assert problems(machine, None) == [] and asked == []
    assert problems(machine, None, globoapp={"connect": ["10.0.0.6:5432", "10.0.0.7"]}) == []
    assert asked == ["limits", "places"]


def test_without_connect_nobody_is_asked(machine, asked):
    machine.publish("1.0")
    assert problems(machine) == [] and asked == []
