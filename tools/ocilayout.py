"""Writes OCI images: layers with fixed times, owners and order, and the layout that skopeo, podman and others read."""

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile

import fixedzip

TIME = "1980-01-01T00:00:00Z"  # as in the artifacts: no clock shows
SECONDS = 315532800
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Layer:
    """A layer: content (bytes, packed), digest, and diff_id, the digest of what it unpacks to."""

    def __init__(self, packed, diff_id):
        self.content, self.diff_id = packed, diff_id
        self.digest = digest(packed)


def digest(content):
    """Returns the digest of bytes as OCI writes it: "sha256:..."."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layer(root, paths, owners=None):
    """Returns the Layer of what is below paths (of str, relative) in the directory root (Path).

    Directories above them are in it too. Sorted; of root but for owners, a dict of path to uid; all may read,
    and only the owner may write, but for directories that all may write to.
    """
    owners = owners or {}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(_with_parents(root, paths)):
            path = root / name
            info = archive.gettarinfo(path, arcname=name)
            info.uid = info.gid = owners.get(name, 0)
            info.uname = info.gname = ""
            info.mtime = SECONDS
            if not (info.isdir() and info.mode & stat.S_ISVTX):
                info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
            if info.islnk():  # hard links depend on the order of the file system
                info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
            if info.isreg():
                with open(path, "rb") as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)
    content = buffer.getvalue()
    return Layer(gzip.compress(content, 6, mtime=0), digest(content))


def _with_parents(root, paths):
    found = set()
    for start in paths:
        parts = start.split("/")
        found.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        top = root / start
        if top.is_dir() and not top.is_symlink():
            for directory, directories, names in os.walk(top):
                relative = os.path.relpath(directory, root)
                found.update(f"{relative}/{name}" for name in (*directories, *names))
    return found


def _json(document):
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def write(directory, layers, config, architecture, annotations):
    """Writes the layout of an image into directory (Path), which does not exist yet; returns the image's digest (str).

    layers is a list of (Layer, what made it); config is what a container starts with, in OCI's words.
    """
    document = {
        "architecture": ARCHITECTURES.get(architecture, architecture),
        "os": "linux",
        "created": TIME,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one, _ in layers]},
        "history": [{"created": TIME, "created_by": what} for _, what in layers],
    }
    blobs = {one.digest: one.content for one, _ in layers}
    described = [{"mediaType": LAYER, "digest": one.digest, "size": len(one.content)} for one, _ in layers]
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _describe(CONFIG, _json(document), blobs),
            "layers": described,
            "annotations": annotations,
        }
    )
    named = _describe(MANIFEST, manifest, blobs)
    named["annotations"] = {"org.opencontainers.image.ref.name": annotations["org.opencontainers.image.version"]}
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"})}
    files["index.json"] = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]})
    (directory / "blobs/sha256").mkdir(parents=True)
    for one, content in blobs.items():
        (directory / "blobs" / one.replace(":", "/")).write_bytes(content)
    for name, content in files.items():
        fixedzip.write_whole(directory / name, content)
    return named["digest"]


def _describe(kind, content, blobs):
    blobs[digest(content)] = content
    return {"mediaType": kind, "digest": digest(content), "size": len(content)}
