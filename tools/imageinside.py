"""Runs in a chroot over the base of an image: builds a release as a server does, by globolib, from /build/dist.

imageinside.py NAME VERSION: prints {"virtualenv", "release", "root", "state", "wsgi"} as JSON.
"""

import json
import os
import sys

from globolib import artifact, files, release, virtualenv
from globolib import settings as settings_of
from globolib.errors import Failure
from globolib.kubernetes.agreed import CONFIGURATION
from globolib.minion import Minion

DIST = "/build/dist"


def cached(url):
    """Returns the path of a file of dist; empty where it is not there. As Salt's cp.cache_file."""
    path = f"{DIST}/{url.removeprefix('salt://')}"
    return path if os.path.isfile(path) else ""


def listed():
    """Returns the names of all files of dist. As Salt's cp.list_master."""
    return [os.path.relpath(f"{top}/{name}", DIST) for top, _, names in os.walk(DIST) for name in names]


def main(name, version):
    """Builds the release; returns the exit code."""
    functions = {"cp.cache_file": cached, "cp.list_master": listed}
    pillar = {"globoapp": {"name": name, "version": version, "port": 8000}}
    if name != "globoapp":
        pillar["globoapp"]["root"] = settings_of.root_of({}, name)
    minion = Minion(functions, {"id": "image", "cachedir": "/build/cache"}, pillar)
    settings = settings_of.resolve(pillar, None, {}).settings
    try:
        made = artifact.fetch(minion, settings)
        python = virtualenv.interpreter(settings.python)
        if not made.manifest.runs_on(python.version):
            raise Failure(f"{name} {version} wants Python {made.manifest.python}, and the base has {python.version}")
        built = virtualenv.build(minion, settings, made.lock, python)
        release.unpack(settings, made, built.path)
        package = os.path.dirname(files.__file__)
        os.makedirs(f"{CONFIGURATION}/settings")
        for target, source in (("gunicorn.conf.py", "gunicorn_conf.py"), ("healthcheck.py", "pod_health.py")):
            files.write(f"{CONFIGURATION}/{target}", files.read(f"{package}/{source}"))
        # What pillar says of gunicorn is mounted there; where nothing is, the manifest says it.
        os.symlink("settings/gunicorn.json", f"{CONFIGURATION}/gunicorn.json")
        os.makedirs(settings.layout.state)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    layout = settings.layout
    said = {"virtualenv": built.path, "release": layout.release(settings.release), "root": layout.root}
    print(json.dumps({**said, "state": layout.state, "wsgi": made.manifest.wsgi}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
