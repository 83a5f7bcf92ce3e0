"""Virtualenvs: built by uv and by pip from a wheelhouse that is verified first, complete or absent, never lost."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from globolib import commands, files, processes, uv_digests, virtualenv, wheelhouse
from globolib.errors import Failure
from globolib.virtualenv import Built, Interpreter

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
SITE = f"lib/python{HERE}/site-packages"
PYTHON = Interpreter(sys.implementation.cache_tag, platform.python_version(), True)
UV_WHEEL = f"uv-0.9.9-py3-none-manylinux_2_17_{platform.machine()}.whl"


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """lab/venv puts uv into the virtualenv of the tests."""
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")


@pytest.fixture
def settings(settings, tmp_path):
    """Settings with a wheelhouse; the interpreter is the one that runs the tests."""
    (tmp_path / "wheels").mkdir()
    return settings.at(wheels=f"file://{tmp_path}/wheels", python=sys.executable, installer="uv")


@pytest.fixture
def lock(make_wheel, settings):
    return make_wheel("alpha", "1.0") + make_wheel("beta_two", "2.0").replace("beta_two", "Beta.two")


@pytest.fixture
def build(minion, settings):
    """A function that builds the virtualenv of a lock with the interpreter of the tests."""
    return lambda lock, settings=settings: virtualenv.build(minion, settings, lock, PYTHON)


@pytest.fixture
def bare(monkeypatch):
    """A host without a uv of its own."""
    monkeypatch.setattr(shutil, "which", lambda name: None)


def here(settings):
    """What is in the directory of virtualenvs."""
    base = settings.layout.virtualenvs
    return sorted(os.listdir(base)) if os.path.isdir(base) else []


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_virtualenv_is_built_once(settings, build, lock, tool, make_wheel):
    settings = settings.at(installer=tool)
    name = f"{hashlib.sha256(lock.encode()).hexdigest()[:12]}-cp{HERE.replace('.', '')}"
    path = settings.layout.virtualenv(name)
    assert virtualenv.name(lock, PYTHON) == name
    assert build(lock, settings) == Built(path, built=True, installer=tool)
    assert here(settings) == [name]
    assert os.stat(settings.layout.virtualenvs).st_mode & 0o7777 == 0o755
    code = "import alpha, beta_two; print(alpha.version, beta_two.version)"
    said = subprocess.run([f"{path}/bin/python", "-I", "-c", code], capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("1.0 2.0\n", "")
    assert build(lock, settings.at(wheels="file:///nowhere")) == Built(path, built=False)


def test_a_lock_without_packages(build):
    assert build("# nothing\n").built


def test_only_wheels_for_this_python_and_with_a_hash_of_the_lock_are_wanted(settings, build, make_wheel):
    alpha = make_wheel("alpha", "1.0").replace(" --hash", " ; sys_platform == 'win32' --hash")
    beta = make_wheel("beta", "1.0")
    other = settings.wheels.removeprefix("file://") + "/beta-1.0-py2-none-any.whl"
    with open(other, "w") as handle:
        handle.write("another build of the same version")
    path = build(alpha + beta).path
    assert os.path.exists(f"{path}/{SITE}/beta.py") and not os.path.exists(f"{path}/{SITE}/alpha.py")


REFUSED = {
    "a hash that is wrong": (
        lambda lock: re.sub("sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, lock),
        r"has no wheel of alpha==1\.0 with a hash of the lock: alpha-1\.0-py3-none-any\.whl has SHA-256 [0-9a-f]{64}$",
    ),
    "a requirement without a hash": (lambda lock: "alpha==1.0\n", r"no pin with hashes: 'alpha==1\.0'"),
    "a wheel that is missing": (
        lambda lock: lock + "gamma==3.0 --hash=sha256:" + "0" * 64 + "\n",
        r"has no wheel of gamma==3\.0: run make wheels",
    ),
}


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_what_cannot_be_built_is_told_before_anything_is_made(settings, build, lock, refused, tool, monkeypatch):
    change, line = REFUSED[refused]
    monkeypatch.setattr(commands, "run", None)
    with pytest.raises(Failure, match=line):
        build(change(lock), settings.at(installer=tool))
    assert here(settings) == []


def test_what_is_there_stays_where_the_wheels_are_not(settings, build, lock):
    path = build(lock).path
    os.unlink(f"{path}/{SITE}/alpha.py")
    inode = os.stat(path).st_ino
    shutil.rmtree(settings.wheels.removeprefix("file://"))
    with pytest.raises(Failure, match="has no wheel of"):
        build(lock)
    assert os.stat(path).st_ino == inode and os.path.exists(f"{path}/{SITE}/beta_two.py")


@pytest.mark.parametrize("error", [Failure("the disk is full"), KeyboardInterrupt(), OSError(28, "No space left")])
def test_what_is_there_comes_back_where_the_build_fails(settings, build, lock, monkeypatch, error):
    path = build(lock).path
    os.unlink(f"{path}/{SITE}/alpha.py")
    inode, run = os.stat(path).st_ino, commands.run

    def broken(command, **more):
        if "install" in command:
            raise error
        return run(command, **more)

    monkeypatch.setattr(commands, "run", broken)
    with pytest.raises(Failure if isinstance(error, OSError) else type(error)):
        build(lock)
    assert os.stat(path).st_ino == inode and os.path.exists(f"{path}/{SITE}/beta_two.py")
    assert here(settings) == [os.path.basename(path)]
    monkeypatch.undo()
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    assert build(lock).built and virtualenv.differences(path) == ()
    assert here(settings) == [os.path.basename(path)]


def test_a_build_that_fails_leaves_nothing_where_nothing_was(settings, build, lock, monkeypatch):
    def broken(command, **more):
        os.makedirs(os.path.join(settings.layout.virtualenvs, virtualenv.name(lock, PYTHON), "bin"), exist_ok=True)
        raise Failure("no")

    monkeypatch.setattr(commands, "run", broken)
    with pytest.raises(Failure):
        build(lock)
    assert here(settings) == []


def test_after_a_cut_build_what_was_before_it_counts(settings, build, lock, monkeypatch):
    path = build(lock).path
    os.rename(path, f"{settings.layout.virtualenvs}/.old-{os.path.basename(path)}")
    os.makedirs(f"{path}/bin")  # what the build that was cut had begun

    def broken(command, **more):
        raise Failure("no")

    monkeypatch.setattr(commands, "run", broken)
    with pytest.raises(Failure):
        build(lock)
    assert virtualenv.differences(path) == () and here(settings) == [os.path.basename(path)]


def test_what_is_aside_of_an_earlier_build_never_comes_back(settings, build, lock, monkeypatch):
    path = build(lock).path
    old = f"{settings.layout.virtualenvs}/.old-{os.path.basename(path)}"
    os.makedirs(old)  # the cut came between the mark and the removal
    os.unlink(f"{path}/{SITE}/alpha.py")

    def broken(command, **more):
        raise Failure("no")

    monkeypatch.setattr(commands, "run", broken)
    with pytest.raises(Failure):
        build(lock)
    assert os.path.exists(f"{path}/{SITE}/beta_two.py") and not os.path.exists(old)


BROKEN = {
    "the mark is gone": ("rm .complete", "is not complete"),
    "the mark is torn": ("echo '{' > .complete", "is not complete"),
    "the mark is something else": ("echo '[]' > .complete", "is not complete"),
    "the mark lists nothing": ("echo '{\"contents\": 1}' > .complete", "is not complete"),
    "the mark is a directory": ("rm .complete; mkdir .complete", "is not complete"),
    "the interpreter is gone": ("rm bin/python", "is not complete"),
    "a module is gone": (f"rm {SITE}/alpha.py", f"{SITE}/alpha.py is missing"),
    "a module was edited": (f"echo x=1 >> {SITE}/alpha.py", f"{SITE}/alpha.py was changed"),
    "a module was edited to the same size": (f"sed -i s/1.0/1.1/ {SITE}/alpha.py", f"{SITE}/alpha.py was changed"),
    "a module may be written": (f"chmod 666 {SITE}/alpha.py", f"{SITE}/alpha.py was changed"),
    "a module was added": (f"touch {SITE}/sitecustomize.py", f"{SITE}/sitecustomize.py does not belong there"),
    "a link leads elsewhere": ("ln -sfn /bin/false bin/python3", "bin/python3 was changed"),
    "a link was added": (f"ln -s /tmp {SITE}/tmp", f"{SITE}/tmp does not belong there"),
    "all is gone": (f"rm -r {SITE}", " more"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A directory with a virtualenv that looks as one that was built: the tests that only look get copies."""
    path = tmp_path_factory.mktemp("built") / "venv"
    (path / SITE).mkdir(parents=True)
    (path / "bin").mkdir()
    for name in ("python", "python3"):
        (path / "bin" / name).symlink_to(sys.executable)
    for name in ("alpha", "beta_two", "gamma", "delta"):
        (path / SITE / f"{name}.py").write_text("version = '1.0'\n")
    files.write(f"{path.parent}/lock", "")
    virtualenv._mark(str(path), f"{path.parent}/lock", "uv")
    return path


