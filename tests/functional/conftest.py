"""Salt's real loaders on the real tree, without daemons: a minion whose files come from this checkout."""

import os
import shutil
import tempfile

import pytest

# Before logging is set up, or each test's end complains of a closed file.
import salt.config  # noqa: F401
import salt.version
from bare import ROOTS, bare_systemd
from saltfactories.utils.functional import Loaders


@pytest.fixture(scope="session")
def salt_factories_config():
    """A short directory: sockets have names of at most 107 bytes, and an old one would bring back another Salt."""
    root = tempfile.mkdtemp(prefix="sf-", dir="/tmp")
    yield {"root_dir": root}
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def bare(tmp_path_factory):
    """A machine with systemd where nothing runs."""
    with pytest.MonkeyPatch.context() as patch:
        bare_systemd(tmp_path_factory.mktemp("bare"), patch)
        yield


@pytest.fixture(scope="session")
def minion(salt_factories):
    """The configuration of a minion that serves itself from the checkout."""
    return salt_factories.salt_minion_daemon(
        "functional",
        overrides={
            "file_client": "local",
            "file_roots": {"base": ROOTS, "other": ROOTS},
            "pillar_roots": {"base": []},
            "enable_fqdns_grains": False,
        },
    )


@pytest.fixture(scope="session")
def loaders(minion):
    """Salt's loaders for that minion, with the tree's modules."""
    loaders = Loaders(minion.config.copy())
    assert loaders.modules.test.version() == salt.version.__version__
    return loaders


@pytest.fixture
def pillar(tmp_path):
    """A pillar for a deploy of 1.0 to a directory of the test's own; below /tmp no service could see it."""
    root = f"/opt/globoapp-tests-{os.getpid()}/{tmp_path.name}"
    yield {"globoapp": {"version": "1.0", "root": root, "prove": 0, "soak": 0, "reserve": 0}}
    shutil.rmtree(os.path.dirname(root), ignore_errors=True)
