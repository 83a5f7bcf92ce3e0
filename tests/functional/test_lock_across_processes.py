"""tools/lock.py and tools/sbom.py, on the Python that they run on: what is checked in is what they make."""

import json
import re
import subprocess

import pytest
from distribution import ROOT, made_dist, tools_python

VERSIONS = sorted(path.parent.name for path in (ROOT / "app").glob("*/manifest.json"))


@pytest.fixture(scope="session")
def run():
    """Returns a function that runs code (str) with the tools importable and `lock`, `manifest` of a version set."""
    python = tools_python()
    dist = made_dist()

    def call(version, code):
        source = ROOT / "app" / version
        prelude = (
            "import json, pathlib, sys\n"
            f"sys.path.insert(0, {str(ROOT / 'tools')!r})\n"
            "import lock as tool, purewheel, sbom\n"
            f"source, dist = pathlib.Path({str(source)!r}), pathlib.Path({str(dist)!r})\n"
            "lock = (source / 'requirements.lock').read_text()\n"
            "manifest = json.loads((source / 'manifest.json').read_text())\n"
        )
        done = subprocess.run([str(python), "-c", prelude + code], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.mark.parametrize("version", VERSIONS)
def test_the_bill_of_materials_is_made_the_same_at_any_time(run, version):
    assert (
        run(version, "print(sbom.make_sbom(manifest, lock), end='')")
        == (ROOT / "app" / version / "sbom.json").read_text()
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_another_cyclonedx_tool_reads_the_bill_of_materials(run, version):
    code = (
        "from cyclonedx.model.bom import Bom\n"
        "bom = Bom.from_json(json.loads((source / 'sbom.json').read_text()))\n"
        "print(json.dumps([bom.metadata.component.version, len(bom.components), str(bom.serial_number)]))"
    )
    read_version, components, serial = json.loads(run(version, code))
    assert read_version == version
    lock = (ROOT / "app" / version / "requirements.lock").read_text()
    assert components == len(re.findall(r"^[\w.-]+==", lock, re.MULTILINE))
    assert serial in (ROOT / "app" / version / "sbom.json").read_text()


def test_the_hash_of_our_own_wheel_is_taken_out_and_put_in(run):
    code = (
        "bare = tool.without_pure_wheels(lock)\n"
        "purewheel.fetch_sdist = lambda *arguments: None\n"
        "purewheel.make_wheel = lambda *arguments: dist / 'wheels' / 'MarkupSafe-1.1.1-py3-none-any.whl'\n"
        "print(json.dumps([bare, tool.add_pure_wheels(bare)]))"
    )
    lock = (ROOT / "app" / "1.0" / "requirements.lock").read_text()
    bare, full = json.loads(run("1.0", code))
    assert full == lock
    assert len(lock.splitlines()) - len(bare.splitlines()) == 2  # a comment and a hash
    assert "first hash" not in bare
