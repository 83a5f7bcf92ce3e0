"""The digest of custom code: what counts, and whether a minion is current."""

import pathlib
import shutil

import globolib
import pytest
from globolib import digest

SALT = pathlib.Path(__file__).parents[3] / "salt"


def code(directory, underscore):
    """Custom code of ours and of the site's; a master's directories begin with an underscore."""
    for kind, name, text in (
        ("utils", "globolib/__init__.py", "a"),
        ("utils", "globolib/monitor/x.py", "b"),
        ("utils", "globoapp_x.py", "c"),
        ("modules", "globoapp.py", "d"),
        ("states", "globoapp.py", "e"),
        ("beacons", "globoapp.py", "f"),
        ("modules", "other.py", "g"),
        ("runners", "globoapp.py", "h"),
    ):
        path = directory / f"{underscore}{kind}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def test_a_minions_cache_is_compared_with_a_masters_tree(tmp_path):
    master, minion = code(tmp_path / "salt", "_"), code(tmp_path / "extmods", "")
    assert digest.of(str(master)) == digest.of(str(minion))


CHANGES = {
    "a file": ("_utils/globolib/monitor/x.py", "B"),
    "a new file": ("_modules/globoapp_x.py", ""),
    "a state": ("_states/globoapp.py", ""),
    "a beacon": ("_beacons/globoapp.py", "F"),
}
NO_CHANGES = {
    "the site's own": ("_modules/other.py", "G"),
    "the master's own": ("_runners/globoapp.py", "H"),
    "byte code": ("_modules/globoapp.pyc", "x"),
    "a text": ("_utils/globolib/README", "x"),
}


@pytest.mark.parametrize("change", {**CHANGES, **NO_CHANGES})
def test_what_counts(tmp_path, change):
    code(tmp_path, "_")
    before = digest.of(str(tmp_path))
    name, text = {**CHANGES, **NO_CHANGES}[change]
    (tmp_path / name).write_text(text)
    assert (digest.of(str(tmp_path)) != before) is (change in CHANGES)


def test_a_file_that_moved_is_a_change(tmp_path):
    code(tmp_path, "_")
    before = digest.of(str(tmp_path))
    (tmp_path / "_modules/globoapp.py").rename(tmp_path / "_modules/globoapp_y.py")
    assert digest.of(str(tmp_path)) != before


def test_this_packages_own():
    assert digest.here({}) == digest.of(str(SALT))
    assert digest.of("/nowhere") == digest.of("/nowhere/else") != digest.here({})


def test_a_masters_own_is_that_of_its_tree_whatever_it_has_loaded(tmp_path):
    code(tmp_path, "_")
    (tmp_path / "_utils/globolib").mkdir(exist_ok=True, parents=True)
    (tmp_path / "_utils/globolib/new.py").write_text("")
    site = tmp_path / "site"
    site.mkdir()
    opts = {"module_dirs": [str(site), str(tmp_path)]}
    assert digest.here(opts) == digest.of(str(tmp_path)) != digest.here({"module_dirs": [str(site)]}) == digest.here({})


def test_current_is_what_the_master_serves():
    assert digest.is_current({}, digest.here({})) is True
    assert digest.is_current({}, "0" * 64) is False
    assert digest.is_current({}, None) is False


def test_code_that_this_process_has_not_loaded_is_not_current(monkeypatch):
    monkeypatch.setattr(globolib, "_LOADED", ())
    assert digest.is_current({}, digest.here({})) is False


def test_a_minion_without_a_master_serves_itself(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copytree(SALT, tmp_path / "salt", ignore=shutil.ignore_patterns("__pycache__"))
    opts = {"file_client": "local", "file_roots": {"base": [str(other), str(tmp_path / "salt")], "dev": [str(other)]}}
    assert digest.served(opts) == digest.here({})
    assert digest.served(opts, "dev") is None
    assert digest.served({}) is None
    assert digest.is_current(opts, None) is True
    elsewhere = {**opts, "file_roots": {"base": [], "dev": [str(tmp_path / "salt")]}}
    assert (digest.is_current(elsewhere, None), digest.is_current({**elsewhere, "saltenv": "dev"}, None)) == (
        False,
        True,
    )
    (tmp_path / "salt/_modules/globoapp.py").write_text("")
    assert digest.is_current(opts, digest.here({})) is False, "what pillar says is some other time's"
