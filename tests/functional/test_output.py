"""--out=globoapp in Salt's own loader."""

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


def test_a_line_a_table_and_all_else_as_ever(shown):
    health = {"healthy": True, "version": "1.1", "latency_ms": 2.1, "asked": "http://x/"}
    assert shown({"web1": health}) == "web1 1.1 healthy, 2.1 ms at http://x/"
    inventory = {"web1": {"heard": None, "alerts": {}, "version": "1.1"}}
    assert shown(inventory) == output.table(inventory)
    assert shown({"web1": True}).strip() == "web1:\n    True"
