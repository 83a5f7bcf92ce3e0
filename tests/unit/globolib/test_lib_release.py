"""A release is put in place complete, told from what was changed, repaired, marked and removed."""

import json
import os
import subprocess

import pytest
from artifacts import MANIFEST
from globolib import artifact, files, processes, release
from globolib.errors import Failure
from globolib.host import Failed

VENV = "/srv/venv"
NESTED = {"pkg/__init__.py": "", "pkg/deep/mod.py": "x = 1\n", "empty/": ""}


@pytest.fixture
def fetched(minion, settings, make_artifact, owner):
    """The artifact of 1.0, with nested directories."""
    make_artifact(files=NESTED)
    return artifact.fetch(minion, settings)


@pytest.fixture
def path(settings, fetched):
    """The directory of 1.0, unpacked."""
    done = release.unpack(settings, fetched, VENV)
    assert done == [f"{settings.root}/PACK1_0 was unpacked"]
    return settings.layout.release("PACK1_0")


def wrong(settings):
    """How 1.0 differs from what was unpacked."""
    return list(release.differences(settings.layout, "PACK1_0", release.record(settings.layout, "PACK1_0")))


def modes(path):
    """The modes of all below a directory and of itself, links left out."""
    paths = [path, *(os.path.join(parent, name) for parent, names, held in os.walk(path) for name in names + held)]
    return {os.path.relpath(full, path): os.stat(full).st_mode & 0o7777 for full in paths if not os.path.islink(full)}


MODES = {
    ".": 0o755, "pkg": 0o755, "pkg/deep": 0o755, "api.py": 0o644, "manifest.json": 0o644, "requirements.lock": 0o644,
    "pkg/__init__.py": 0o644, "pkg/deep/mod.py": 0o644,
}  # fmt: skip


def test_a_release_is_what_its_artifact_holds(settings, path):
    record = release.records(settings.layout)["PACK1_0"]
    assert (record.version, record.virtualenv, record.failed) == ("1.0", VENV, None)
    assert record.manifest.data == MANIFEST and record.unpacked.endswith("Z")
    assert set(record.contents) == {name for name in MODES if "." in name and name != "."}
    assert wrong(settings) == []
    assert os.readlink(f"{path}/.venv") == VENV
    assert sorted(os.listdir(settings.root)) == [".globoapp", "PACK1_0"]


def test_no_mode_is_inherited(settings, fetched, umask):
    os.chmod(settings.root, 0o2770)  # with a group that new files would get
    path = settings.layout.release("PACK1_0")
    release.unpack(settings, fetched, VENV)
    assert modes(path) == MODES and wrong(settings) == []
    assert modes(settings.layout.own) == {
        ".": 0o755, "artifacts": 0o755, "releases": 0o755, "artifacts/globoapp-1.0.zip": 0o644,
        "releases/PACK1_0.json": 0o644,
    }  # fmt: skip
    subprocess.run(["rm", "-r", f"{path}/pkg"], check=True)
    os.chmod(path, 0o2777)
    assert release.unpack(settings, fetched, VENV)
    assert modes(path) == MODES and wrong(settings) == []


