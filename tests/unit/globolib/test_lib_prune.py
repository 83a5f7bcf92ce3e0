"""Which old releases go: never one that may be needed, and failed ones push nothing out."""

import json
import os

import pytest
from globolib import ledger, processes, prune, release
from globolib.errors import Failure
from globolib.host import Failed, Record
from globolib.manifest import Manifest
from globolib.prune import Going

MANIFEST = {"name": "globoapp", "wsgi": "api:app", "health": {"path": "/"}}


class History:
    """Ledger and records as deploys leave them."""

    def __init__(self):
        self.entries, self.records = [], {}

    def deploy(self, version, result="success", action="deploy", virtualenv="one-cp311", came_from=None):
        minute = f"2026-01-01T00:{len(self.entries):02}:00.000Z"
        data = {"version": version, "result": result, "action": action, "time": minute, "from": came_from}
        self.entries.append(ledger.Entry.parsed(data))
        failed = Failed(minute, "it did not boot", "/log") if result == "failed" else None
        manifest = Manifest("globoapp", version, "api:app")
        self.records[f"PACK{version.replace('.', '_')}"] = Record(
            version, "0" * 64, {}, manifest, "", f"/root/virtualenvs/{virtualenv}", minute, failed
        )

    def plan(self, settings, version, keep, in_use=(), present=("one-cp311",), wanted=""):
        return prune.plan(settings.at(version=version), self.entries, self.records, in_use, present, wanted, keep)


@pytest.fixture
def history():
    return History()


def deploys(history, *versions):
    for version in versions:
        history.deploy(version)


def test_all_stay_by_default(settings, history):
    deploys(history, "1.0", "1.1", "1.2")
    assert history.plan(settings, "1.2", settings.keep, present=("one-cp311", "unused")) == Going()


def test_the_latest_stay_and_virtualenvs_go_with_their_last_release(settings, history):
    for number in range(5):
        history.deploy(f"1.{number}", virtualenv=f"{number}-cp311")
    present = [f"{number}-cp311" for number in range(5)]
    going = history.plan(settings, "1.4", 3, present=present)
    assert going == Going(("PACK1_0", "PACK1_1"), ("0-cp311", "1-cp311"))


def test_the_way_back_stays_whatever_keep_says(settings, history):
    deploys(history, "1.0", "1.1", "1.2")
    assert history.plan(settings, "1.2", 1).releases == ("PACK1_0",)


def test_after_a_rollback_the_deployed_one_and_the_one_before_it_stay(settings, history):
    deploys(history, "1.0", "1.1", "1.2")
    history.deploy("1.1", action="rollback", came_from="1.2")
    assert history.plan(settings, "1.1", 1).releases == ("PACK1_2",)


def test_a_failed_release_is_no_way_back(settings, history):
    deploys(history, "1.0", "1.1", "1.2")
    history.records["PACK1_1"] = Record(**{**vars(history.records["PACK1_1"]), "failed": Failed("9", "", "")})
    assert history.plan(settings, "1.2", 1).releases == ()  # 1.0 is, and 1.1 is evidence


def test_failed_ones_push_no_good_one_out(settings, history):
    deploys(history, "1.0", "1.1", "1.2")
    for version in ("9.1", "9.2", "9.3"):
        history.deploy(version, result="failed")
    assert history.plan(settings, "1.2", 2).releases == ("PACK1_0", "PACK9_1")


def test_the_order_of_the_ledger_counts_and_not_its_clock(settings, history):
    deploys(history, "1.0", "1.1", "1.2", "1.3")
    data = {**history.entries[0].data, "time": "2099-01-01T00:00:00.000Z"}
    history.entries[0] = ledger.Entry.parsed(data)
    assert history.plan(settings, "1.3", 3).releases == ("PACK1_0",)


def test_what_a_process_runs_out_of_stays(settings, history):
    deploys(history, "1.0", "1.1", "1.2")
    going = history.plan(settings, "1.2", 1, in_use={"PACK1_0", "old-cp311"}, present=("old-cp311", "unused-cp311"))
    assert going == Going((), ("unused-cp311",))


def test_before_a_deploy_the_plan_is_what_goes_after_it(settings, history):
    deploys(history, "1.0", "1.1", "1.2")
    going = history.plan(settings, "1.3", 2, present=("new-cp311", "unused"), wanted="/root/virtualenvs/new-cp311")
    assert going == Going(("PACK1_0", "PACK1_1"), ("unused",))
    history.deploy("1.3")
    assert history.plan(settings, "1.3", 2).releases == going.releases


def test_the_deployed_one_stays_even_where_another_is_wanted_and_it_is_marked_failed(settings, history):
    deploys(history, "1.0", "1.1", "1.2", "1.3")
    failed = Failed("0", "", "")
    history.records["PACK1_3"] = Record(**{**vars(history.records["PACK1_3"]), "failed": failed})
    for version in ("9.1", "9.2"):
        history.deploy(version, result="failed")
    assert "PACK1_3" not in history.plan(settings, "1.4", 1).releases
    assert "PACK1_3" not in history.plan(settings, "", 1).releases


