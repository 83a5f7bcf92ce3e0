"""What the benchmarks have seen: bench/results.json, and what is made of it: bench/RESULTS.md and the plots."""

import json
from pathlib import Path

import pictures
import report

HERE = Path(__file__).resolve().parent
RAW = HERE / "results.json"


def store(part, data):
    """Writes the figures (JSON) of one part (str) over those of before, and the tables and plots anew."""
    known = json.loads(RAW.read_text()) if RAW.exists() else {}
    known[part] = data
    _write(RAW, text(known))
    _write(HERE / "RESULTS.md", report.document(known))
    for name, picture in pictures.all_of(known).items():
        _write(HERE.parent / "docs/pictures" / name, picture)


def text(known):
    """Returns the JSON (str) of {part: data}: a line for each measurement."""
    return json.dumps(known, separators=(",", ":")).replace("},{", "},\n{").replace('],"', '],\n"') + "\n"


def _write(path, content):
    new = path.with_name(f"{path.name}.new")
    new.write_text(content)
    new.rename(path)