DRIFT = {
    "edited": ("echo '# hotfix' >> api.py", ["api.py was changed"]),
    "removed": ("rm api.py", ["api.py is missing"]),
    "a directory removed": ("rm -r pkg/deep", ["pkg/deep/mod.py is missing"]),
    "a link added": ("ln -s /etc extra", ["extra does not belong there"]),
    "byte code added": ("mkdir __pycache__; touch __pycache__/api.pyc", ["__pycache__/api.pyc does not belong there"]),
    "an empty directory added": ("mkdir -p a/b", ["a does not belong there", "a/b does not belong there"]),
    "a hidden virtualenv": ("mkdir -p a/.venv; touch a/.venv/x", ["a does not belong there"]),
    "mode": ("chmod 666 api.py", ["api.py has owner {0}:{1} and mode 0666 instead of {0}:{1} and 0644"]),
    "mode of a directory": ("chmod 777 pkg", ["pkg has owner {0}:{1} and mode 0777 instead of {0}:{1} and 0755"]),
    "mode of all": ("chmod 1755 .", ["PACK1_0 has owner {0}:{1} and mode 1755 instead of {0}:{1} and 0755"]),
    "virtualenv": ("ln -sfn /elsewhere .venv", [".venv points to /elsewhere instead of /srv/venv"]),
    "no virtualenv": ("rm .venv", [".venv points to None instead of /srv/venv"]),
    "a directory as virtualenv": ("rm .venv; mkdir .venv", [".venv points to None instead of /srv/venv"]),
    "a file as directory": (
        "rm -r pkg; touch pkg",
        ["pkg does not belong there", "pkg/__init__.py is missing", "pkg/deep/mod.py is missing"],
    ),
    "a directory as file": (
        "rm api.py; mkdir api.py; touch api.py/x",
        ["api.py is missing", "api.py/x does not belong there"],
    ),
    "a link as directory": (
        "cp -r pkg ../pkg; rm -r pkg; ln -s ../pkg pkg",
        ["pkg does not belong there", "pkg/__init__.py is missing", "pkg/deep/mod.py is missing"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("drift", DRIFT)
def test_drift_is_told_and_repaired(settings, path, fetched, owner, drift):
    script, phrases = DRIFT[drift]
    subprocess.run(script, shell=True, cwd=path, check=True, umask=0o022)
    told = wrong(settings)
    assert told == [phrase.format(*owner) for phrase in phrases]
    assert told == release.unpack(settings, fetched, VENV)
    assert wrong(settings) == [] and modes(path) == MODES
    assert not [name for name in os.listdir(settings.root) if name.startswith(".incoming")]


def test_the_owner_is_told(settings, path, owner, monkeypatch):
    monkeypatch.setattr(release, "OWNER", (owner[0] + 1, owner[1]))
    assert len(wrong(settings)) == len(MODES)
    line = f"api.py has owner {owner[0]}:{owner[1]} and mode 0644 instead of {owner[0] + 1}:{owner[1]} and 0644"
    assert line in wrong(settings)


def test_a_repair_keeps_since_when_and_that_it_failed(settings, path, fetched):
    layout = settings.layout
    before = release.record(layout, "PACK1_0")
    release.annotate(layout, "PACK1_0", Failed("now", "it did not boot", "/log"))
    os.unlink(f"{path}/api.py")
    release.unpack(settings, fetched, "/other/venv")
    after = release.record(layout, "PACK1_0")
    assert (after.unpacked, after.virtualenv) == (before.unpacked, "/other/venv")
    assert after.failed == Failed("now", "it did not boot", "/log")


def test_a_file_is_replaced_by_one_rename(settings, path, fetched, monkeypatch):
    """A process that opens a file while it is repaired gets the old one or the new one."""
    seen = []
    replace = os.replace

    def looking(source, target):
        seen.append(os.path.lexists(target) or target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", looking)
    with open(f"{path}/api.py", "a") as handle:
        handle.write("# hotfix\n")
    release.unpack(settings, fetched, VENV)
    assert [target for target in seen if target is not True] == []


def test_what_does_not_belong_is_put_aside_and_not_lost(settings, path, fetched):
    script = "echo by hand > notes; mkdir -p pkg/own; echo deep > pkg/own/x; rm .venv; mkdir .venv; echo v > .venv/v"
    subprocess.run(script, shell=True, cwd=path, check=True)
    release.unpack(settings, fetched, VENV)
    (aside,) = os.listdir(settings.layout.aside)
    kept = os.path.join(settings.layout.aside, aside)
    assert files.read(f"{kept}/notes") == "by hand\n"
    assert files.read(f"{kept}/pkg/own/x") == "deep\n"
    assert files.read(f"{kept}/.venv/v") == "v\n"
    assert os.stat(kept).st_mode & 0o777 == 0o700
    assert wrong(settings) == []


def test_a_directory_without_a_record_is_no_release(settings, path, fetched):
    os.unlink(settings.layout.record("PACK1_0"))
    assert release.records(settings.layout) == {}
    assert wrong(settings) == ["there is no record of what it was made of"]
    assert release.differences(settings.layout, "PACK9_9", None) == ("it is not on this host",)
    assert release.unpack(settings, fetched, VENV) == []
    assert wrong(settings) == []


GOOD = {"version": "1.0", "sha256": "0", "contents": {}, "lock": "", "virtualenv": "", "manifest": MANIFEST}


@pytest.mark.parametrize(
    "held",
    [
        "{", "[]", "null", '"x"', "[" * 10**5, "\udcff", {**GOOD, "version": 1},
        {**GOOD, "contents": []}, {**GOOD, "lock": None},
        {**GOOD, "manifest": None}, {**GOOD, "manifest": {**MANIFEST, "version": "1.1"}},
        {**GOOD, "manifest": {**MANIFEST, "health": None}},
    ],
    ids=repr,
)  # fmt: skip
def test_a_record_that_is_none(settings, held):
    layout = settings.layout
    os.makedirs(layout.records)
    os.mkdir(layout.release("PACK1_0"))
    with open(layout.record("PACK1_0"), "w", errors="surrogateescape") as handle:
        handle.write(held if isinstance(held, str) else json.dumps(held))
    assert release.record(layout, "PACK1_0") is None


def test_a_record_of_before_is_read(settings):
    """As the modules before this package have written it."""
    layout = settings.layout
    os.makedirs(layout.records)
    os.mkdir(layout.release("PACK1_0"))
    failed = {"time": "2026-01-01T00:00:00.000Z", "why": "it did not boot", "log": "/log"}
    held = {**GOOD, "contents": {"api.py": "0"}, "unpacked": "2026", "failed": failed}
    files.write_json(layout.record("PACK1_0"), held)
    record = release.record(layout, "PACK1_0")
    assert record.failed == Failed(**failed)
    assert (record.contents, record.unpacked, record.manifest.wsgi) == ({"api.py": "0"}, "2026", "api:app")


def test_a_cut_while_unpacking_leaves_the_name_free(settings, fetched, monkeypatch):
    layout = settings.layout
    os.symlink("/elsewhere", layout.incoming("PACK1_0"))  # what an earlier cut left

    def cut(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", cut)
    with pytest.raises(KeyboardInterrupt):
        release.unpack(settings, fetched, VENV)
    assert not os.path.lexists(layout.release("PACK1_0"))
    assert release.records(layout) == {}
    monkeypatch.undo()
    monkeypatch.setattr(release, "OWNER", (os.geteuid(), os.getegid()))
    os.makedirs(layout.incoming("PACK1_0"))
    release.unpack(settings, fetched, VENV)
    assert wrong(settings) == []


def test_a_full_disk_leaves_nothing(settings, fetched, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync_tree", full)
    with pytest.raises(Failure, match=r"PACK1_0 could not be unpacked: No space left on device"):
        release.unpack(settings, fetched, VENV)
    assert os.listdir(settings.root) == [".globoapp"]


@pytest.mark.parametrize("make", [lambda path: os.symlink("/tmp", path), lambda path: open(path, "w").close()])
def test_what_this_tree_did_not_make_is_refused_by_name(settings, fetched, make):
    path = settings.layout.release("PACK1_0")
    make(path)
    before = os.lstat(path)
    with pytest.raises(Failure, match=f"{path} is no directory that was unpacked: move it away"):
        release.unpack(settings, fetched, VENV)
    assert os.lstat(path) == before


def test_a_release_that_is_a_link_is_none(settings, path):
    os.rename(path, f"{settings.root}/other")
    os.symlink("other", path)
    assert release.record(settings.layout, "PACK1_0") is None
    assert wrong(settings) == ["it is a link, not a directory that was unpacked"]


def test_below_a_root_that_is_a_link(settings, fetched, tmp_path):
    (tmp_path / "link").symlink_to("root")
    linked = settings.at(root=str(tmp_path / "link"))
    release.unpack(linked, fetched, VENV)
    assert wrong(linked) == wrong(settings) == []
    os.unlink(f"{settings.root}/PACK1_0/api.py")
    assert release.unpack(linked, fetched, VENV) == ["api.py is missing"]


def test_without_its_artifact_a_release_gets_another_virtualenv(settings, path):
    layout = settings.layout
    record = release.record(layout, "PACK1_0")
    own = artifact.Artifact(None, record.sha256, record.manifest, record.lock)
    assert release.unpack(settings, own, "/other") == [f".venv points to {VENV} instead of /other"]
    assert os.readlink(f"{path}/.venv") == "/other" and wrong(settings) == []
    assert release.unpack(settings, own, "/other") == []
    os.unlink(f"{path}/api.py")
    with pytest.raises(Failure, match="cannot be repaired, its artifact is gone: api.py is missing; deploy again"):
        release.unpack(settings, own, "/other")


def test_releases_are_listed_by_version(settings):
    layout = settings.layout
    os.makedirs(layout.records)
    for name in ("PACK1_10", "PACK1_9", "PACK1_9_1", "PACKx", "PACK1", "PACK1_2"):
        os.mkdir(layout.release(name))
        version = name.removeprefix("PACK").replace("_", ".")
        held = {**GOOD, "version": version, "manifest": {**MANIFEST, "version": version}}
        files.write_json(layout.record(name), held)
    os.unlink(layout.record("PACK1_2"))
    assert list(release.records(layout)) == ["PACK1_9", "PACK1_9_1", "PACK1_10"]
    assert release.records(settings.at(root="/nowhere/at/all").layout) == {}


def test_a_mark_is_made_and_taken_away(settings, path):
    layout = settings.layout
    before = files.read(layout.record("PACK1_0"))
    failed = Failed("2026-01-01T00:00:00.000Z", "it did not boot", "/log")
    release.annotate(layout, "PACK1_0", failed)
    assert release.record(layout, "PACK1_0").failed == failed
    assert files.read_json(layout.record("PACK1_0"))["failed"] == vars(failed)
    inode = os.stat(layout.record("PACK1_0")).st_ino
    release.annotate(layout, "PACK1_0", failed)
    assert os.stat(layout.record("PACK1_0")).st_ino == inode
    release.annotate(layout, "PACK1_0", None)
    assert files.read(layout.record("PACK1_0")) == before
    release.annotate(layout, "PACK9_9", failed)
    assert not os.path.exists(layout.record("PACK9_9"))


def test_a_release_in_use_stays(settings, path, monkeypatch):
    asked = []
    monkeypatch.setattr(processes, "in_use", lambda directory: asked.append(directory) or [4711, 4712])
    with pytest.raises(Failure, match=r"PACK1_0 is in use by process 4711: it stays"):
        release.remove(settings, "PACK1_0")
    assert asked == [path] and wrong(settings) == []


def test_a_release_goes_with_all_that_was_kept_of_it(settings, path):
    files.write(settings.layout.environment("PACK1_0"), "A=1\n", 0o600)
    os.makedirs(os.path.dirname(settings.layout.started("PACK1_0")))
    files.write_json(settings.layout.started("PACK1_0"), {})
    release.remove(settings, "PACK1_0")
    assert [held for _, _, held in os.walk(settings.root) if held] == []
    release.remove(settings, "PACK1_0")


def test_the_record_goes_last(settings, path, monkeypatch):
    """By it a removal that was cut is known."""
    gone, unlink = [], os.unlink
    files.write(settings.layout.environment("PACK1_0"), "A=1\n", 0o600)
    monkeypatch.setattr(os, "unlink", lambda file, **more: (gone.append(file), unlink(file, **more)))
    release.remove(settings, "PACK1_0")
    layout = settings.layout
    assert gone[-3:] == [layout.environment("PACK1_0"), layout.artifact("1.0"), layout.record("PACK1_0")]


@pytest.mark.parametrize("name", ["", "..", "PACK", "PACK1", "PACK1_0/../..", "virtualenvs", "PACK1_0\n"])
def test_what_is_no_release_is_not_removed(settings, name):
    with pytest.raises(Failure, match="is no release: PACKX_Y"):
        release.remove(settings, name)
