"""Tests on machines share hosts, where a version never changes: each test has a number of its own."""

import collections
import re

from documents import CHECKOUT


def test_no_two_tests_make_the_same_version():
    texts = [page.read_text() for page in sorted((CHECKOUT / "tests/fleet").glob("test_*.py"))]
    made = re.findall(r'release\([^"()]*, "([\d.]+)"', "\n".join(texts))
    assert len(made) > 20
    assert not [version for version, count in collections.Counter(made).items() if count > 1]
