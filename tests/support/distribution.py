"""What the build targets of the Makefile make, made now where it is not."""

import os
import subprocess
from pathlib import Path

from prepared import alone

ROOT = Path(__file__).resolve().parents[2]


def make(*words):
    """Runs make with these words, which itself decides what there is to do; raises AssertionError with what it said."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    with alone(ROOT / ".lab" / "make"):  # two at once would write the same files
        done = subprocess.run(
            ["make", "-s", *words], check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 0, done.stdout + done.stderr


def made_dist():
    """Returns dist/ (Path) with all artifacts and the wheelhouse."""
    make("dist")
    return ROOT / "dist"


def tools_python():
    """Returns the Python (Path) that the build tools run on, with what they need."""
    make(".venv-tools/complete")
    return ROOT / ".venv-tools" / "bin" / "python"
