"""Releases made for a test: sick ones, and sound ones under another number."""

import contextlib
import json
import shutil

import artifact
from machines import CHECKOUT


@contextlib.contextmanager
def release(directory, version, base="1.0", before="", after="", health=None, **manifest):
    """
    An artifact in dist/ for as long as the block runs: app/<base> under another version.

    Args:
        directory: where its source may be (Path).
        before, after: Python (str) put at the beginning and at the end of its api.py.
        health: other keys for the manifest's health.
        manifest: other keys for the manifest.
    """
    source = directory / version
    shutil.copytree(CHECKOUT / "app" / base, source)
    api = source / "api.py"
    api.write_text(before + api.read_text() + after)
    described = json.loads((source / "manifest.json").read_text())
    described |= {"version": version, **manifest}
    described["health"] |= health or {}
    (source / "manifest.json").write_text(json.dumps(described))
    made, _ = artifact.make(source, CHECKOUT / "dist", {})
    try:
        yield made
    finally:
        made.unlink()
        made.with_name(made.name + ".sha256").unlink()
