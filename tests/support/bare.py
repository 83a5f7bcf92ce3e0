"""The tree as a minion of a test sees it: on a machine with systemd where nothing runs yet."""

import pathlib

CHECKOUT = pathlib.Path(__file__).parents[2]

# Appended to globoapp_systemd. What systemd really does is the fleet's test.
BARE = """

def booted():
    return True


def _run(*command, check=True, timeout=120):
    return subprocess.CompletedProcess(command, 0, "", "")
"""


def file_roots(directory):
    """
    The file_roots of Salt: this checkout, and before it, made in ``directory``, a globoapp_systemd for a bare machine.
    """
    (directory / "roots/_modules").mkdir(parents=True)
    (directory / "units").mkdir()
    text = (CHECKOUT / "salt/_modules/globoapp_systemd.py").read_text() + BARE
    text = text.replace('"/etc/systemd/system"', repr(str(directory / "units")))
    (directory / "roots/_modules/globoapp_systemd.py").write_text(text)
    return {"base": [str(directory / "roots"), str(CHECKOUT / "salt"), str(CHECKOUT / "dist")]}
