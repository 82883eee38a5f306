"""A CycloneDX bill of materials of a version: packages, model, data. Extra [sbom]."""

import json
import subprocess
import sys
from typing import Any

from minigpt.digest import file_digest, text_digest
from minigpt.errors import RegistryError
from minigpt.extras import require
from minigpt.files import to_json
from minigpt.log import say
from minigpt.registry.artifacts import version_files, write_artifact
from minigpt.registry.lineage.record import Record, read_record
from minigpt.registry.provenance.provenance import materials_listed, read_envelope
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry
from minigpt.registry.versions import MODEL, Version
from minigpt.tracking.environment import distributions

BOM = "release/bom.cdx.json"
WEIGHTS = f"{MODEL}/model.safetensors"


def write_bom(registry: Registry, ref: str) -> dict[str, Any]:
    """Make the bill of materials of a version and keep it as its release/bom.cdx.json.

    Its packages are those installed here, so the lock files must be the version's.

    Raises:
        MissingExtraError: cyclonedx-bom is not installed.
        RegistryError: there is no such version, or it was built with other lock files.
    """
    require("cyclonedx_py", extra="sbom")
    version = find_version(registry, ref)
    _refuse_other_locks(registry, version)
    with version_files(registry, version) as files:
        weights = file_digest(files.need(WEIGHTS))
    record, listed = read_record(registry, version), text_digest(distributions())
    others = [
        stage.name
        for stage in record.stages
        if stage.environment and stage.environment.packages != listed
    ]
    if others:
        say(
            f"the bill lists the packages installed here; {', '.join(others)} ran with others "
            "(its properties minigpt:packages:STAGE have the digests)"
        )
    bom = with_model(environment(), record, version, weights, listed)
    write_artifact(registry, version, BOM, to_json(bom).encode())
    return bom


def environment() -> dict[str, Any]:
    """The packages of this Python environment, with no time, random number or path in it."""
    command = [
        sys.executable, "-m", "cyclonedx_py", "environment", sys.executable,
        "--output-reproducible", "--sv", "1.6",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["no reason given"]
        raise RegistryError(f"cyclonedx-py failed: {reason[-1]}")
    bom: dict[str, Any] = json.loads(done.stdout)
    for component in bom.get("components", []):
        references = component.pop("externalReferences", [])
        if public := [
            reference for reference in references if not reference["url"].startswith("file:")
        ]:
            component["externalReferences"] = public
    return bom


def with_model(
    bom: dict[str, Any], record: Record, version: Version, weights: str, listed: str
) -> dict[str, Any]:
    """The bill with the model as its subject and every archive of text as a component.

    `listed` is the digest of the packages in `bom`; those that each stage ran with are beside it.
    """
    data = [
        {
            "type": "data",
            "bom-ref": f"data:{source.name}/{file}",
            "name": source.name,
            "version": source.place,
            "hashes": [{"alg": "SHA-256", "content": sha256}],
            "licenses": [{"license": {"name": source.licence}}],
            "data": [{"type": "dataset", "name": file}],
        }
        for source in record.sources
        for file, sha256 in sorted(source.archives.items())
    ]
    model = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{version.name}",
        "name": version.name,
        "version": version.version,
        "hashes": [{"alg": "SHA-256", "content": weights}],
        "properties": [
            {"name": "minigpt:manifest", "value": version.digest},
            {"name": "minigpt:commit", "value": version.commit},
            {"name": "minigpt:packages:listed", "value": listed},
            *(
                {"name": f"minigpt:packages:{stage.name}", "value": stage.environment.packages}
                for stage in record.stages
                if stage.environment
            ),
        ],
        "modelCard": {
            "modelParameters": {
                "task": "text-generation",
                "datasets": [{"ref": component["bom-ref"]} for component in data],
            }
        },
    }
    return {
        **bom,
        "metadata": {**bom.get("metadata", {}), "component": model},
        "components": [*bom.get("components", []), *data],
    }


def _refuse_other_locks(registry: Registry, version: Version) -> None:
    _, said = read_envelope(registry, version)
    for name, sha256 in materials_listed(said):
        if name.startswith("requirements/"):
            here = registry.root / name
            if not here.is_file() or file_digest(here) != sha256:
                raise RegistryError(
                    f"{name} is not what {version.name} {version.version} was built with, so what "
                    f"is installed here is not it. Check out {version.commit[:7]}, then: make setup"
                )
