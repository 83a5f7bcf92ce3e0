"""A release from its artifact: refused when it is not what it should be, put in place, repaired, removed."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile

import pytest

MANIFEST = {
    "name": "globoapp",
    "version": "1.0",
    "wsgi": "api:app",
    "workers": 1,
    "python": ">=3.6",
    "requirements": "requirements.lock",
    "health": {"path": "/", "status": 200},
}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="releases belong to root")


def artifact(directory, manifest=MANIFEST, files=None, checksum=None, without=()):
    """Makes globoapp-1.0.zip and its .sha256 in directory; returns the zip's path."""
    held = {"api.py": "app = 1\n", "manifest.json": json.dumps(manifest), "requirements.lock": "a==1 --hash=x\n"}
    path = directory / "globoapp-1.0.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**held, **(files or {})}.items():
            if name not in without:
                archive.writestr(name, text)
    digest = checksum or hashlib.sha256(path.read_bytes()).hexdigest()
    (directory / "globoapp-1.0.zip.sha256").write_text(f"{digest}  globoapp-1.0.zip\n")
    return path


@pytest.fixture
def source(tmp_path, settings):
    """A directory with the artifact of 1.0, which settings name as the source."""
    directory = tmp_path / "dist"
    directory.mkdir()
    artifact(directory)
    settings["source"] = f"file://{directory}/globoapp-1.0.zip"
    return directory


@pytest.fixture
def fetch(tree):
    return tree.modules.globoapp_artifact.fetch


@pytest.fixture
def release(tree):
    return tree.modules.globoapp_release


@pytest.fixture
def unpacked(tree, settings, source, fetch, release):
    """settings, with PACK1_0 in place; root/PACK1_0 as a path."""
    done = release.unpack(settings, fetch(settings), "/srv/venv")
    assert done == [f"{settings['root']}/PACK1_0 was unpacked"]
    return os.path.join(settings["root"], "PACK1_0")


