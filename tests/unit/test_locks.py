"""The locks and bills of materials in app/ and tools/: what they pin, and that they hold no address."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = sorted(path.parent.name for path in (ROOT / "app").glob("*/manifest.json"))
LOCKS = [*(ROOT / "app").glob("*/requirements.lock"), *(ROOT / "tools").glob("requirements*.txt")]
PINS_OF_2020 = {
    "click": "7.1.2", "flask": "1.1.2", "gunicorn": "20.0.4", "itsdangerous": "1.1.0", "jinja2": "2.11.2",
    "markupsafe": "1.1.1", "werkzeug": "1.0.1",
}  # fmt: skip


def pins(lock):
    """Returns name -> (version, hashes) of the lock at lock (Path)."""
    found = {}
    for entry in re.split(r"\n(?=[a-z])", re.sub(r"^#.*\n", "", lock.read_text(), flags=re.MULTILINE)):
        name, version = re.match(r"([a-z0-9._-]+)==([^ ;]+)", entry).groups()
        found[name] = (version, re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry))
    return found


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_pins_of_2020_are_kept_and_setuptools_with_them(version):
    found = {name: pin for name, (pin, _) in pins(ROOT / "app" / version / "requirements.lock").items()}
    setuptools = found.pop("setuptools")
    assert found == PINS_OF_2020
    assert (69, 5) <= tuple(int(part) for part in setuptools.split(".")[:2]) < (82, 0)


def test_releases_with_the_same_requirements_share_one_lock():
    locks = {(ROOT / "app" / version / "requirements.lock").read_bytes() for version in ("1.0", "1.1")}
    assert len(locks) == 1


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_package_has_hashes_and_no_address(lock):
    found = pins(lock)
    assert found
    assert all(hashes for _, hashes in found.values())
    text = lock.read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text and str(ROOT) not in text


@pytest.mark.parametrize("version", VERSIONS)
def test_the_bill_of_materials_is_that_of_the_lock(version):
    bom = json.loads((ROOT / "app" / version / "sbom.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert bom["metadata"]["component"]["name"] == "globoapp"
    assert bom["metadata"]["component"]["version"] == version
    listed = {
        entry["name"]: (entry["version"], sorted(item["content"] for item in entry["hashes"]))
        for entry in bom["components"]
    }
    locked = pins(ROOT / "app" / version / "requirements.lock")
    assert listed == {name: (pin, sorted(hashes)) for name, (pin, hashes) in locked.items()}
    assert all(entry["purl"] == f"pkg:pypi/{entry['name']}@{entry['version']}" for entry in bom["components"])
    assert "timestamp" not in bom["metadata"]
