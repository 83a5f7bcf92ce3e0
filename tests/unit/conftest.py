"""
The tree's modules for a test.

Each test gets modules of its own: what one sets in them, no other sees.
"""

import pytest
from hypothesis import settings as hypothesis_settings
from salttree import Tree

# A loaded machine is slow: no test is about time.
hypothesis_settings.register_profile("no deadline", deadline=None)
hypothesis_settings.load_profile("no deadline")


@pytest.fixture
def tree(tmp_path):
    """A fresh Tree."""
    return Tree(tmp_path)


@pytest.fixture
def settings(tree, tmp_path):
    """Valid settings of version 1.0 with their root, which exists, below the test's directory."""
    root = tmp_path / "root"
    root.mkdir()
    pillar = {"globoapp": {"version": "1.0", "root": str(root), "prove": 0, "soak": 0, "deadline": 1}}
    found, problems, _ = tree.utils.globoapp_settings.resolve(pillar, None, {"lo": ["127.0.0.1"]})
    assert problems == []
    return found