@pytest.mark.parametrize("broken", BROKEN)
def test_what_a_cut_left_or_a_person_changed_is_told(built, tmp_path, broken):
    script, said = BROKEN[broken]
    path = str(tmp_path / "venv")
    subprocess.run(["cp", "-a", built, path], check=True)
    assert virtualenv.differences(path) == ()
    subprocess.run(script, shell=True, cwd=path, check=True)
    (told,) = virtualenv.differences(path)
    assert path in told and said in told


@pytest.mark.parametrize("broken", ["the mark is torn", "a module was edited"])
def test_what_is_not_what_was_built_is_built_again(build, lock, broken):
    path = build(lock).path
    subprocess.run(BROKEN[broken][0], shell=True, cwd=path, check=True)
    assert build(lock).built is True
    assert virtualenv.differences(path) == ()


def test_a_virtualenv_restored_from_a_backup_is_what_was_built(build, lock, tmp_path):
    """GNU tar's old format keeps whole seconds, as do many file systems and tools."""
    path = build(lock).path
    script = f"tar --format=gnu -cf {tmp_path}/a.tar {path} && rm -r {path} && tar -xpf {tmp_path}/a.tar -C /"
    subprocess.run(script, shell=True, check=True, capture_output=True)
    assert os.stat(f"{path}/{SITE}/alpha.py").st_mtime_ns % 10**9 == 0
    assert virtualenv.differences(path) == ()
    with open(f"{path}/{SITE}/alpha.py", "r+") as handle:
        handle.write("x")
    assert "alpha.py was changed" in virtualenv.differences(path)[0]


