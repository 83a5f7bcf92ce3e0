"""Which old releases go: never one that may be needed, and failed ones push nothing out."""

import json
import subprocess

import pytest
from salt.exceptions import CommandExecutionError


@pytest.fixture
def host(tree, tmp_path):
    """A Host below tmp_path."""
    return Host(tree, tmp_path)


class Host:
    """Releases, virtualenvs and a ledger on a server."""

    def __init__(self, tree, root):
        self.tree, self.root, self.minute = tree, root, 0
        for name in (".globoapp/releases", ".globoapp/artifacts", ".globoapp/failed", "virtualenvs"):
            (root / name).mkdir(parents=True)
        self.prune = tree.modules.globoapp_prune

    def settings(self, version, keep="all"):
        release = "PACK" + version.replace(".", "_")
        return {
            "root": str(self.root), "name": "globoapp", "version": version, "release": release, "keep": keep,
            "lock_wait": 0,
        }  # fmt: skip

    def time(self):
        self.minute += 1
        return f"2026-01-01T00:{self.minute:02}:00.000Z"

    def deploy(self, version, result="success", virtualenv="one-cp311", **more):
        """A deploy of a version, as it is found afterwards."""
        release, now = "PACK" + version.replace(".", "_"), self.time()
        (self.root / release).mkdir(exist_ok=True)
        (self.root / "virtualenvs" / virtualenv).mkdir(exist_ok=True)
        record = {"version": version, "unpacked": now, "virtualenv": str(self.root / "virtualenvs" / virtualenv)}
        if result == "failed":
            log = self.root / f".globoapp/failed/{release}-{now}.log"
            log.touch()
            record["failed"] = {"time": now, "why": "it did not boot", "log": str(log)}
        (self.root / f".globoapp/releases/{release}.json").write_text(json.dumps(record))
        (self.root / f".globoapp/artifacts/globoapp-{version}.zip").touch()
        line = {"version": version, "result": result, "action": "deploy", "time": now, **more}
        with open(self.root / "deployments.jsonl", "a") as ledger:
            ledger.write(json.dumps(line) + "\n")

    def here(self):
        return sorted(path.name for path in self.root.glob("PACK*"))


def test_all_stay_by_default(host):
    for version in ("1.0", "1.1", "1.2"):
        host.deploy(version)
    settings = host.settings("1.2")
    assert host.prune.prune(settings) == {"releases": [], "virtualenvs": []}
    assert host.here() == ["PACK1_0", "PACK1_1", "PACK1_2"]


def test_the_latest_stay_with_what_belongs_to_them(host):
    for number in range(5):
        host.deploy(f"1.{number}", virtualenv=f"{number}-cp311")
    settings = host.settings("1.4", keep=3)
    planned = host.prune.plan(settings)
    assert planned == {"releases": ["PACK1_0", "PACK1_1"], "virtualenvs": ["0-cp311", "1-cp311"]}
    assert host.prune.prune(settings) == planned
    assert host.here() == ["PACK1_2", "PACK1_3", "PACK1_4"]
    assert sorted(path.name for path in (host.root / "virtualenvs").iterdir()) == ["2-cp311", "3-cp311", "4-cp311"]
    left = [path.name for path in (host.root / ".globoapp").rglob("*") if "1_0" in path.name or "1.0" in path.name]
    assert left == []
    assert host.prune.prune(settings) == {"releases": [], "virtualenvs": []}


def test_the_way_back_stays_whatever_keep_says(host):
    for version in ("1.0", "1.1", "1.2"):
        host.deploy(version)
    assert host.prune.prune(host.settings("1.2", keep=1))["releases"] == ["PACK1_0"]
    assert host.here() == ["PACK1_1", "PACK1_2"]


def test_after_a_rollback_the_live_one_and_the_one_before_it_stay(host):
    for version in ("1.0", "1.1", "1.2"):
        host.deploy(version)
    host.deploy("1.1", action="rollback", **{"from": "1.2"})
    assert host.prune.prune(host.settings("1.1", keep=1))["releases"] == ["PACK1_2"]
    assert host.here() == ["PACK1_0", "PACK1_1"]


def test_failed_ones_push_no_good_one_out(host):
    for version in ("1.0", "1.1", "1.2"):
        host.deploy(version)
    for version in ("9.1", "9.2", "9.3"):
        host.deploy(version, result="failed")
    assert host.prune.prune(host.settings("1.2", keep=2))["releases"] == ["PACK1_0", "PACK9_1"]
    assert host.here() == ["PACK1_1", "PACK1_2", "PACK9_2", "PACK9_3"]
    assert len(list((host.root / ".globoapp/failed").iterdir())) == 2


def test_one_in_use_by_a_process_stays(host):
    for version in ("1.0", "1.1", "1.2"):
        host.deploy(version)
    with subprocess.Popen(["sleep", "60"], cwd=host.root / "PACK1_0") as process:
        assert host.prune.prune(host.settings("1.2", keep=1)) == {"releases": [], "virtualenvs": []}
        process.kill()
    assert host.prune.prune(host.settings("1.2", keep=1))["releases"] == ["PACK1_0"]


def test_before_a_deploy_the_plan_is_what_goes_after_it(host):
    for version in ("1.0", "1.1", "1.2"):
        host.deploy(version)
    host.tree.salt["globoapp_preflight.artifact"] = lambda settings: {"lock": "click==8.0"}
    host.tree.salt["globoapp_virtualenv.location"] = lambda settings, lock: str(host.root / "virtualenvs/new-cp311")
    planned = host.prune.plan(host.settings("1.3", keep=2))
    assert planned["releases"] == ["PACK1_0", "PACK1_1"]
    host.deploy("1.3")
    assert host.prune.prune(host.settings("1.3", keep=2))["releases"] == planned["releases"]


def test_what_a_removal_left_that_was_cut_goes(host):
    host.deploy("1.0")
    host.deploy("1.1")
    (host.root / "PACK1_0").rmdir()
    host.prune.prune(host.settings("1.1", keep=1))
    assert [path.name for path in (host.root / ".globoapp/artifacts").iterdir()] == ["globoapp-1.1.zip"]


def test_nothing_goes_while_another_process_deploys(host):
    for version in ("1.0", "1.1", "1.2"):
        host.deploy(version)
    lock = host.root / ".globoapp/lock"
    with subprocess.Popen(["flock", lock, "sh", "-c", "echo held; sleep 60"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(CommandExecutionError, match="another deploy is under way"):
            host.prune.prune(host.settings("1.2", keep=1))
        subprocess.run(["pkill", "-P", str(holder.pid)], check=True)
        holder.kill()
    assert len(host.here()) == 3


@pytest.mark.parametrize("keep", [0, -1, True, "3", "some", 1.5])
def test_keep_is_a_number_or_all(host, keep):
    with pytest.raises(CommandExecutionError, match="the number of releases to keep"):
        host.prune.checked(keep)
