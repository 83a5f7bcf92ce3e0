"""Images, a registry and pods on this machine: root is needed, and what Debian has for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import containers
import distribution
import pytest
import yaml
from fleetlib import host

CHECKOUT = Path(__file__).parents[2]
TOOLS = CHECKOUT / "tools"


@pytest.fixture(scope="session", autouse=True)
def programs():
    """What is needed is there, or the tests are skipped."""
    why = host.install_containers()
    if why:
        pytest.skip(f"no containers: {why}")


@pytest.fixture(scope="session")
def images():
    """dist/images (Path) with the images of 2.0 and 3.1."""
    for version in ("2.0", "3.1"):
        distribution.make("image", f"VERSION={version}")
    return CHECKOUT / "dist/images"


@pytest.fixture(scope="session")
def podman(programs):
    """A podman of the session's own."""
    with containers.podman() as started:
        yield started


@pytest.fixture(scope="session")
def repository(podman):
    """The name of a repository in a registry on loopback."""
    return f"{containers.registry(podman)}/team/globoapp"


def push(repository, *words):
    """Runs tools/registry.py; returns the finished process."""
    environment = {**os.environ, "GLOBOAPP_REGISTRY": repository}
    command = [distribution.tools_python(), TOOLS / "registry.py", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="session")
def published(repository, images):
    """The same repository, with the images of 2.0 and 3.1."""
    for version in ("2.0", "3.1"):
        done = push(repository, version)
        assert done.returncode == 0, done.stderr
    return repository


def rendered(directory, version, section, wishes):
    """The manifests (dict of file to document) that salt-call renders for a pillar."""
    kubernetes = {"directory": str(directory), **wishes}
    pillar = {"version": version, "globoapp": {"bind": "0.0.0.0", **section, "kubernetes": kubernetes}}
    command = [Path(sys.executable).with_name("salt-call"), "--local", "--out=json", "--retcode-passthrough",
               "state.apply", "globoapp.kubernetes", f"pillar={json.dumps(pillar, ensure_ascii=False)}"]  # fmt: skip
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    paths = sorted(directory.glob("*/*.yaml"))
    return {f"{path.parent.name}/{path.stem}": yaml.safe_load(path.read_text()) for path in paths}
