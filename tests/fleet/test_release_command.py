"""What a version wants to have run before it serves, and programs that people run with what is deployed."""

import json
import subprocess

import pytest
from machines import CHECKOUT
from polling import until
from releases import release
from server import QUICK, ROOT, Server

RAN = "/var/lib/globoapp/ran"
# A line for each time that it ran: where, and as whom.
RUNS = ["sh", "-c", 'echo "$(pwd) $(id -un)" >> $STATE_DIRECTORY/ran; echo "marker: it ran"']
FAILS = ["sh", "-c", "echo 'marker: no such table' >&2; exit 4"]
HANGS = ["sh", "-c", "trap '' TERM; sleep 7777 & sleep 7777"]
# Hangs the first time, as the one whose minion is killed.
HANGS_ONCE = ["sh", "-c", "echo x >> $STATE_DIRECTORY/ran; [ $(wc -l < $STATE_DIRECTORY/ran) -gt 1 ] || sleep 7777"]
UNITS = "systemctl list-units --all --plain --no-legend 'globoapp-command@*'"
# Of a unit what makes its sandbox, its account and its limits.
SANDBOX = (
    "User,Group,StateDirectory,UMask,PrivateNetwork,RestrictAddressFamilies,IPAddressDeny,IPAddressAllow,"
    "CapabilityBoundingSet,AmbientCapabilities,NoNewPrivileges,PrivateUsers,PrivateDevices,DevicePolicy,PrivateTmp,"
    "PrivateIPC,ProtectSystem,ProtectHome,ProtectProc,ProcSubset,ProtectClock,ProtectControlGroups,ProtectHostname,"
    "ProtectKernelLogs,ProtectKernelModules,ProtectKernelTunables,RestrictNamespaces,RestrictRealtime,RestrictSUIDSGID,"
    "LockPersonality,MemoryDenyWriteExecute,RemoveIPC,KeyringMode,SystemCallArchitectures,SystemCallFilter,MemoryMax,"
    "CPUQuotaPerSecUSec,TasksMax,WorkingDirectory"
)


@pytest.fixture
def web1(fleet, serving_1_0):
    """web1, serving 1.0, on which no release command has run."""
    server = Server(fleet, "web1")
    server.deploy("1.0", port=8000)
    server.sh(f"rm -f {RAN}")
    return server


def ran(server):
    """The lines that release commands have left."""
    return server.sh(f"cat {RAN}", check=False).splitlines()


def test_it_runs_once_for_a_version_with_its_code_as_the_service(web1, tmp_path):
    with release(tmp_path, "9.92", release_command=RUNS):
        foretold = web1.apply("9.92", test=True)
        assert "sh -c " in foretold.text and "would be run." in foretold.text and ran(web1) == []
        run = web1.deploy("9.92")
        assert ran(web1) == [f"{ROOT}/PACK9_92 globoapp"]
        assert "    | marker: it ran" in run.text
        assert web1.ledger()[-1]["release_command"]["exit"] == 0
        assert "marker: it ran" in web1.sh(f"cat {ROOT}/.globoapp/commands/PACK9_92-*.log")
        web1.highstate().green()
        web1.deploy("9.92", access_log=True)
        web1.deploy("9.92", port=8001)
        web1.sh(f"echo '# by hand' >> {ROOT}/PACK9_92/api.py")
        web1.apply().green()
        assert web1.call("globoapp_minion.heal")["result"] == "healed"
        web1.deploy("1.0", port=8000)
        web1.deploy("9.92")  # another version than the deployed one again
        assert len(ran(web1)) == 2
        answer = web1.call("globoapp.rollback")
        assert answer["to"] == "1.0" and "The release command of 9.92 had run" in answer["comment"]
        answer = web1.call("globoapp.rollback", "version=9.92")
        assert answer["result"] is True, answer
        assert len(ran(web1)) == 2
    web1.assert_serves("9.92")
    assert web1.sh(UNITS) == ""


def test_one_that_fails_stops_the_deploy_with_nothing_switched(web1, tmp_path):
    pid = web1.main_pid("1.0")
    with release(tmp_path, "9.93", release_command=FAILS):
        run = web1.apply("9.93")
    assert "the release command of 9.93 failed, and nothing was switched: sh -c " in run.failed
    assert "exit 4" in run.failed and "    | marker: no such table" in run.failed
    line = web1.ledger()[-1]
    assert (line["version"], line["result"], line["release_command"]["exit"]) == ("9.93", "failed", 4)
    assert web1.main_pid("1.0") == pid
    web1.assert_serves("1.0")