def refused(tree, settings, fetch):
    """The one line with which an artifact is refused."""
    with pytest.raises(tree.modules.globoapp_artifact.CommandExecutionError) as caught:
        fetch(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_artifact_is_fetched_with_its_manifest_and_lock(settings, source, fetch):
    found = fetch(settings)
    assert found["manifest"] == MANIFEST
    assert found["lock"] == "a==1 --hash=x\n"
    assert found["sha256"] == hashlib.sha256((source / "globoapp-1.0.zip").read_bytes()).hexdigest()


def test_a_wrong_checksum_is_told_with_both(tree, settings, source, fetch):
    artifact(source, checksum="0" * 64)
    line = refused(tree, settings, fetch)
    real = hashlib.sha256((source / "globoapp-1.0.zip").read_bytes()).hexdigest()
    assert f"does not match its checksum: SHA-256 is {real}, expected {'0' * 64}" in line


def test_the_checksum_of_pillar_goes_before_the_one_beside(tree, settings, source, fetch):
    settings["checksum"] = "A" * 64
    assert f"expected {'a' * 64}" in refused(tree, settings, fetch)


def test_a_checksum_file_without_one(tree, settings, source, fetch):
    (source / "globoapp-1.0.zip.sha256").write_text("<html>login</html>")
    assert "globoapp-1.0.zip.sha256 holds no SHA-256 but '<html>login</html>'" in refused(tree, settings, fetch)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"files": {"../evil": "x"}}, "holds paths that no release may: ../evil"),
        ({"files": {"/etc/evil": "x"}}, "holds paths that no release may: /etc/evil"),
        ({"without": ["manifest.json"]}, "is no artifact: it holds no manifest.json"),
        ({"without": ["manifest.json", "requirements.lock"]}, "no manifest.json and no requirements.lock"),
        ({"files": {"manifest.json": "{"}}, "cannot be read as an artifact"),
        ({"files": {"manifest.json": "[]"}}, "manifest.json is no JSON object"),
        ({"manifest": {**MANIFEST, "version": "1.1"}}, "says version '1.1', wanted '1.0'"),
        ({"manifest": {**MANIFEST, "name": "other"}}, "says name 'other', wanted 'globoapp'"),
        ({"manifest": {**MANIFEST, "wsgi": "api.py; rm -rf /"}}, "says wsgi 'api.py; rm -rf /': module:callable"),
        ({"manifest": {**MANIFEST, "workers": 0}}, "says workers 0: a whole number from 1"),
        ({"manifest": {**MANIFEST, "health": {}}}, "says health {}: a path that begins with /"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_artifact_may_be(tree, settings, source, fetch, change, line):
    artifact(source, **change)
    assert line in refused(tree, settings, fetch)


def test_a_zip_that_is_none(tree, settings, source, fetch):
    (source / "globoapp-1.0.zip").write_text("<html>")
    digest = hashlib.sha256(b"<html>").hexdigest()
    (source / "globoapp-1.0.zip.sha256").write_text(digest)
    assert "cannot be read as an artifact" in refused(tree, settings, fetch)


def test_the_source_says_what_it_offers(tree, settings, source):
    for version in ("1.10", "1.9"):
        (source / f"globoapp-{version}.zip").touch()
    (source / "other-3.0.zip").touch()
    assert tree.modules.globoapp_artifact.available(settings) == ["1.0", "1.9", "1.10"]


@needs_root
def test_a_release_is_what_its_artifact_holds(settings, release, unpacked):
    assert release.names(settings) == ["PACK1_0"]
    assert release.differences(settings, "PACK1_0") == []
    assert sorted(os.listdir(unpacked)) == [".venv", "api.py", "manifest.json", "requirements.lock"]
    assert os.readlink(f"{unpacked}/.venv") == "/srv/venv"
    assert os.stat(f"{unpacked}/api.py").st_mode & 0o777 == 0o644
    assert not [one for one in os.listdir(settings["root"]) if one.startswith(".incoming")]
    with open(f"{settings['root']}/.globoapp/PACK1_0.env") as handle:
        assert handle.read() == 'WSGI_TARGET="api:app"\n'


def edit(path):
    with open(f"{path}/api.py", "a") as handle:
        handle.write("# hotfix\n")


DRIFT = {
    "edited": (edit, ["api.py was changed"]),
    "removed": (lambda path: os.unlink(f"{path}/api.py"), ["api.py is missing"]),
    "added": (lambda path: os.symlink("/etc", f"{path}/extra"), ["extra does not belong there"]),
    "mode": (
        lambda path: os.chmod(f"{path}/api.py", 0o666),
        ["api.py has owner 0:0 and mode 0666 in place of 0:0 and 0644"],
    ),
    "owner": (
        lambda path: os.chown(path, 1, 1),
        ["PACK1_0 has owner 1:1 and mode 0755 in place of 0:0 and 0755"],
    ),
    "virtualenv": (
        lambda path: (os.unlink(f"{path}/.venv"), os.symlink("/elsewhere", f"{path}/.venv")),
        [".venv points to /elsewhere in place of /srv/venv"],
    ),
    "no virtualenv": (lambda path: os.unlink(f"{path}/.venv"), [".venv points to None in place of /srv/venv"]),
}


@needs_root
@pytest.mark.parametrize("drift", DRIFT)
def test_drift_is_told_and_repaired(settings, release, unpacked, fetch, drift):
    change, phrases = DRIFT[drift]
    change(unpacked)
    assert release.differences(settings, "PACK1_0") == phrases
    assert release.unpack(settings, fetch(settings), "/srv/venv") == phrases
    assert release.differences(settings, "PACK1_0") == []
    assert not [one for one in os.listdir(settings["root"]) if one.startswith(".incoming")]


@needs_root
def test_what_does_not_belong_is_put_aside_and_not_lost(settings, release, unpacked, fetch):
    with open(f"{unpacked}/notes", "w") as handle:
        handle.write("by hand")
    release.unpack(settings, fetch(settings), "/srv/venv")
    aside = os.path.join(settings["root"], ".globoapp", "aside")
    (kept,) = os.listdir(aside)
    with open(os.path.join(aside, kept, "notes")) as handle:
        assert handle.read() == "by hand"


@needs_root
def test_a_directory_without_a_record_is_no_release(settings, release, unpacked):
    os.unlink(os.path.join(settings["root"], ".globoapp", "releases", "PACK1_0.json"))
    assert release.names(settings) == []
    assert release.differences(settings, "PACK1_0") == ["there is no record of what it was made of"]
    assert release.differences(settings, "PACK9_9") == ["it is not on this host"]


@needs_root
def test_a_cut_while_unpacking_leaves_the_name_free(settings, source, release, fetch, monkeypatch):
    made = fetch(settings)
    monkeypatch.setattr(os, "rename", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        release.unpack(settings, made, "/srv/venv")
    assert not os.path.exists(os.path.join(settings["root"], "PACK1_0"))
    assert release.names(settings) == []
    monkeypatch.undo()
    release.unpack(settings, made, "/srv/venv")
    assert release.differences(settings, "PACK1_0") == []


def test_releases_are_listed_by_version(settings, release):
    records = os.path.join(settings["root"], ".globoapp", "releases")
    os.makedirs(records)
    for name in ("PACK1_10", "PACK1_9", "PACK1_9_1", "PACKx", "PACK1"):
        os.mkdir(os.path.join(settings["root"], name))
        with open(os.path.join(records, f"{name}.json"), "w") as handle:
            handle.write('{"version": "x"}')
    assert release.names(settings) == ["PACK1_9", "PACK1_9_1", "PACK1_10"]


@needs_root
def test_facts_are_added_and_taken_away(settings, release, unpacked):
    release.annotate(settings, "PACK1_0", failed={"why": "x"})
    assert release.record(settings, "PACK1_0")["failed"] == {"why": "x"}
    release.annotate(settings, "PACK1_0", failed=None)
    assert "failed" not in release.record(settings, "PACK1_0")
    release.annotate(settings, "PACK9_9", failed={"why": "x"})
    assert release.record(settings, "PACK9_9") is None


def test_the_environment_is_a_secret_and_quoted(tree, settings, release):
    os.makedirs(os.path.join(settings["root"], ".globoapp"))
    tree.pillar["globoapp"] = {"environment": {"PASSWORD": 'a"b\\c $HOME `x`', "N": 1}}
    assert release.environment(settings, MANIFEST, test=True) is True
    path = os.path.join(settings["root"], ".globoapp", "PACK1_0.env")
    assert not os.path.exists(path)
    assert release.environment(settings, MANIFEST) is True
    assert os.stat(path).st_mode & 0o777 == 0o600
    with open(path) as handle:
        assert handle.read() == 'N="1"\nPASSWORD="a\\"b\\\\c \\$HOME \\`x\\`"\nWSGI_TARGET="api:app"\n'
    assert release.environment(settings, MANIFEST) is False
    os.chmod(path, 0o644)
    assert release.environment(settings, MANIFEST, test=True) is True


@needs_root
def test_a_release_in_use_stays(tree, settings, release, unpacked):
    user = subprocess.Popen([sys.executable, "-c", "input()"], cwd=unpacked, stdin=subprocess.PIPE)
    with pytest.raises(tree.modules.globoapp_release.CommandExecutionError, match=rf"in use by process {user.pid}"):
        release.remove(settings, "PACK1_0")
    user.communicate(b"\n")
    assert os.path.isdir(unpacked)
    release.remove(settings, "PACK1_0")
    left = [os.path.join(where, one) for where, _, files in os.walk(settings["root"]) for one in files]
    assert left == []
