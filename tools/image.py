#!/usr/bin/env python3
"""Makes the OCI image of a version below dist/images: <name>-<version>/ (a layout), .digest and .sbom.json.

Three layers: Debian's python3 (.lab/images/<suite>, made once; --new-base makes it again, with what Debian has by
then), the virtualenv, the release; the last two are built in a chroot over the first by the code that servers use. The
same artifact, wheels and base give the same bytes. Needs root.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
from pathlib import Path

import checkout
import fixedzip
import imagebase
import ocilayout
import packaging
from globolib.errors import Failure
from globolib.kubernetes.agreed import ACCOUNT, CONFIGURATION

ROOT = checkout.ROOT
SUITE = "bookworm"
# What globolib imports to look at processes and jobs: in the chroot there are none.
OF_A_HOST = ("psutil", "msgpack")


class ImageError(Exception):
    """An image that cannot be made; the text says why and what to do."""


def build(base, dist, name, version, target):
    """Makes the image of a version in target (Path, not there yet) from the base (Path) and dist (Path).

    Returns (digest, SBOM). Raises ImageError.
    """
    archive = dist / f"{name}-{version}.zip"
    if not archive.is_file():
        raise ImageError(f"{archive} is missing; make it: make dist")
    with zipfile.ZipFile(archive) as unpacked:
        manifest, sbom = (json.loads(unpacked.read(member)) for member in ("manifest.json", "sbom.json"))
    described = json.loads((base / "base.json").read_text())
    with tempfile.TemporaryDirectory(prefix=".image-", dir=target.parent) as work:
        root = Path(work) / "root"
        shutil.copytree(base / "root", root, symlinks=True)
        made = _in_chroot(root, dist, name, version)
        layers = [
            (_base_layer(base, described), f"Debian {described['suite']}: {', '.join(imagebase.INCLUDE)}"),
            (ocilayout.layer(root, [made["virtualenv"][1:]]), f"the lock {manifest['lock_sha256']}"),
            (_release_layer(root, made), f"{name} {version}"),
        ]
    labels = {
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.base.name": f"debian:{described['suite']}",
        "org.opencontainers.image.base.digest": described["digest"],
        "globoapp.lock.sha256": manifest["lock_sha256"],
    }
    config = _config(made, labels)
    made_digest = ocilayout.write(target, layers, config, platform.machine(), labels)
    return made_digest, bill(sbom, described["packages"], made_digest)


def _base_layer(base, described):
    made = ocilayout.Layer((base / "layer.tar.gz").read_bytes(), described["diff_id"])
    if made.digest != described["digest"]:
        raise ImageError(f"{base}/layer.tar.gz is not what its base.json says; make it again: make image NEW_BASE=1")
    return made


def _in_chroot(root, dist, name, version):
    """Builds the release in the directory root (Path); returns where all of it is (dict). Raises ImageError."""
    inside = root / "build"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "salt/_utils/globolib", inside / "globolib", ignore=ignore)
    shutil.copytree(Path(packaging.__file__).parent, inside / "packaging", ignore=ignore)
    shutil.copytree(dist / "wheels", inside / "dist/wheels")
    for path in dist.glob(f"{name}-{version}.zip*"):
        shutil.copy(path, inside / "dist")
    shutil.copy(ROOT / "tools/imageinside.py", inside)
    for module in OF_A_HOST:
        (inside / f"{module}.py").touch()
    _devices(root)
    said = _chroot(root, ["/usr/bin/python3", "/build/imageinside.py", name, version], PYTHONPATH="/build")
    made = json.loads(said)
    _forget_times(root / made["virtualenv"][1:])
    _chroot(root, [*imagebase.COMPILE, *(made[key] for key in ("virtualenv", "release")), CONFIGURATION])
    return made


def _forget_times(virtualenv):
    """Takes out of a virtualenv (Path) what holds a time of its building."""
    (virtualenv / ".complete").unlink()  # a server compares with it; here nothing changes
    for path in list(virtualenv.rglob("__pycache__")):
        shutil.rmtree(path)
    for path in virtualenv.rglob("*.dist-info/uv_cache.json"):
        path.unlink()
        record = path.with_name("RECORD")
        lines = record.read_text().splitlines(keepends=True)
        record.write_text("".join(line for line in lines if "/uv_cache.json," not in line))


def _devices(root):
    """Makes the few devices that a program expects, as nothing is mounted."""
    for name, minor in (("null", 3), ("zero", 5), ("urandom", 9)):
        os.mknod(root / "dev" / name, 0o20666, os.makedev(1, minor))


def _chroot(root, command, **variables):
    environment = {**imagebase.SAME, **variables}
    done = subprocess.run(["chroot", str(root), *command], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise ImageError(done.stderr.strip() or f"exit code {done.returncode} of {' '.join(command[:3])}")
    return done.stdout


def _release_layer(root, made):
    for path in (root / CONFIGURATION[1:], root / made["state"][1:]):
        path.chmod(0o755)
    paths = [made["release"][1:], CONFIGURATION[1:], made["state"][1:]]
    return ocilayout.layer(root, paths, {made["state"][1:]: ACCOUNT})


def _config(made, labels):
    """Returns what a container starts with: gunicorn on the release, as the unit of a server does."""
    programs = f"{made['release']}/.venv/bin"
    variables = {
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "RUNTIME_DIRECTORY": "/tmp",
        "STATE_DIRECTORY": made["state"],
    }
    return {
        "User": f"{ACCOUNT}:{ACCOUNT}",
        "Env": [f"{key}={value}" for key, value in variables.items()],
        "Entrypoint": [f"{programs}/gunicorn", "--config", f"{CONFIGURATION}/gunicorn.conf.py"],
        "Cmd": ["--bind", "0.0.0.0:8000", made["wsgi"]],
        "WorkingDir": made["release"],
        "ExposedPorts": {"8000/tcp": {}},
        "StopSignal": "SIGTERM",
        "Labels": labels,
    }


def bill(sbom, packages, image):
    """Returns the bill of materials of an image (bytes): that of its version (dict), and the packages of its base."""
    root = sbom["metadata"]["component"]["bom-ref"]
    more = [
        {
            "type": "library",
            "bom-ref": f"deb:{one['name']}@{one['version']}",
            "name": one["name"],
            "version": one["version"],
            "purl": f"pkg:deb/debian/{one['name']}@{one['version']}?arch={one['architecture']}",
            "hashes": [{"alg": "SHA-256", "content": one["sha256"]}],
        }
        for one in packages
    ]
    refs = [one["bom-ref"] for one in more]
    dependencies = [
        {**one, "dependsOn": sorted([*one.get("dependsOn", []), *refs])} if one["ref"] == root else one
        for one in sbom["dependencies"]
    ]
    merged = {
        **sbom,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, image)}",
        "components": sbom["components"] + more,
        "dependencies": dependencies + [{"ref": ref} for ref in refs],
    }
    return (json.dumps(merged, indent=2, sort_keys=True) + "\n").encode()


def make(base, images, dist, name, version):
    """Makes the image of a version in images (Path); returns (digest, whether it is new). Raises ImageError."""
    target, label = images / f"{name}-{version}", images / f"{name}-{version}.digest"
    partial = images / f".{name}-{version}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        made, sbom = build(base, dist, name, version, partial)
        new = not label.exists() or label.read_text().strip() != made
        # The digest last: with it, all of it is there.
        label.unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        fixedzip.write_whole(images / f"{name}-{version}.sbom.json", sbom)
        fixedzip.write_whole(label, f"{made}\n".encode())
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made, new


def main(argv=None):
    """Makes the image that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--name", default="globoapp", help="the app's name in its manifest")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist")
    parser.add_argument("--images", type=Path, help="where it goes; by default images/ in dist")
    parser.add_argument("--bases", type=Path, default=ROOT / ".lab/images", help="where bases are")
    parser.add_argument("--suite", default=SUITE, help="Debian of the base")
    parser.add_argument("--new-base", action="store_true", help="make the base again")
    options = parser.parse_args(argv)
    os.umask(0o022)
    images = options.images or options.dist / "images"
    images.mkdir(parents=True, exist_ok=True)
    unfit = imagebase.unfit()
    try:
        if unfit:
            raise ImageError(unfit)
        base = options.bases / options.suite
        if options.new_base or not (base / "base.json").exists():
            imagebase.make(base, options.suite, ACCOUNT)
        made, new = make(base, images, options.dist, options.name, options.version)
    except (ImageError, Failure, imagebase.steps.Failure) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    print(f"{options.name}-{options.version}: {'made' if new else 'up to date'}, {made}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