def test_one_that_hangs_is_killed_with_all_its_processes(web1, tmp_path):
    with release(tmp_path, "9.94", release_command=HANGS):
        run = web1.apply("9.94", release_timeout=2)
    assert "no end after 2 s: it was killed" in run.failed
    assert web1.sh("pgrep -f '[s]leep 7777'", check=False) == "" and web1.sh(UNITS) == ""
    web1.assert_serves("1.0")


def test_one_whose_minion_is_killed_is_run_again_by_the_next_deploy(web1, tmp_path):
    pillar = json.dumps({"version": "9.95", "globoapp": QUICK})
    words = ["lab/fleet", "exec", "web1", "--", "salt-call", "--log-level=quiet", "state.apply", "globoapp"]
    with release(tmp_path, "9.95", release_command=HANGS_ONCE):
        cut = subprocess.Popen(
            [*words, f"pillar={pillar}"], stdout=subprocess.DEVNULL, cwd=CHECKOUT, env=web1.fleet.env
        )
        until(lambda: ran(web1), 60)
        web1.sh(f"kill -KILL {web1.call('globoapp.deploying')['pid']}")
        assert cut.wait() != 0
        assert "globoapp-command@PACK9_95-" in web1.sh(UNITS)  # systemd goes on, until its time is over
        assert any("left by a deploy that was cut" in line for line in web1.call("globoapp.status")["differences"])
        web1.deploy("9.95")
    assert ran(web1) == ["x", "x"] and web1.sh(UNITS) == ""
    before, after = web1.ledger()[-2:]
    assert (before["result"], before["release_command"]) == ("interrupted", {"exit": None})
    assert (after["result"], after["release_command"]["exit"]) == ("success", 0)
    web1.assert_serves("9.95")


def test_pillar_switches_it_off(web1, tmp_path):
    with release(tmp_path, "9.96", release_command=FAILS):
        web1.deploy("9.96", release_command=False)
    assert "release_command" not in web1.ledger()[-1]
    web1.assert_serves("9.96")


# globoapp.run


def test_a_program_runs_with_what_is_deployed(web1):
    code = "import flask, os, sys; print(os.getcwd(), sys.argv[1]); print(flask.__file__)"
    answer = web1.call("globoapp.run", f'python -c "{code}" $HOME')
    assert (answer["exit"], "problem" in answer) == (0, False), answer
    assert answer["output"].startswith(f"{ROOT}/PACK1_0 $HOME\n{ROOT}/PACK1_0/.venv/lib/")
    assert web1.code("globoapp.run", "python --version") == 0
    assert web1.sh(UNITS) == ""


def test_one_that_fails_has_an_exit_code_and_so_has_salt(web1):
    answer = web1.call("globoapp.run", "sh -c 'echo marker >&2; exit 3'")
    assert (answer["exit"], answer["output"]) == (3, "marker")
    assert web1.code("globoapp.run", "sh -c 'exit 3'") != 0
    assert web1.code("globoapp.run", "no-such-program") != 0


def test_one_that_does_not_end_is_ended_at_its_deadline(web1):
    answer = web1.call("globoapp.run", "sh -c 'sleep 8888 & sleep 8888'", "timeout=1")
    assert (answer["exit"], answer["problem"]) == (None, "no end after 1 s: it was killed")
    assert web1.sh("pgrep -f '[s]leep 8888'", check=False) == "" and web1.sh(UNITS) == ""


def test_it_has_the_sandbox_of_what_serves_and_a_deploy_leaves_it_alone(web1):
    drop_ins = "/etc/systemd/system/globoapp@.service.d"
    web1.sh(f"printf '[Service]\\nMemoryMax=300M\\n' > {drop_ins}/site.conf; systemctl daemon-reload")
    words = ["lab/fleet", "salt", "--timeout=60", "web1", "globoapp.run", "sleep 40"]
    begun = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=CHECKOUT, env=web1.fleet.env)
    try:
        unit = until(lambda: web1.sh(f"{UNITS} --state=running"), 30).split()[0]
        assert unit.startswith("globoapp-command@once-PACK1_0-")
        show = f"systemctl show --property {SANDBOX} --"
        assert web1.sh(f"{show} {unit}") == web1.sh(f"{show} globoapp@PACK1_0.service")
        web1.apply().green()
        assert unit in web1.sh(f"{UNITS} --state=running")
    finally:
        web1.sh(f"rm {drop_ins}/site.conf; systemctl daemon-reload; systemctl stop 'globoapp-command@*'")
        begun.wait()
