"""Apps from the package index, as artifacts and wheelhouses among what the master of the lab serves."""

import contextlib
import json
import shutil
import subprocess
import sys

import artifact
from machines import CHECKOUT

DIST = CHECKOUT / "dist"


def _pip():
    has_it = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0
    return [sys.executable if has_it else "python3", "-m", "pip"]


def _wheels(name, wanted):
    """Builds the wheels of packages (list of str) in dist/<name>-wheels; returns the lock (str) with their hashes."""
    wheels = DIST / f"{name}-wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    subprocess.run([*_pip(), "wheel", "--quiet", "--wheel-dir", wheels, *wanted], check=True)
    lines = []
    for wheel in sorted(wheels.glob("*.whl")):
        package, version = wheel.name.split("-")[:2]
        digest = subprocess.run(["sha256sum", wheel], check=True, capture_output=True, text=True).stdout.split()[0]
        lines.append(f"{package.replace('_', '-')}=={version} --hash=sha256:{digest}\n")
    return "".join(lines)


@contextlib.contextmanager
def published(directory, name, versions, wanted, manifest, files=None):
    """
    Artifacts of an app, all with one lock, for as long as the block runs. Pillar `wheels` is salt://<name>-wheels.

    Args:
        directory: where its source may be (Path).
        versions: a list of str.
        wanted: requirements (list of str) from the package index.
        manifest: what it has beside name, version and requirements.
        files: {name: text} of its code; {version} in a text is replaced.
    """
    try:
        lock = _wheels(name, wanted)
        for version in versions:
            source = directory / name / version
            source.mkdir(parents=True)
            (source / "requirements.lock").write_text(lock)
            for file, text in (files or {}).items():
                (source / file).write_text(text.replace("{version}", version))
            told = {"name": name, "version": version, "requirements": "requirements.lock", "python": ">=3.9"}
            (source / "manifest.json").write_text(json.dumps({**told, "workers": 1, "threads": 2, **manifest}))
            artifact.make(source, DIST, {})
        yield
    finally:
        shutil.rmtree(DIST / f"{name}-wheels", ignore_errors=True)
        for path in DIST.glob(f"{name}-*.zip*"):
            path.unlink()


HTTPBIN = {
    "name": "httpbin",
    "wanted": ["httpbin==0.10.2", "gunicorn==23.0.0"],
    "manifest": {"wsgi": "httpbin:app", "health": {"path": "/status/200", "status": 200}},
}
