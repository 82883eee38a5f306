"""More versions of a checkout's model, and which of them is champion."""

import shutil
from pathlib import Path

from minigpt.params import PARAMS, Params, load_params
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry
from minigpt.registry.versions import BITS, CHAMPION, DIGEST
from minigpt.release.manifest import MANIFEST, manifest_digest
from minigpt.tracking.store import local_path


def registry_of(root: Path) -> Registry:
    """The registry of a checkout."""
    return Registry(root, load_params(Params, root / PARAMS).release.name)


def add_version(root: Path, *, damaged: bool = False) -> str:
    """Register version 1's files once more, under a manifest that says the same otherwise."""
    registry = registry_of(root)
    client, first = registry.store.client, find_version(registry, "1")
    source = client.get_model_version_download_uri(registry.name, "1")
    run = client.create_run(registry.store.experiment_id).info.run_id
    files = Path(local_path(registry.artifacts_uri(run)))
    shutil.copytree(local_path(registry.artifacts_uri(first.run_id)), files, dirs_exist_ok=True)
    manifest = files / MANIFEST
    manifest.write_text(manifest.read_text() + " " * (1 + int(run[:3], 16)))
    if damaged:
        with (files / "exports" / "onnx" / "model_int8.onnx").open("ab") as file:
            file.write(b"x")
    tags = {DIGEST: manifest_digest(manifest), BITS: "1.0"}
    made = client.create_model_version(
        registry.name, source, run, tags=tags, model_id=source.split("/")[-2]
    )
    return str(made.version)


def crown(root: Path, number: str) -> None:
    """Make that version champion, as the last act of a promotion does."""
    registry = registry_of(root)
    registry.store.client.set_registered_model_alias(registry.name, CHAMPION, number)
