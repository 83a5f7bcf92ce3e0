#!/usr/bin/env python3
"""Pushes the image of a version to an OCI registry, by skopeo: registry.py 1.1.

GLOBOAPP_REGISTRY is the repository: registry.example.com/globoapp. The tag is the version, and never moves: where the
registry has another image under it, nothing is sent. Credentials are those of `skopeo login` or `podman login`
(REGISTRY_AUTH_FILE names another file); the environment and arguments have none.
"""

import argparse
import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import checkout
from globolib.kubernetes.agreed import IMAGE

sys.path.append(str(checkout.ROOT / "lab"))
from fleetlib import host, steps  # noqa: E402


class RegistryError(Exception):
    """Something that a person has to see to; the text says what was asked, what came back, and what to do."""


def _on_loopback(repository):
    name = repository.split("/")[0].rpartition(":")[0] or repository.split("/")[0]
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _skopeo(*arguments):
    return subprocess.run(["skopeo", *arguments], capture_output=True, text=True)


def publish(image, digest, repository, version):
    """Puts the layout image (Path), whose image has digest (str), into repository (str) as version (str).

    Returns whether anything was sent. Raises RegistryError.
    """
    target = f"docker://{repository}:{version}"
    verify = "false" if _on_loopback(repository) else "true"  # nobody is on the way there
    ask = ("inspect", "--format", "{{.Digest}}", f"--tls-verify={verify}", target)
    there = _skopeo(*ask)
    if there.returncode == 0 and there.stdout.strip() == digest:
        return False
    if there.returncode == 0:
        raise RegistryError(
            f"{repository}:{version} is {there.stdout.strip()} there, and {digest} here: a version never changes. "
            "Nothing was sent. Where only the base is another one, remove the tag there first"
        )
    if "manifest unknown" not in there.stderr and "name unknown" not in there.stderr:
        raise RegistryError(f"{repository} cannot be asked: {_reason(there)}; log in by: skopeo login")
    sent = _skopeo("copy", "--preserve-digests", "--retry-times=3", f"--dest-tls-verify={verify}",
                   f"oci:{image}", target)  # fmt: skip
    if sent.returncode:
        raise RegistryError(f"{repository}:{version} was not sent: {_reason(sent)}")
    arrived = _skopeo(*ask)
    if arrived.stdout.strip() != digest:
        raise RegistryError(
            f"{repository}:{version} is {arrived.stdout.strip() or _reason(arrived)}, sent was {digest}"
        )
    return True


def _reason(done):
    """Returns what skopeo has said (str), without its log's frame."""
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return last[0].partition("msg=")[2].strip('"') or last[0]


def main(argv=None):
    """Publishes the image that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--name", default="globoapp", help="the app's name in its manifest")
    parser.add_argument("--images", type=Path, default=checkout.ROOT / "dist/images")
    options = parser.parse_args(argv)
    repository, name = os.environ.get("GLOBOAPP_REGISTRY", ""), f"{options.name}-{options.version}"
    try:
        if not IMAGE.match(repository):
            raise RegistryError(
                f"GLOBOAPP_REGISTRY is {repository!r}: a repository without tag, like registry.example.com/globoapp"
            )
        label = options.images / f"{name}.digest"
        if not label.is_file():
            raise RegistryError(f"{label} is missing; make it: make image VERSION={options.version}")
        host.install(host.missing({"skopeo": "skopeo"}))
        digest = label.read_text().strip()
        sent = publish(options.images / name, digest, repository, options.version)
    except (RegistryError, steps.Failure) as error:
        print(f"registry: {error}", file=sys.stderr)
        return 1
    print(f"{repository}:{options.version}: {'sent' if sent else 'there already'}, {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
