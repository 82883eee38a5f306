"""What tests of promotion and rollback ask of a checkout."""

import shutil

from minigpt.data.document import read_documents
from minigpt.registry.config import GateConfig
from minigpt.registry.lineage.index import write_index
from minigpt.registry.promotion.evaluation_set import write_evaluation_set
from minigpt.registry.refs import find_version
from minigpt.registry.versions import DIGEST, TAKEN_DOWN
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


def add_files(world, root, made, keeps=True):
    """As `sync`, without the model: it is version 1's."""
    shutil.rmtree(made, ignore_errors=True)
    registry = world.registry
    for name in ("metrics", "results", "release", "models"):
        shutil.copytree(root / name, made / name)
    write_index(made, read_documents(root / "data/documents"))
    if keeps:
        write_evaluation_set(root, made)
    run = registry.store.client.create_run(registry.store.experiment_id).info.run_id
    registry.store.client.log_artifacts(run, str(made))
    first = find_version(world.registry, "1")
    source = registry.store.client.get_model_version_download_uri(NAME, "1")
    model = source.split("/")[-2]
    entry = registry.store.client.create_model_version(
        NAME, source, run, tags={DIGEST: first.digest}, model_id=model
    )
    return find_version(world.registry, str(entry.version))
