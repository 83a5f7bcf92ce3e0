"""--out=globoapp in Salt's own loader."""

import os
import subprocess
import sys

import pytest
import salt.config
import salt.loader
from globolib import output
from watchmaster import TREE


@pytest.fixture
def shown(tmp_path):
    """A function that shows data as `--out=globoapp` does."""
    opts = salt.config.master_config("/dev/null")
    opts.update(module_dirs=[str(TREE)], color=False, cachedir=str(tmp_path), extension_modules=str(tmp_path))
    return salt.loader.outputters(opts)["globoapp"]


@pytest.mark.parametrize("names", [("_output", "_utils"), ("output", "utils")], ids=["a tree", "a minion's cache"])
def test_it_finds_its_package_in_a_process_that_has_loaded_nothing_of_this_tree(tmp_path, names):
    """As `salt` is one; salt-run has loaded runners before it prints."""
    for name, kind in zip(names, ("_output", "_utils"), strict=True):
        (tmp_path / name).symlink_to(TREE / kind)
    script = (
        "import salt.config, salt.output; opts = salt.config.master_config('/dev/null');"
        f"opts.update(module_dirs=[{str(tmp_path)!r}], extension_modules={str(tmp_path)!r}, color=False);"
        "salt.output.display_output({'web1': 'no'}, 'globoapp', opts)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", script], cwd="/", env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), "Invalid outputter" in done.stderr) == ("web1 failed: no", False), done.stderr


def test_a_line_a_table_and_all_else_as_ever(shown):
    health = {"healthy": True, "version": "1.1", "latency_ms": 2.1, "asked": "http://x/"}
    assert shown({"web1": health}) == "web1 1.1 healthy, 2.1 ms at http://x/"
    inventory = {"web1": {"heard": None, "alerts": {}, "version": "1.1"}}
    assert shown(inventory) == output.table(inventory)
    assert shown({"web1": True}).strip() == "web1:\n    True"
