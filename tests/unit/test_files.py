"""Files: atomic, durable, and known by their content."""

import json
import os

import pytest


@pytest.fixture
def files(tree):
    return tree.utils.globoapp_files


def test_write_replaces_with_text_and_mode(files, tmp_path):
    path = tmp_path / "note"
    path.write_text("a longer text than the new one")
    files.write(str(path), "ä\n", 0o600)
    assert path.read_text(encoding="utf-8") == "ä\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["note"]


def test_a_write_that_fails_leaves_the_old_text_and_nothing_else(files, tmp_path, monkeypatch):
    path = tmp_path / "note"
    path.write_text("old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(str(path), "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["note"]


def test_a_write_is_on_the_disk_before_its_name_is(files, tmp_path, monkeypatch):
    """fsync of the file, then the rename, then fsync of the directory."""
    seen = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(fd):
        seen.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))[:7]))
        real_fsync(fd)

    def replace(old, new):
        seen.append(("rename", os.path.basename(new)))
        real_replace(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    files.write(str(tmp_path / "note"), "text")
    assert seen == [("fsync", ".write-"), ("rename", "note"), ("fsync", tmp_path.name[:7])]


def test_json_there_and_back(files, tmp_path):
    path = str(tmp_path / "x.json")
    assert files.read_json(path) is None
    files.write_json(path, {"b": [1], "a": None})
    assert files.read_json(path) == {"b": [1], "a": None}
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        files.read_json(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, "new\n"), ("", "new\n"), ("old\n", "old\nnew\n"), ("torn", "torn\nnew\n")],
)
def test_a_line_is_never_glued_to_another(files, tmp_path, before, after):
    path = tmp_path / "log"
    if before is not None:
        path.write_text(before)
    files.append_line(str(path), "new")
    assert path.read_text() == after


def test_a_tree_is_gone_and_what_a_cut_left_of_an_earlier_removal_too(files, tmp_path):
    (tmp_path / "one/deep").mkdir(parents=True)
    (tmp_path / "one/deep/file").write_text("x")
    (tmp_path / ".trash-one").mkdir()
    (tmp_path / ".trash-one/old").write_text("x")
    files.remove_tree(str(tmp_path / "one") + "/")
    assert os.listdir(tmp_path) == []


def test_a_link_is_not_followed_to_remove_what_it_names(files, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    files.remove_tree(str(tmp_path / "link"))
    files.remove_tree(str(tmp_path / "absent"))
    assert sorted(os.listdir(tmp_path)) == ["kept", "link"]


def test_contents_tell_every_change(files, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "api.py").write_text("a")
    (tmp_path / "sub/b").write_text("b")
    (tmp_path / "link").symlink_to("api.py")
    before = files.contents(str(tmp_path))
    assert set(before) == {"api.py", "sub/b", "link"}
    assert before["link"] == "link:api.py"
    assert before["api.py"] == files.sha256(str(tmp_path / "api.py"))
    (tmp_path / ".venv").symlink_to("/opt/venv")
    assert files.contents(str(tmp_path)) == before
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/api.pyc").write_text("byte code")
    assert "__pycache__/api.pyc" in files.contents(str(tmp_path))
    (tmp_path / "sub/b").write_text("B")
    (tmp_path / "dir").symlink_to("sub")
    changed = files.contents(str(tmp_path))
    assert changed["sub/b"] != before["sub/b"]
    assert changed["dir"] == "link:sub"


def test_free_bytes_of_a_path_that_is_not_there_yet(files, tmp_path):
    free = files.free_bytes(str(tmp_path / "not/yet"))
    assert free > 0
    stat = os.statvfs(tmp_path)
    assert abs(free - stat.f_bavail * stat.f_frsize) < 1 << 30


def test_a_synced_tree_is_what_it_was(files, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    files.sync_tree(str(tmp_path))
    assert json.dumps(files.contents(str(tmp_path)))
