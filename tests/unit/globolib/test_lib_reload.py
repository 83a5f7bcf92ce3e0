"""A process that has the package loaded takes up changed code; in a copy of the package and a process of its own."""

import pathlib
import shutil
import subprocess
import sys

import globolib
import pytest

PACKAGE = pathlib.Path(globolib.__file__).parent


@pytest.fixture
def run(tmp_path):
    """Runs code with a copy of the package, ``package`` its directory; returns what it printed."""
    shutil.copytree(PACKAGE, tmp_path / "globolib", ignore=shutil.ignore_patterns("__pycache__", "monitor"))

    def call(code):
        prelude = f"import pathlib, sys, globolib\npackage = pathlib.Path({str(tmp_path / 'globolib')!r})\n"
        done = subprocess.run(
            [sys.executable, "-c", prelude + code],
            env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return call


def test_unchanged_code_is_loaded_once(run):
    code = """
from globolib import errors
first = errors.Failure
assert not globolib.stale()
globolib.refresh()
from globolib import errors
print(errors.Failure is first)
"""
    assert run(code) == ["True"]


CHANGES = {
    "edited": "(package / 'errors.py').write_text('Failure = 7\\n')",
    "edited twice": "(package / 'errors.py').write_text('Failure = 6\\n'); again(); "
    "(package / 'errors.py').write_text('Failure = 7  # twice\\n')",
    "new beside it": "(package / 'new.py').write_text(''); (package / 'errors.py').write_text('Failure = 7\\n')",
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_code_is_taken_up(run, change):
    code = f"""
from globolib import errors, text
def again():
    global globolib
    globolib.refresh()
    import globolib
{CHANGES[change]}
print(globolib.stale())
again()
from globolib import errors, text
print(errors.Failure, globolib.stale(), "globolib.health" in sys.modules)
"""
    assert run(code) == ["True", "7", "False", "False"]


def test_code_that_is_gone_is_noticed(run):
    code = """
from globolib import health, text
(package / 'health.py').unlink()
print(globolib.stale())
globolib.refresh()
print(sorted(name for name in sys.modules if name.startswith("globolib")))
"""
    assert run(code) == ["True", "[]"]


def test_another_package_is_left_alone(run):
    code = """
import types
sys.modules["globolib_other"] = sys.modules["other.globolib"] = types.ModuleType("x")
(package / 'errors.py').write_text('')
globolib.refresh()
print("globolib_other" in sys.modules, "other.globolib" in sys.modules)
"""
    assert run(code) == ["True", "True"]


def test_byte_code_is_no_change(run):
    code = """
(package / '__pycache__').mkdir()
(package / '__pycache__' / 'errors.cpython-311.pyc').write_bytes(b'x')
(package / 'notes.txt').write_text('x')
print(globolib.stale())
"""
    assert run(code) == ["False"]


def test_this_process_has_what_is_there():
    assert not globolib.stale()
    before = sys.modules["globolib"]
    globolib.refresh()
    assert sys.modules["globolib"] is before


def test_a_process_that_is_stale_forgets_all_of_it(monkeypatch):
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "globolib"}
    monkeypatch.setattr(globolib, "_LOADED", ())
    try:
        globolib.refresh()
        assert not [name for name in sys.modules if name.partition(".")[0] == "globolib"]
    finally:
        sys.modules.update(kept)
