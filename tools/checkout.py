"""Where this checkout is. Importing it makes globolib, the program that the servers run, importable for the tools."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "salt" / "_utils"))
