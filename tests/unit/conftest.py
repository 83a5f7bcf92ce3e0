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
