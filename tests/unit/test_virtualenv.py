"""Virtualenvs: built by uv and by pip from a wheelhouse, complete or absent."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile

import pytest


def wheel(directory, name, version):
    """Makes a wheel of one module; returns its lock line."""
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    held = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [
        f"{file},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},"
        for file, text in held.items()
    ]
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in held.items():
            archive.writestr(file, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def venvs(tree):
    return tree.modules.globoapp_virtualenv


@pytest.fixture
def wheels(tmp_path, settings):
    """A wheelhouse that settings name; the interpreter is the one that runs the tests."""
    directory = tmp_path / "wheels"
    directory.mkdir()
    settings.update(wheels=f"file://{directory}", python=sys.executable)
    return directory


@pytest.fixture
def lock(wheels):
    return wheel(wheels, "alpha", "1.0") + wheel(wheels, "beta_two", "2.0").replace("beta_two", "beta-two")


def built(settings):
    """What is in the directory of virtualenvs."""
    base = os.path.join(settings["root"], "virtualenvs")
    return sorted(os.listdir(base)) if os.path.isdir(base) else []


@pytest.fixture(params=["uv", "pip"])
def tool(request, settings):
    settings["installer"] = request.param
    return request.param


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """lab/venv puts uv into the virtualenv of the tests."""
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")


def test_a_virtualenv_is_built_once(settings, venvs, lock, tool):
    made = venvs.build(settings, lock)
    digest = hashlib.sha256(lock.encode()).hexdigest()[:12]
    name = f"{digest}-cp{sys.version_info[0]}{sys.version_info[1]}"
    assert made == {"path": f"{settings['root']}/virtualenvs/{name}", "built": True, "installer": tool}
    assert built(settings) == [name]
    code = "import alpha, beta_two; print(alpha.version, beta_two.version)"
    said = subprocess.run([f"{made['path']}/bin/python", "-I", "-c", code], capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("1.0 2.0\n", "")
    assert venvs.build(settings, lock) == {"path": made["path"], "built": False, "installer": None}


def test_a_wrong_hash_leaves_nothing(settings, venvs, lock, tool):
    with pytest.raises(venvs.CommandExecutionError, match="(?i)hash"):
        venvs.build(settings, lock.replace("--hash=sha256:", "--hash=sha256:" + "0" * 64 + " #"))
    assert built(settings) == []


def test_a_requirement_without_a_hash_is_refused(settings, venvs, lock):
    settings["installer"] = "uv"
    with pytest.raises(venvs.CommandExecutionError, match="(?i)hash"):
        venvs.build(settings, "alpha==1.0\n")
    assert built(settings) == []


def test_a_wheel_that_is_missing_is_named_before_anything_is_made(settings, venvs, lock):
    settings["installer"] = "pip"
    with pytest.raises(venvs.CommandExecutionError, match=r"has no wheel of gamma==3\.0: run make wheels"):
        venvs.build(settings, lock + "gamma==3.0 --hash=sha256:" + "0" * 64 + "\n")
    assert built(settings) == []


SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
BROKEN = {
    "the mark is gone": ("rm .complete", "is not complete"),
    "the mark is torn": ("echo '{' > .complete", "is not complete"),
    "the interpreter is gone": ("rm bin/python", "is not complete"),
    "a module is gone": (f"rm {SITE}/alpha.py", f"{SITE}/alpha.py is missing"),
    "a module was edited": (f"echo x=1 >> {SITE}/alpha.py", f"{SITE}/alpha.py was changed"),
    "a module may be written": (f"chmod 666 {SITE}/alpha.py", f"{SITE}/alpha.py was changed"),
    "a module was added": (f"touch {SITE}/sitecustomize.py", f"{SITE}/sitecustomize.py does not belong there"),
    "all is gone": (f"rm -r {SITE}", " more"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_a_cut_left_or_a_person_changed_is_built_again(settings, venvs, lock, broken):
    settings["installer"] = "uv"
    script, said = BROKEN[broken]
    path = venvs.build(settings, lock)["path"]
    assert venvs.differences(path) == []
    subprocess.run(script, shell=True, cwd=path, check=True)
    (told,) = venvs.differences(path)
    assert path in told and said in told
    assert not venvs.complete(path)
    assert venvs.build(settings, lock)["built"] is True
    assert venvs.complete(path)


def test_the_installer(settings, venvs, wheels, monkeypatch):
    bare = {"tag": "cpython-311", "version": "3.11.2", "venv": False}
    monkeypatch.setattr(venvs, "interpreter", lambda python: bare)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        venvs.CommandExecutionError, match=r"cannot make a virtualenv: install python3-venv, or serve a uv"
    ):
        venvs.installer(settings)
    (wheels / "uv-0.9.9-py3-none-manylinux_2_17_x86_64.whl").touch()
    assert venvs.installer(settings) == "uv"
    bare["venv"] = True
    settings["installer"] = "pip"
    assert venvs.installer(settings) == "pip"
    (wheels / "uv-0.9.9-py3-none-manylinux_2_17_x86_64.whl").unlink()
    settings["installer"] = "uv"
    with pytest.raises(venvs.CommandExecutionError, match=r"installer is uv: there is none"):
        venvs.installer(settings)


@pytest.mark.parametrize("python", ["/nowhere/python3", "/bin/false", "/etc/passwd"])
def test_an_interpreter_that_does_not_run(venvs, python):
    with pytest.raises(venvs.CommandExecutionError, match=python):
        venvs.interpreter(python)


def test_what_nobody_uses_goes(settings, venvs):
    base = os.path.join(settings["root"], "virtualenvs")
    for name in ("used-cp311", "unused-cp311", ".trash-x", ".uv-0.9.9.part", "cut-cp311.lock", ".uv-0.9.9"):
        os.makedirs(os.path.join(base, name))
    gone = venvs.sweep(settings, [f"{base}/used-cp311"])
    assert gone == [".trash-x", ".uv-0.9.9.part", "cut-cp311.lock", "unused-cp311"]
    assert built(settings) == [".uv-0.9.9", "used-cp311"]
