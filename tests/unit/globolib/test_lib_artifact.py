"""An artifact is what it should be, or refused in one line, whatever its bytes are."""

import hashlib
import io
import json
import os
import shutil
import struct
import zipfile

import pytest
from artifacts import LOCK, MANIFEST, seal
from globolib import artifact, files, text
from globolib.errors import Failure
from globolib.host import Record
from hypothesis import given
from hypothesis import strategies as st


def refused(minion, settings):
    """The one line with which the artifact of the source is refused."""
    with pytest.raises(Failure) as caught:
        artifact.fetch(minion, settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_artifact_is_fetched_with_its_manifest_and_lock(minion, settings, make_artifact):
    path = make_artifact()
    fetched = artifact.fetch(minion, settings)
    assert (fetched.path, fetched.manifest.data, fetched.lock) == (str(path), MANIFEST, LOCK)
    assert fetched.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert fetched.size == len("app = 1\n") + len(json.dumps(MANIFEST)) + len(LOCK)


def test_a_wrong_checksum_is_told_with_both(minion, settings, make_artifact):
    path = make_artifact(checksum="0" * 64)
    real = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"does not match its checksum: SHA-256 is {real}, expected {'0' * 64}" in refused(minion, settings)


def test_the_checksum_of_the_settings_goes_before_the_one_beside(minion, settings, make_artifact):
    make_artifact()
    assert f"expected {'a' * 64}" in refused(minion, settings.at(checksum="A" * 64))


@pytest.mark.parametrize("held", [b"<html>login</html>", b"\x1b[31m\xff\n" + b"0" * 63, b"", b"0" * 65])
def test_a_checksum_file_without_one(minion, settings, make_artifact, held):
    path = make_artifact()
    path.with_name(f"{path.name}.sha256").write_bytes(held)
    line = refused(minion, settings)
    assert "globoapp-1.0.zip.sha256 holds no SHA-256 but '" in line and line.isprintable()


LINK = zipfile.ZipInfo("link")
LINK.external_attr = 0o120777 << 16
DEVICE = zipfile.ZipInfo("tty")
DEVICE.external_attr = 0o020666 << 16
BAD_NAMES = ["../evil", "/etc/evil", "a/../../b", "./a", "a//b", "..", ".venv", "pkg/.venv/x.py", "a\nb", "a\x1b[31mb"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        *(({"files": {name: "x"}}, "holds paths that no release may: ") for name in BAD_NAMES),
        ({"files": {LINK: "/etc"}}, "holds paths that no release may: link"),
        ({"files": {DEVICE: ""}}, "holds paths that no release may: tty"),
        ({"files": {zipfile.ZipInfo("api.py"): "x"}}, "holds a name twice: api.py"),
        ({"files": {"a": "x", "a/b": "x"}}, "holds a name twice: a"),
        ({"files": {f"../{n}": "x" for n in range(7)}}, "../3, ../4 and 2 more"),
        ({"without": ["manifest.json"]}, "is no artifact: it holds no manifest.json"),
        ({"without": ["manifest.json", "requirements.lock"]}, "no manifest.json and no requirements.lock"),
        ({"files": {"manifest.json": "{"}}, "cannot be read as an artifact"),
        ({"files": {"manifest.json": b"\xff"}}, "cannot be read as an artifact"),
        ({"files": {"manifest.json": "[" * 10**5}}, "cannot be read as an artifact"),
        ({"files": {"manifest.json": "1" * 10**4}}, "cannot be read as an artifact"),
        ({"files": {"requirements.lock": b"\xff"}}, "cannot be read as an artifact"),
        ({"files": {"manifest.json": "[]"}}, "manifest.json is not a JSON object"),
        ({"files": {"manifest.json": " " * (artifact.TEXT + 1)}}, "holds files larger than 4194304 bytes: manifest"),
        ({"manifest": {**MANIFEST, "version": "1.1"}}, "says version '1.1', wanted '1.0'"),
        ({"manifest": {**MANIFEST, "name": "other"}}, "says name 'other', wanted 'globoapp'"),
        ({"manifest": {**MANIFEST, "wsgi": "api.py; rm -rf /"}}, "says wsgi 'api.py; rm -rf /': module:callable"),
        ({"manifest": {**MANIFEST, "workers": 0}}, "says workers 0: a whole number from 1"),
        ({"manifest": {**MANIFEST, "health": {}}}, "says health {}: a path that begins with /"),
        ({"lock": "a\n"}, "globoapp-1.0.zip: the lock has a line that is no pin with hashes: 'a'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_no_artifact_may_be(minion, settings, make_artifact, change, line):
    make_artifact(**change)
    told = refused(minion, settings)
    assert line in told and told.isprintable()


def test_directories_are_no_names_twice(minion, settings, make_artifact):
    make_artifact(files={"pkg/": "", "pkg/__init__.py": "", "pkg/sub/": ""})
    assert artifact.fetch(minion, settings).manifest.name == "globoapp"


def patched(path, offset_local, offset_central, value):
    """Change a 16-bit field of the first member in both of its headers (APPNOTE.TXT 4.3.7, 4.3.12)."""
    raw = bytearray(path.read_bytes())
    struct.pack_into("<H", raw, offset_local, value)
    struct.pack_into("<H", raw, raw.index(b"PK\x01\x02") + offset_central, value)
    path.write_bytes(raw)
    seal(path)


def test_an_encrypted_file_is_told(minion, settings, make_artifact):
    patched(make_artifact(), 6, 8, 1)
    assert "holds encrypted files: api.py" in refused(minion, settings)


@pytest.mark.parametrize("method", [9, 12, 14, 99])
def test_a_compression_that_python_may_lack_is_told(minion, settings, make_artifact, method):
    patched(make_artifact(), 8, 10, method)  # 9 is deflate64
    assert "holds files that are neither stored nor deflated: api.py" in refused(minion, settings)


def test_a_zip_bomb_is_told_before_anything_is_unpacked(minion, settings, make_artifact, monkeypatch):
    make_artifact(files={"big.py": "0" * (20 << 20)})
    assert "more than 100 times its own size: a zip bomb" in refused(minion, settings)
    monkeypatch.setattr(artifact, "UNPACKED", 1000)
    assert "more than 1000" in refused(minion, settings)


def test_too_many_files_are_told(minion, settings, make_artifact, monkeypatch):
    monkeypatch.setattr(artifact, "MEMBERS", 2)
    make_artifact()
    assert "holds 3 files, more than 2" in refused(minion, settings)


def test_a_zip_that_is_none(minion, settings, make_artifact):
    path = make_artifact()
    path.write_text("<html>")
    seal(path)
    assert "cannot be read as an artifact" in refused(minion, settings)


def test_a_file_that_is_not_there_has_the_system_s_words(settings):
    with pytest.raises(Failure, match="cannot be read as an artifact: No such file"):
        artifact.read("/nowhere/a.zip", settings)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A directory for what hypothesis makes, and the bytes of a sound artifact with a compressed and a stored file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("api.py", "app = 1\n" * 50)
        archive.writestr("requirements.lock", LOCK)
        archive.writestr("manifest.json", json.dumps(MANIFEST), zipfile.ZIP_STORED)
    return tmp_path_factory.mktemp("fuzz"), buffer.getvalue()


@given(st.data())
def test_any_bytes_are_an_artifact_or_a_failure(scratch, data):
    """Cut anywhere, and bytes changed anywhere: one line of a Failure, both when it is read and when it is unpacked."""
    directory, sound = scratch
    raw = bytearray(sound)
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))]
    path, target = directory / "a.zip", directory / "unpacked"
    path.write_bytes(raw)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    try:
        artifact.read(str(path), artifact.Settings(version="1.0"))
        artifact.unpack(str(path), str(target))
    except Failure as error:
        assert text.line(str(error), 10_000) == str(error)
    else:
        assert (target / "manifest.json").is_file()