def test_a_virtualenv_is_known_by_its_name_wherever_the_root_was(settings, history):
    history.deploy("1.0")
    assert history.plan(settings, "1.0", 1, present=("one-cp311", "x")).virtualenvs == ("x",)


@pytest.fixture
def host(settings, monkeypatch):
    """Releases 1.0 to 1.2 with all that belongs to them; in_use is what processes run out of."""
    layout, lines = settings.layout, []
    for directory in (layout.records, layout.artifacts, layout.failures, layout.aside, layout.virtualenvs):
        release.files.make_directory(directory)
    for minor in range(3):
        name, virtualenv = f"PACK1_{minor}", layout.virtualenv(f"{minor}-cp311")
        for directory in (layout.release(name), virtualenv, f"{layout.aside}/{name}-2026"):
            release.files.make_directory(directory)
        record = {
            "version": f"1.{minor}", "sha256": "0" * 64, "contents": {}, "lock": "", "virtualenv": virtualenv,
            "manifest": {**MANIFEST, "version": f"1.{minor}"},
        }  # fmt: skip
        release.files.write_json(layout.record(name), record)
        for path in (layout.artifact(f"1.{minor}"), layout.environment(name), f"{layout.failures}/{name}-2026.log"):
            release.files.write(path, "")
        lines.append({"version": f"1.{minor}", "result": "success", "action": "deploy", "time": str(minor)})
    release.files.write(layout.ledger, "".join(json.dumps(line) + "\n" for line in lines))
    in_use = {}
    monkeypatch.setattr(processes, "in_use", lambda path: in_use.get(path, []))
    return in_use


def everything(settings):
    """The paths of all that is below the root, relative to it."""
    return {
        os.path.relpath(os.path.join(parent, name), settings.root)
        for parent, names, files in os.walk(settings.root)
        for name in names + files
    }


def test_what_goes_goes_with_all_that_belongs_to_it(settings, host):
    settings = settings.at(version="1.2", keep=1)
    before = everything(settings)
    going = prune.planned(settings, ledger.read(settings.layout.ledger))
    assert going == Going(("PACK1_0",), ("0-cp311",))
    assert prune.prune(settings, going) == going
    gone = before - everything(settings)
    assert {path for path in before if "1_0" in path or "1.0" in path or path.endswith("0-cp311")} == gone
    assert prune.planned(settings, ledger.read(settings.layout.ledger)) == Going()


def test_keep_as_an_argument_goes_before_the_setting(settings, host):
    entries = ledger.read(settings.layout.ledger)
    assert prune.planned(settings.at(version="1.2"), entries) == Going()
    assert prune.planned(settings.at(version="1.2"), entries, keep=2).releases == ("PACK1_0",)
    assert prune.planned(settings.at(version="1.2", keep=1), entries, keep="all") == Going()


def test_what_has_come_into_use_since_stays(settings, host, caplog):
    settings = settings.at(version="1.2", keep=1)
    going = prune.planned(settings, ledger.read(settings.layout.ledger))
    host[settings.layout.release("PACK1_0")] = [4711]
    assert prune.prune(settings, going) == Going((), ())
    assert "PACK1_0 is in use by process 4711" in caplog.text
    assert {"PACK1_0", "virtualenvs/0-cp311", ".globoapp/releases/PACK1_0.json"} <= everything(settings)


def test_what_is_in_use_is_looked_up_for_releases_and_virtualenvs(settings, host):
    host[settings.layout.release("PACK1_0")] = host[settings.layout.virtualenv("x-cp311")] = [1]
    release.files.make_directory(settings.layout.virtualenv("x-cp311"))
    assert prune.planned(settings.at(version="1.2", keep=1), ledger.read(settings.layout.ledger)) == Going()


def test_what_a_removal_left_that_was_cut_goes(settings, host):
    release.files.remove_tree(settings.layout.release("PACK1_0"))
    assert prune.prune(settings.at(version="1.2"), Going()) == Going((), ())
    assert not [path for path in everything(settings) if "1_0" in path or "1.0" in path]


def test_without_virtualenvs_there_are_none(settings):
    assert prune.planned(settings.at(keep=1), ()) == Going()
    assert prune.prune(settings, Going()) == Going()


@pytest.mark.parametrize("keep", [0, -1, True, "3", "some", 1.5, None])
def test_keep_is_a_number_or_all(keep):
    with pytest.raises(Failure, match="the number of releases to keep"):
        prune.keep_checked(keep)
    assert (prune.keep_checked(3), prune.keep_checked("all")) == (3, "all")
