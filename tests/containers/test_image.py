"""The image of a version: the same bytes each time, what is in it, and how it gets into a registry."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile

import distribution
import pytest
from conftest import CHECKOUT, TOOLS, push
from polling import until

SHELLS = {"sh", "bash", "dash", "busybox", "perl", "dpkg", "apt", "apt-get", "tar", "su", "login", "mount"}


def make(*words, **options):
    """Runs tools/image.py; returns the finished process."""
    command = [distribution.tools_python(), TOOLS / "image.py", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


class Image:
    """A layout: manifest and config (dicts), layers (list of tarfiles)."""

    def __init__(self, directory):
        self.directory = directory
        index = json.loads((directory / "index.json").read_text())
        self.manifest = json.loads(self.blob(index["manifests"][0]).read_text())
        self.config = json.loads(self.blob(self.manifest["config"]).read_text())
        self.layers = [tarfile.open(self.blob(one)) for one in self.manifest["layers"]]  # noqa: SIM115

    def blob(self, described):
        return self.directory / "blobs" / described["digest"].replace(":", "/")

    def text(self, name):
        (found,) = (layer.extractfile(name).read().decode() for layer in self.layers if name in layer.getnames())
        return found


@pytest.fixture(scope="module")
def image(images):
    return Image(images / "globoapp-2.0")


def test_twice_made_it_is_the_same_bytes(tmp_path, images):
    """From a base that is made anew, too; with another umask, time zone and language, and files of another day."""
    dist = tmp_path / "dist"
    shutil.copytree(CHECKOUT / "dist", dist, ignore=shutil.ignore_patterns("images"))
    for number, (umask, more) in enumerate(((0o022, {}), (0o077, {"TZ": "Asia/Tokyo", "LC_ALL": "C"}))):
        for path in dist.rglob("*"):
            os.utime(path, (10**9 + number, 10**9 + number))
        places = ["--dist", dist, "--bases", tmp_path / f"base{number}", "--images", tmp_path / f"made{number}"]
        done = make("1.1", *places, env={**os.environ, **more}, umask=umask)
        assert done.returncode == 0, done.stderr
    names = [
        sorted(path.relative_to(tmp_path / made) for path in (tmp_path / made).rglob("*"))
        for made in ("made0", "made1")
    ]
    assert names[0] == names[1]
    for name in names[0]:
        first, second = tmp_path / "made0" / name, tmp_path / "made1" / name
        assert first.is_dir() or first.read_bytes() == second.read_bytes(), name


def test_skopeo_reads_it(images):
    said = subprocess.run(["skopeo", "inspect", f"oci:{images}/globoapp-2.0"], capture_output=True, text=True)
    assert json.loads(said.stdout)["Digest"] == (images / "globoapp-2.0.digest").read_text().strip()


def test_no_clock_no_account_and_no_umask_shows(image):
    members = [member for layer in image.layers for member in layer]
    assert {member.mtime for member in members} == {315532800}
    assert {member.name for member in members if (member.uid, member.gid) != (0, 0)} == {"var/lib/globoapp"}
    loose = [member.name for member in members if member.mode & 0o6022 and not member.issym()]
    assert loose == ["tmp"]
    assert all(stat.S_IMODE(member.mode) & 0o444 == 0o444 for member in members)


def test_there_is_no_shell_and_nothing_to_install_with(image):
    names = {name for layer in image.layers for name in layer.getnames()}
    programs = {name.rpartition("/")[2] for name in names if name.startswith(("usr/bin/", "usr/sbin/"))}
    assert "python3" in programs
    assert programs & SHELLS == set()


def test_it_starts_as_on_a_server(image):
    config = image.config["config"]
    assert config["User"] == "10001:10001"
    assert config["WorkingDir"] == "/opt/globoHUB/desafio/PACK2_0"
    assert config["Entrypoint"][1:] == ["--config", "/etc/globoapp/gunicorn.conf.py"]
    assert config["Cmd"] == ["--bind", "0.0.0.0:8000", "api:app"]
    own = CHECKOUT / "salt/_utils/globolib/gunicorn_conf.py"
    assert image.text("etc/globoapp/gunicorn.conf.py") == own.read_text()
    assert image.text("opt/globoHUB/desafio/PACK2_0/api.py") == (CHECKOUT / "app/2.0/api.py").read_text()


def test_it_says_what_it_is(image):
    labels = image.config["config"]["Labels"]
    manifest = json.loads(image.text("opt/globoHUB/desafio/PACK2_0/manifest.json"))
    assert labels["org.opencontainers.image.version"] == "2.0"
    assert labels["org.opencontainers.image.base.digest"] == image.manifest["layers"][0]["digest"]
    assert labels["globoapp.lock.sha256"] == manifest["lock_sha256"]


def test_the_bill_of_materials_names_all_of_it(images):
    bill = json.loads((images / "globoapp-2.0.sbom.json").read_text())
    kinds = {}
    for one in bill["components"]:
        kinds.setdefault(one["purl"].split("/")[0], {})[one["name"]] = one["version"]
    lock = json.loads((CHECKOUT / "app/2.0/sbom.json").read_text())
    assert kinds["pkg:pypi"] == {one["name"]: one["version"] for one in lock["components"]}
    assert {"python3", "libc6", "libssl3"} <= set(kinds["pkg:deb"])
    assert not {"dpkg", "tar"} & set(kinds["pkg:deb"])


def test_a_database_driver_works_in_it(podman, published, images):
    """3.1 has compiled wheels, which want libraries of the base."""
    digest = (images / "globoapp-3.1.digest").read_text().strip()
    words = ["run", "--rm", "--network", "none", "--read-only", "--entrypoint", "python3", f"{published}@{digest}"]
    code = "import alembic, psycopg, sqlalchemy; print(psycopg.pq.__impl__)"
    assert podman.run(*words, "-c", code).stdout.strip() == "binary"


def test_without_an_artifact_there_is_no_image(tmp_path):
    done = make("9.9", "--dist", tmp_path)
    assert done.returncode == 1
    assert "globoapp-9.9.zip is missing; make it: make dist" in done.stderr


def test_a_lock_that_does_not_fit_leaves_nothing_half(tmp_path):
    dist = tmp_path / "dist"
    shutil.copytree(CHECKOUT / "dist", dist, ignore=shutil.ignore_patterns("images"))
    for path in (dist / "wheels").glob("gunicorn-27*"):
        path.unlink()
    done = make("2.0", "--dist", dist)
    assert (done.returncode, "has no wheel of gunicorn" in done.stderr) == (1, True), done.stderr
    assert list((dist / "images").iterdir()) == []


def test_what_is_published_twice_is_sent_once(published, images):
    digest = (images / "globoapp-2.0.digest").read_text().strip()
    done = push(published, "2.0")
    assert (done.returncode, done.stdout) == (0, f"{published}:2.0: there already, {digest}\n")


def test_a_version_never_changes_in_the_registry(published, images, tmp_path):
    shutil.copytree(images / "globoapp-3.1", tmp_path / "globoapp-2.0")
    shutil.copy(images / "globoapp-3.1.digest", tmp_path / "globoapp-2.0.digest")
    done = push(published, "2.0", "--images", tmp_path)
    assert done.returncode == 1
    assert "a version never changes. Nothing was sent" in done.stderr
    assert push(published, "2.0").returncode == 0, "the same as before"


@pytest.mark.parametrize(
    ("repository", "line"),
    [
        ("", "GLOBOAPP_REGISTRY is '': a repository without tag"),
        ("127.0.0.1:1/app", "127.0.0.1:1/app cannot be asked: "),
        ("registry.invalid/app", "registry.invalid/app cannot be asked: "),
    ],
)
def test_a_registry_that_is_none_is_told(images, repository, line):
    done = push(repository, "2.0")
    assert (done.returncode, line in done.stderr) == (1, True), done.stderr


def test_an_image_that_was_not_made_is_told(tmp_path):
    done = push("127.0.0.1:1/app", "2.0", "--images", tmp_path)
    assert "globoapp-2.0.digest is missing; make it: make image VERSION=2.0" in done.stderr


def test_a_test_that_is_killed_leaves_nothing():
    code = "import containers, time\nwith containers.podman() as it: print(it.work, flush=True); time.sleep(1000)"
    paths = os.pathsep.join(sys.path)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    work = process.stdout.readline().strip()
    assert os.path.exists(f"{work}/containers.conf")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until(lambda: not os.path.exists(work))