def test_a_torn_file_is_told_when_it_is_unpacked(make_artifact, settings, tmp_path):
    path = make_artifact()
    raw = bytearray(path.read_bytes())
    raw[30 + len("api.py")] ^= 0xFF
    path.write_bytes(raw)
    assert artifact.read(str(path), settings).size
    with pytest.raises(Failure, match="cannot be read as an artifact"):
        artifact.unpack(str(path), str(tmp_path / "out"))


def test_a_full_disk_is_no_torn_zip(make_artifact, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory|File exists"):
        artifact.unpack(str(make_artifact()), str(tmp_path / "file"))


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_copy_is_kept_with_its_modes(minion, settings, make_artifact, mask):
    made = make_artifact()
    before = os.umask(mask)
    try:
        stored = artifact.store(settings, artifact.fetch(minion, settings))
    finally:
        os.umask(before)
    assert stored == settings.layout.artifact("1.0")
    with open(stored, "rb") as copy:
        assert copy.read() == made.read_bytes()
    assert os.stat(stored).st_mode & 0o7777 == 0o644
    assert os.stat(os.path.dirname(stored)).st_mode & 0o7777 == 0o755
    assert os.listdir(settings.layout.artifacts) == ["globoapp-1.0.zip"]
    assert artifact.store(settings, artifact.read(stored, settings)) == stored


def test_what_changed_since_it_was_verified_is_not_kept(minion, settings, make_artifact):
    fetched = artifact.fetch(minion, settings) if make_artifact() else None
    make_artifact(files={"api.py": "evil"})
    with pytest.raises(Failure, match="changed while it was read"):
        artifact.store(settings, fetched)
    assert os.listdir(settings.layout.artifacts) == []


def test_a_copy_that_cannot_be_written(minion, settings, make_artifact):
    make_artifact()
    fetched = artifact.fetch(minion, settings)
    files.write(settings.layout.own, "a file")
    with pytest.raises(Failure, match=r"globoapp-1\.0\.zip cannot be written: "):
        artifact.store(settings, fetched)


@pytest.mark.parametrize(
    ("source", "offered"),
    [
        ("file://{}/dist/globoapp-1.0.zip", ["1.0", "1.9", "1.10"]),
        ("salt://dist/globoapp-1.0.zip", ["1.0", "1.9", "1.10"]),
        ("salt://globoapp-1.0.zip", ["3.0"]),
        ("file://{}/dist/1.0-of-1.0", ["2.1"]),
        ("file://{}/1.0/globoapp.zip", []),
        ("file://{}/nowhere/globoapp-1.0.zip", []),
        ("https://repository.example/globoapp-1.0.zip", []),
    ],
)
def test_the_source_says_what_it_offers(minion, settings, tmp_path, source, offered):
    (tmp_path / "dist").mkdir()
    names = [f"globoapp-{version}.zip" for version in ("1.0", "1.10", "1.9", "1", "1.2.3.4.5", "1.x")]
    for name in [*names, "other-3.0.zip", "globoapp-9.0.zip.sha256", "2.1-of-2.1", "2.1-of-2.2"]:
        (tmp_path / "dist" / name).touch()
    (tmp_path / "globoapp-3.0.zip").touch()
    assert artifact.available(minion, settings.at(source=source.format(tmp_path))) == offered


@pytest.fixture
def known(minion, settings, make_artifact):
    """The record of 1.0 on a host that keeps its artifact."""
    make_artifact()
    fetched = artifact.fetch(minion, settings)
    artifact.store(settings, fetched)
    return Record("1.0", fetched.sha256, {}, fetched.manifest, fetched.lock)


def test_the_hosts_own_copy_goes_first_and_is_read_once(minion, settings, known, monkeypatch):
    hashed = []
    monkeypatch.setattr(files, "sha256", lambda path, real=files.sha256: (hashed.append(path), real(path))[1])
    own = artifact.of(minion, settings.at(source="file:///nowhere/a.zip"), known, ["drift"])
    assert own.path == settings.layout.artifact("1.0") and own.sha256 == known.sha256 and own.size > 0
    assert hashed == [own.path]


def test_without_its_copy_a_release_that_is_what_it_was_needs_none(minion, settings, known):
    os.unlink(settings.layout.artifact("1.0"))
    own = artifact.of(minion, settings.at(source="file:///nowhere/a.zip"), known, [])
    assert own == artifact.Artifact(None, known.sha256, known.manifest, known.lock)
    assert artifact.store(settings, own) == settings.layout.artifact("1.0")


def test_without_its_copy_a_release_that_differs_comes_from_the_source(minion, settings, known):
    os.unlink(settings.layout.artifact("1.0"))
    assert artifact.of(minion, settings, known, ["drift"]).path.endswith("dist/globoapp-1.0.zip")
    assert artifact.of(minion, settings, None, []).path.endswith("dist/globoapp-1.0.zip")


def test_a_version_never_changes(minion, settings, known, make_artifact):
    os.unlink(settings.layout.artifact("1.0"))
    make_artifact(files={"api.py": "app = 2\n"})
    with pytest.raises(Failure, match="is not what this host has as PACK1_0: .* A version never changes"):
        artifact.of(minion, settings, known, ["drift"])