def test_a_mark_of_before_is_read(build, lock):
    """As the modules before this package have written it: without the SHA-256."""
    path = build(lock).path
    mark = files.read_json(f"{path}/.complete")
    mark["contents"] = {name: held[:3] if isinstance(held, list) else held for name, held in mark["contents"].items()}
    files.write_json(f"{path}/.complete", mark)
    assert virtualenv.differences(path) == ()
    module = f"{path}/{SITE}/alpha.py"
    changed = os.stat(module).st_mtime_ns
    os.utime(module, ns=(0, changed // 10**9 * 10**9))
    assert virtualenv.differences(path) == ()
    for other in (changed + 1, (changed // 10**9 + 1) * 10**9):
        os.utime(module, ns=(0, other))
        assert "alpha.py was changed" in virtualenv.differences(path)[0]


def test_the_mark_says_what_was_built(build, lock):
    path = build(lock).path
    mark = files.read_json(f"{path}/.complete")
    assert (mark["lock"], mark["installer"]) == (hashlib.sha256(lock.encode()).hexdigest(), "uv")
    assert mark["contents"][f"{SITE}/alpha.py"][3] == files.sha256(f"{path}/{SITE}/alpha.py")
    assert ".complete" not in mark["contents"]


def uv_wheel(settings, name=UV_WHEEL, program=None):
    """Put a wheel of uv into the wheelhouse, whose program says so and then is the real one; returns its SHA-256."""
    path = os.path.join(settings.wheels.removeprefix("file://"), name)
    real = os.path.join(os.path.dirname(sys.executable), "uv")
    script = f'#!/bin/sh\ntouch "$0.ran"\nexec {real} "$@"\n' if program is None else program
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("uv-0.9.9.data/scripts/uv", script)
    return files.sha256(path)


@pytest.fixture
def pinned(settings, monkeypatch):
    """The SHA-256 of a uv in the wheelhouse that this tree pins."""
    digest = uv_wheel(settings)
    monkeypatch.setattr(uv_digests, "DIGESTS", {digest})
    return digest


@pytest.mark.parametrize("tool", ["auto", "uv"])
def test_the_uv_of_the_wheelhouse_builds_where_it_is_pinned(minion, settings, build, lock, bare, pinned, tool):
    settings = settings.at(installer=tool)
    program = f".uv-{pinned[:12]}"
    assert virtualenv.installer(minion, settings, PYTHON) == "uv"
    path = build(lock, settings).path
    assert here(settings) == [program, f"{program}.ran", os.path.basename(path)]
    assert os.stat(settings.layout.virtualenv(program)).st_mode & 0o7777 == 0o755
    inode = os.stat(settings.layout.virtualenv(program)).st_ino
    os.unlink(f"{path}/.complete")
    build(lock, settings)
    assert os.stat(settings.layout.virtualenv(program)).st_ino == inode


def test_a_uv_that_is_not_pinned_never_runs(minion, settings, build, lock, bare):
    digest = uv_wheel(settings, program="#!/bin/sh\ntouch /tmp/evil\n")
    line = (
        f"installer is uv: there is none on this host .*{UV_WHEEL} has SHA-256 {digest}, which is none that this tree"
    )
    with pytest.raises(Failure, match=line):
        build(lock)
    assert here(settings) == []
    assert virtualenv.installer(minion, settings.at(installer="auto"), PYTHON) == "pip"
    without = Interpreter("cpython-311", "3.11.2", False)
    line = f"cannot make a virtualenv: install python3-venv, or serve a uv wheel at .*: {UV_WHEEL} has SHA-256 {digest}"
    with pytest.raises(Failure, match=line):
        virtualenv.installer(minion, settings.at(installer="auto"), without)


def test_a_uv_for_another_processor_is_none(minion, settings, bare):
    uv_wheel(settings, "uv-0.9.9-py3-none-manylinux_2_17_vax.whl")
    with pytest.raises(Failure, match=f"there is none on this host .*: no wheel of uv for {platform.machine()}"):
        virtualenv.installer(minion, settings, PYTHON)


def test_the_installer(minion, settings, bare):
    without = Interpreter("cpython-311", "3.11.2", False)
    with pytest.raises(Failure, match=r"cannot make a virtualenv: install python3-venv, or serve a uv wheel at [^:]*:"):
        virtualenv.installer(minion, settings.at(installer="auto"), without)
    with pytest.raises(Failure, match=r"or serve a uv wheel at \S+ \(make wheels\)$"):
        virtualenv.installer(minion, settings.at(installer="pip"), without)
    with pytest.raises(Failure, match=r"installer is uv: there is none on this host and none at file://"):
        virtualenv.installer(minion, settings, PYTHON)
    assert virtualenv.installer(minion, settings.at(installer="pip"), PYTHON) == "pip"


@pytest.mark.parametrize("wheel", ["not a zip", "no uv inside", "torn"])
def test_a_wheel_that_holds_no_uv(minion, settings, tmp_path, wheel):
    path = tmp_path / "uv.whl"
    if wheel == "not a zip":
        path.write_text("<html>")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("uv-1.data/scripts/uv" if wheel == "torn" else "x", "program")
        path.write_bytes(path.read_bytes().replace(b"program", b"PROGRAM"))
    with pytest.raises(Failure, match=r"the uv in .*uv\.whl could not be unpacked"):
        wheelhouse.uv_program(settings.layout, str(path))
    assert here(settings) == []


def test_a_repository_that_tells_digests_is_asked_for_what_is_wanted_only(minion, settings, monkeypatch):
    listed = {"alpha-1-py3-none-any.whl": "b" * 64, "alpha-1-py2-none-any.whl": "a" * 64, "SHA256SUMS": None}
    fetched = []

    def file(minion, settings, url, sha256=None):
        fetched.append((url, sha256))
        return f"/cache/{url.rpartition('/')[2]}"

    monkeypatch.setattr(wheelhouse.fetch, "listing", lambda *arguments: listed)
    monkeypatch.setattr(wheelhouse.fetch, "file", file)
    settings = settings.at(wheels="https://x/wheels/")
    offered = wheelhouse.offer(minion, settings)
    lock = f"alpha==1.0 --hash=sha256:{'a' * 64} --hash=sha256:{'c' * 64}\n"
    paths = wheelhouse.wheels(minion, settings, lock, "3.11.2", offered)
    assert paths == ["/cache/alpha-1-py2-none-any.whl"]
    assert fetched == [("https://x/wheels/alpha-1-py2-none-any.whl", "a" * 64)]


@pytest.mark.parametrize("python", ["/nowhere/python3", "/bin/false", "/etc/passwd"])
def test_an_interpreter_that_does_not_run(python):
    with pytest.raises(Failure, match=python):
        virtualenv.interpreter(python)


def program(path, said):
    """A program that says something, and counts how often; returns its path."""
    path.write_text(f"#!/bin/sh\necho >> {path}.runs\ncat <<'END'\n{said}\nEND\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    "said",
    ["", "2.7", "[]", "{}", '{"tag": "../x", "version": "3.1", "venv": 1}', '{"tag": "a", "version": "x", "venv": 1}'],
)
def test_a_program_that_is_no_python(tmp_path, said):
    with pytest.raises(Failure, match="python3 does not run as a Python: it says '"):
        virtualenv.interpreter(program(tmp_path / "python3", said))


def test_an_interpreter_is_asked_once_until_it_is_another_file(tmp_path):
    told = {"tag": "cpython-311", "version": "3.11.2", "venv": True}
    python = program(tmp_path / "python3", json.dumps(told))
    (tmp_path / "link").symlink_to("python3")
    for _ in range(2):
        assert virtualenv.interpreter(python) == Interpreter(**told)
        assert virtualenv.interpreter(str(tmp_path / "link")) == Interpreter(**told)
    assert (tmp_path / "python3.runs").read_text() == "\n"
    os.utime(python, ns=(0, 1))
    virtualenv.interpreter(python)
    assert (tmp_path / "python3.runs").read_text() == "\n\n"


def test_that_an_interpreter_makes_no_virtualenv_is_not_kept(tmp_path):
    """python3-venv may be installed at any time."""
    python = program(tmp_path / "python3", json.dumps({"tag": "cpython-311", "version": "3.11.2", "venv": False}))
    assert virtualenv.interpreter(python).venv is virtualenv.interpreter(python).venv is False
    assert (tmp_path / "python3.runs").read_text() == "\n\n"


def test_the_interpreter_of_the_tests():
    asked = virtualenv.interpreter(sys.executable)
    assert (asked.tag, asked.version) == (PYTHON.tag, PYTHON.version)


def test_what_nobody_uses_goes(settings, monkeypatch):
    layout = settings.layout
    digest = sorted(uv_digests.DIGESTS)[0][:12]
    directories = [
        "used-cp311", "unused-cp311", "busy-cp311", ".trash-x", ".build-x", ".old-unused-cp311", ".old-used-cp311",
        "broken-cp311", ".old-broken-cp311",
    ]  # fmt: skip
    plain = [f".uv-{digest}", ".uv-0.9.9", ".uv-0.9.9.part", "cut-cp311.lock", ".write-x", "README"]
    for name in directories:
        os.makedirs(layout.virtualenv(name))
    for name in plain:
        files.write(layout.virtualenv(name), "")
    os.symlink("/elsewhere", layout.virtualenv("link"))
    monkeypatch.setattr(processes, "in_use", lambda path: [1] if path.endswith("/busy-cp311") else [])
    monkeypatch.setattr(virtualenv, "differences", lambda path: ("x",) if path.endswith("broken-cp311") else ())
    gone = virtualenv.sweep(layout, ["/where/the/root/was/virtualenvs/used-cp311", "broken-cp311"])
    stay = {"used-cp311", "busy-cp311", "broken-cp311", ".old-broken-cp311", f".uv-{digest}", "README", "link"}
    assert set(here(settings)) == stay
    assert set(gone) == {*directories, *plain} - stay
    assert virtualenv.sweep(layout, []) == [".old-broken-cp311", "broken-cp311", "used-cp311"]


def test_without_virtualenvs_nothing_goes(settings):
    assert virtualenv.sweep(settings.layout, []) == []
