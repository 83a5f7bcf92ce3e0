"""Background processes of a release: deployed, switched, undone, stopped and started with it, and looked after."""

import pytest
from polling import until
from releases import release
from server import ROOT

BEAT = "/var/lib/globoapp/beat"
# Says again and again where it runs, as whom, and what it was given; flask is in the release's virtualenv alone.
WORKS = f"""
import flask, os, sys, time
while True:
    with open("{BEAT}.new", "w") as beat:
        beat.write(" ".join([os.getcwd(), str(os.getuid()), *sys.argv[1:]]))
    os.rename("{BEAT}.new", "{BEAT}")
    time.sleep(0.1)
"""
WORKER = {"worker": ["python", "-c", WORKS, '$HOME 100% "it\'s"']}
ENDS = {"worker": "sh -c 'echo marker: no broker; exit 4'"}
UNITS = "systemctl list-units --plain --no-legend 'globoapp-worker@*' | cut -d' ' -f1,3,4"
FILES = "ls -d /etc/systemd/system/globoapp-worker@* 2>/dev/null"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The releases: two with a worker, one whose worker ends at once, in dist/ until the tests have ended."""
    directory = tmp_path_factory.mktemp("releases")
    with (
        release(directory, "9.81", processes=WORKER),
        release(directory, "9.82", processes=WORKER),
        release(directory, "9.83", processes=ENDS),
    ):
        yield


@pytest.fixture(scope="module")
def web(made, alone):
    """web2 with 9.81 and its worker."""
    return alone("web2", "9.81")


def unit(version):
    return f"globoapp-worker@PACK{version.replace('.', '_')}.service"


def pid(web, version):
    """The main process (str) of the worker of a version; "0" when it does not run."""
    return web.sh(f"systemctl show -P MainPID {unit(version)}")


def works(web, version):
    """Whether the worker of this version works, and it alone."""
    web.sh(f"rm -f {BEAT}")
    directory = until(lambda: web.sh(f"cat {BEAT}", check=False), 20).split()[0]
    return directory == f"{ROOT}/PACK{version.replace('.', '_')}" and web.sh(UNITS) == f"{unit(version)} active running"


def test_it_runs_with_the_release(web):
    assert works(web, "9.81")
    uid = web.sh("id -u globoapp")
    assert web.sh(f"cat {BEAT}") == f'{ROOT}/PACK9_81 {uid} $HOME 100% "it\'s"'
    web.assert_serves("9.81")
    assert web.call("globoapp.status")["processes"] == {"worker": f"active, process {pid(web, '9.81')}"}
    before = pid(web, "9.81")
    assert web.deploy(None).changed == []
    assert pid(web, "9.81") == before
    show = "systemctl show -p User,Group,PrivateNetwork,ProtectSystem,SystemCallFilter,MemoryMax,UMask,IPAddressDeny --"
    assert web.sh(f"{show} {unit('9.81')}") == web.sh(f"{show} globoapp@PACK9_81.service")


def test_another_version_brings_its_own(web):
    assert "globoapp-worker@PACK9_81.service runs" in web.deploy("9.82").changes
    assert works(web, "9.82")
    assert web.sh(FILES).split() == [f"/etc/systemd/system/{unit('9.82')}{end}" for end in ("", ".d")]
    web.assert_serves("9.82")


def test_one_that_does_not_stay_up_fails_the_deploy_and_the_old_one_is_back(web):
    run = web.apply("9.83")
    assert f"{unit('9.83')} did not stay up" in run.failed and "exit code 4" in run.failed
    assert "    | marker: no broker" in run.failed and "Switched back: 9.82 serves again." in run.failed
    assert works(web, "9.82")
    web.assert_serves("9.82")


def test_a_rollback_brings_back_that_of_its_release(web):
    answer = web.call("globoapp.rollback", "version=9.81")
    assert (answer["result"], answer["to"]) == (True, "9.81"), answer
    assert works(web, "9.81")
    web.assert_serves("9.81")


def test_it_comes_back_by_itself_and_stops_and_starts_with_the_web(web):
    before = pid(web, "9.81")
    web.sh(f"systemctl kill --signal=KILL {unit('9.81')}")
    until(lambda: pid(web, "9.81") not in ("0", before))
    # With the socket: whoever asks has it start the service again at once.
    web.sh("systemctl stop 'globoapp-0.0.0.0:8000.socket' globoapp@PACK9_81.service")
    until(lambda: pid(web, "9.81") == "0")
    web.sh("systemctl start 'globoapp-0.0.0.0:8000.socket' globoapp@PACK9_81.service")
    until(lambda: pid(web, "9.81") != "0")
    web.assert_serves("9.81")


def test_one_that_is_dead_is_named_and_healed(web):
    stop, path = f"systemctl stop {unit('9.81')}", f"/etc/systemd/system/{unit('9.81')}"
    web.sh(stop)
    health = web.call("globoapp.health", "deadline=0")
    assert (health["healthy"], health["problems"]) == (False, [f"{unit('9.81')} does not run"])
    web.fleet.heal(True)
    try:
        web.fleet.runner("globoapp.heal", "web2", "again=True")
        until(lambda: pid(web, "9.81") != "0", 60)
        until(lambda: web.call("globoapp.deploying") is None)
        web.fleet.runner("globoapp.heal", "web2", "again=True")
        web.sh(f"ln -sf /dev/null {path}; systemctl daemon-reload; {stop}")
        until(lambda: pid(web, "9.81") != "0", 60)
        until(lambda: web.call("globoapp.status")["differences"] == [])
        assert works(web, "9.81")
        # An alert that is open when the beacon goes would be healed until that is given up.
        until(lambda: not web.fleet.runner("globoapp.alerts", "host=web2")["open"])
    finally:
        web.fleet.heal(False)


def test_a_reboot_brings_it_back(web):
    before = web.fleet.booted("web2")
    web.fleet.exec("web2", "systemctl", "reboot")
    until(lambda: web.fleet.booted("web2") not in ("", before))
    assert works(web, "9.81")
    until(lambda: web.fleet.awake("web2"))
    web.assert_serves("9.81")


def test_pillar_switches_it_off_and_names_another(web):
    web.deploy(None, processes={"worker": False, "other": "sleep 1000"})
    assert web.sh(UNITS) == "" and web.sh(FILES, check=False) == "" and web.sh("pgrep -f '[s]leep 1000'")


def test_a_version_without_processes_leaves_none(web):
    web.deploy("1.0")
    assert (
        web.sh(UNITS) == "" and web.sh(FILES, check=False) == "" and not web.sh("pgrep -f '[s]leep 1000'", check=False)
    )
    web.assert_serves("1.0")
    assert "processes" not in web.call("globoapp.status")
