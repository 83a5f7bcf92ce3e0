"""The tree as a minion of a test sees it: on a machine with systemd where nothing runs yet."""

import pathlib
import shutil

CHECKOUT = pathlib.Path(__file__).parents[2]
ARTIFACTS = CHECKOUT / "dist"
ROOTS = [str(CHECKOUT / "salt"), str(ARTIFACTS)]
SYSTEMCTL = "#!/bin/sh\nexit 0\n"


def bare_systemd(directory, patch):
    """Let this process find a systemd where nothing runs. What systemd really does is the fleet's test."""
    (directory / "systemctl").write_text(SYSTEMCTL)
    (directory / "systemctl").chmod(0o755)
    patch.setenv("PATH", str(directory), prepend=":")
    patch.setattr("globolib.systemd.BOOTED", str(directory))


def file_roots(directory):
    """
    The file_roots for daemons: a copy of the tree, made in ``directory``, that finds such a systemd; and the artifacts.
    """
    root = directory / "salt"
    shutil.copytree(CHECKOUT / "salt", root, ignore=shutil.ignore_patterns("__pycache__"))
    path = root / "_utils/globolib/systemd.py"
    text = path.read_text()
    assert '\nBOOTED = "/run/systemd/system"\n' in text and '["systemctl", ' in text
    text = text.replace('"/run/systemd/system"', '"/"').replace('["systemctl", ', '["true", ')
    path.write_text(text)
    return {"base": [str(root), str(ARTIFACTS)]}
