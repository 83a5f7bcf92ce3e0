"""What the scripts of bench/ stand on: the helpers of the tests, in the virtualenv of the tests (.venv)."""

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PYTHON = CHECKOUT / ".venv/bin/python"

if Path(sys.prefix) != CHECKOUT / ".venv" and PYTHON.exists():
    os.execv(PYTHON, [str(PYTHON), *sys.argv])
sys.dont_write_bytecode = True
sys.path[:0] = [str(CHECKOUT / name) for name in ("tests/fleet", "tests/support", "lab", "salt/_utils")]
