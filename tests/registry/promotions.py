"""What tests of promotion and rollback ask of a checkout."""

import shutil

from minigpt.digest import file_digest, text_digest
from minigpt.files import write_json
from minigpt.registry.config import GateConfig
from minigpt.registry.refs import find_version
from minigpt.registry.versions import DIGEST, TAKEN_DOWN
from minigpt.release.manifest import (
    MANIFEST,
    FileEntry,
    FileList,
    Manifest,
    load_files,
    load_manifest,
    manifest_digest,
)
from minigpt.tracking.store import local_path
from tests.registry.logs import whole_log

NAME = "minigpt-test"
GATE = GateConfig()


def champion(checkout):
    return find_version(checkout.registry, "champion").version


def history(checkout):
    """(kind, version, champion before) of every event, from a log whose chain holds."""
    events = whole_log(checkout.registry)
    return [(event.kind, event.version, event.before) for event in events]


def take_down(checkout, number):
    about = '{"documents": ["5f1c"], "reason": "its author asked", "at": "2026-11-24T10:00:00"}'
    client = checkout.registry.store.client
    client.set_model_version_tag(NAME, number, TAKEN_DOWN, about)


def reseal(registry, version, *paths):
    """The version that whoever builds it with these files as they are now would register."""
    folder = local_path(registry.artifacts_uri(version.run_id))
    listed = {entry.path: entry for entry in load_files(folder / "release/files.json").files}
    for path in paths:
        file = folder / path
        sha256 = file_digest(file)
        listed[path] = FileEntry(path=path, size=file.stat().st_size, sha256=sha256)
    digests = load_manifest(folder / MANIFEST).digests
    for out in digests:
        inside = {
            p.removeprefix(f"{out}/"): e.sha256
            for p, e in listed.items()
            if p.startswith(f"{out}/")
        }
        lines = text_digest(f"{sha256}  {path}" for path, sha256 in sorted(inside.items()))
        digests[out] = listed[out].sha256 if out in listed else lines
    write_json(folder / "release/files.json", FileList(files=list(listed.values())).model_dump())
    write_json(folder / MANIFEST, Manifest(digests=digests).model_dump())
    digest = manifest_digest(folder / MANIFEST)
    registry.store.client.set_model_version_tag(version.name, version.version, DIGEST, digest)
    return find_version(registry, f"{version.name}/{version.version}")


def add_files(world, root, made, keeps=True):
    """As `sync`, without the model: it is version 1's."""
    shutil.rmtree(made, ignore_errors=True)
    registry = world.registry
    kept = ("data/evaluation",) if keeps else ()
    for name in ("metrics", "results", "release", "models", "exports", *kept):
        shutil.copytree(root / name, made / name)
    run = registry.store.client.create_run(registry.store.experiment_id).info.run_id
    registry.store.client.log_artifacts(run, str(made))
    source = registry.store.client.get_model_version_download_uri(NAME, "1")
    model = source.split("/")[-2]
    entry = registry.store.client.create_model_version(
        NAME, source, run, tags={DIGEST: manifest_digest(root / MANIFEST)}, model_id=model
    )
    return find_version(world.registry, str(entry.version))
