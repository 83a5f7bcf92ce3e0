"""Files: atomic, durable, and known by their content."""

import os
import shutil
import stat
import types

import pytest
from globolib import files


@pytest.fixture
def umask():
    """Set a umask for the rest of the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_write_replaces_with_text_and_mode(tmp_path, umask):
    umask(0o077)
    path = tmp_path / "note"
    path.write_text("a longer text than the new one")
    files.write(str(path), "ä\n", 0o640)
    assert path.read_text(encoding="utf-8") == "ä\n"
    assert mode(path) == 0o640
    files.write(str(path), "b")
    assert mode(path) == 0o644
    assert os.listdir(tmp_path) == ["note"]


def test_a_write_that_fails_leaves_the_old_text_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "note"
    path.write_text("old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(str(path), "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["note"]


def test_a_write_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    """fsync of the file, then the rename, then fsync of the directory."""
    seen = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(fd):
        seen.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))[:12]))
        real_fsync(fd)

    def replace(old, new):
        seen.append(("rename", os.path.basename(new)))
        real_replace(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    files.write(str(tmp_path / "note"), "text")
    assert seen == [("fsync", ".write-note-"), ("rename", "note"), ("fsync", tmp_path.name[:12])]


@pytest.mark.parametrize("mask", [0, 0o077])
@pytest.mark.parametrize("wanted", [0o755, 0o700])
def test_a_directory_and_its_missing_parents_get_their_mode_whatever_the_umask(tmp_path, umask, mask, wanted):
    umask(mask)
    os.chmod(tmp_path, 0o711)
    files.make_directory(f"{tmp_path}/a/b/c/", wanted)
    assert [mode(tmp_path / path) for path in ("a", "a/b", "a/b/c")] == [wanted] * 3
    assert mode(tmp_path) == 0o711


def test_a_directory_that_is_there_is_left_as_it_is(tmp_path):
    (tmp_path / "there").mkdir(0o700)
    files.make_directory(str(tmp_path / "there"))
    assert mode(tmp_path / "there") == 0o700


def test_a_directory_that_is_made_outlives_a_power_cut(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync_directory", synced.append)
    files.make_directory(str(tmp_path / "a/b"))
    assert synced == [str(tmp_path), str(tmp_path / "a")]


def test_a_file_in_the_place_of_a_directory_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        files.make_directory(str(tmp_path / "file"))


def test_a_directory_that_somebody_else_makes_meanwhile_is_theirs(tmp_path, monkeypatch):
    real = os.mkdir

    def raced(path, mode):
        real(path, 0o700)
        real(path, mode)

    monkeypatch.setattr(os, "mkdir", raced)
    files.make_directory(str(tmp_path / "new"))
    assert mode(tmp_path / "new") == 0o700


def test_a_relative_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.make_directory("a/b")
    assert (tmp_path / "a/b").is_dir()


def test_json_there_and_back(tmp_path):
    path = str(tmp_path / "x.json")
    assert files.read_json(path) is None
    files.write_json(path, {"b": [1], "a": None}, 0o600)
    assert files.read_json(path) == {"b": [1], "a": None}
    assert mode(path) == 0o600
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        files.read_json(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, "new\n"), ("", "new\n"), ("old\n", "old\nnew\n"), ("torn", "torn\nnew\n")],
)
def test_a_line_is_never_glued_to_another(tmp_path, before, after, umask):
    umask(0o077)
    path = tmp_path / "log"
    if before is not None:
        path.write_text(before)
    files.append_line(str(path), "new")
    assert path.read_text() == after
    assert mode(path) == 0o644


def test_the_name_of_a_new_log_outlives_a_power_cut(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync_directory", synced.append)
    files.append_line(str(tmp_path / "log"), "one")
    files.append_line(str(tmp_path / "log"), "two")
    assert synced == [str(tmp_path)]


def test_a_tree_is_gone_and_what_a_cut_left_of_an_earlier_removal_too(tmp_path):
    (tmp_path / "gone/deep").mkdir(parents=True)
    (tmp_path / "gone/deep/file").write_text("x")
    (tmp_path / ".trash-gone").mkdir()
    (tmp_path / ".trash-gone/old").write_text("x")
    files.remove_tree(str(tmp_path / "gone") + "/")
    assert os.listdir(tmp_path) == []


def test_a_tree_is_never_half_there_under_its_own_name(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    removed = []

    def rmtree(path, ignore_errors=False):
        removed.append(os.path.basename(path))
        assert ignore_errors or not (tmp_path / "gone").exists()

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    files.remove_tree(str(tmp_path / "gone"))
    assert removed == [".trash-gone", ".trash-gone"]


def test_a_link_is_not_followed_to_remove_what_it_names(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    files.remove_tree(str(tmp_path / "link"))
    files.remove_tree(str(tmp_path / "absent"))
    assert sorted(os.listdir(tmp_path)) == ["kept", "link"]


def test_contents_tell_every_change(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "api.py").write_text("a")
    (tmp_path / "sub/b").write_text("b")
    (tmp_path / "link").symlink_to("api.py")
    before = files.contents(str(tmp_path))
    assert set(before) == {"api.py", "sub/b", "link"}
    assert before["link"] == "link:api.py"
    assert before["api.py"] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    (tmp_path / ".venv").symlink_to("/opt/venv")
    assert files.contents(str(tmp_path)) == before
    (tmp_path / ".venv").unlink()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/python").write_text("")
    assert files.contents(str(tmp_path)) == before
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/api.pyc").write_text("byte code")
    assert "__pycache__/api.pyc" in files.contents(str(tmp_path))
    (tmp_path / "sub/b").write_text("B")
    (tmp_path / "dir").symlink_to("sub")
    changed = files.contents(str(tmp_path))
    assert changed["sub/b"] != before["sub/b"]
    assert changed["dir"] == "link:sub"


def test_free_bytes_of_a_path_that_is_not_there_yet(tmp_path):
    free = files.free_bytes(str(tmp_path / "not/yet"))
    assert free > 0
    info = os.statvfs(tmp_path)
    assert abs(free - info.f_bavail * info.f_frsize) < 1 << 30


def test_a_tree_is_flushed_whole_and_no_link_is_followed(tmp_path, monkeypatch):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    before, flushed, real = files.contents(str(tmp_path)), set(), os.fsync

    def fsync(fd):
        flushed.add(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), tmp_path))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    files.sync_tree(str(tmp_path))
    assert flushed == {".", "d", "d/f"}
    assert files.contents(str(tmp_path)) == before


@pytest.mark.parametrize(("flags", "told"), [(os.ST_NOEXEC | os.ST_NOSUID, True), (os.ST_NOSUID, False)])
def test_where_no_program_runs(tmp_path, monkeypatch, flags, told):
    """A path that is not there goes by its nearest parent."""
    mounted = {str(tmp_path): types.SimpleNamespace(f_flag=flags)}
    monkeypatch.setattr(files.os, "statvfs", mounted.__getitem__)
    assert files.noexec(f"{tmp_path}/no/such/path") == (str(tmp_path) if told else "")


@pytest.mark.parametrize(
    ("seen", "read_only", "inodes"),
    [
        ({"f_flag": os.ST_RDONLY | os.ST_NOEXEC, "f_files": 9, "f_favail": 2}, True, files.Inodes(9, 2)),
        ({"f_flag": os.ST_NOEXEC, "f_files": 0, "f_favail": 0}, False, None),  # btrfs
    ],
)
def test_what_a_file_system_still_takes(tmp_path, monkeypatch, seen, read_only, inodes):
    asked = {str(tmp_path): types.SimpleNamespace(**seen)}
    monkeypatch.setattr(os, "statvfs", asked.__getitem__)
    path = f"{tmp_path}/no/such/path"
    assert (files.is_read_only(path), files.inodes(path)) == (read_only, inodes)


def test_a_link_is_made_and_led_somewhere_else(tmp_path):
    link = tmp_path / "beside"
    (tmp_path / "beside.new").symlink_to("left-by-a-cut")
    assert files.link(str(link), "../a") is True
    assert files.link(str(link), "../a") is False
    assert files.link(str(link), "../b") is True
    assert (os.readlink(link), os.listdir(tmp_path)) == ("../b", ["beside"])
