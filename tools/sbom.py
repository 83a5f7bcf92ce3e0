"""Writes the CycloneDX bill of materials of an app version from its manifest and its lock."""

import json
import uuid

import checkout  # noqa: F401, it makes globolib importable
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from globolib import lockfile
from packageurl import PackageURL


def make_sbom(manifest, lock):
    """Takes a manifest (dict) and the text of its lock; returns CycloneDX JSON (str), the same for the same input.

    A component's hashes are those of every file that the lock admits for it. There is no timestamp and no
    random serial number, as these would make the artifact another one every day.
    """
    name, version = manifest["name"], manifest["version"]
    bom = Bom()
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, f"{name} {version}\n{lock}")
    bom.metadata.component = root = Component(
        type=ComponentType.APPLICATION, name=name, version=version, bom_ref=f"{name}@{version}"
    )
    components = [
        Component(
            type=ComponentType.LIBRARY,
            name=entry.name,
            version=entry.version,
            bom_ref=f"{entry.name}@{entry.version}",
            purl=PackageURL("pypi", name=entry.name, version=entry.version),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in entry.hashes],
        )
        for entry in lockfile.entries(lock)
    ]
    bom.components.update(components)
    bom.register_dependency(root, components)
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    document = json.loads(text)
    del document["metadata"]["timestamp"]
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
