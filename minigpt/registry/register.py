"""Register what release/manifest.json describes, if the store does not hold it. Never promotes."""

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors import safe_open

from minigpt.data.document import read_documents
from minigpt.digest import digest, file_digest, remembered
from minigpt.errors import RegistryError
from minigpt.files import write_json
from minigpt.registry.artifacts import STORED, VALIDATION
from minigpt.registry.card import CardFacts, description, names_of, render, trained_on
from minigpt.registry.checkout import CheckoutState, checkout_state, refuse_other_inputs
from minigpt.registry.lineage.record import ARCHIVES, RECORD, Record, make_record
from minigpt.registry.logged_model import (
    KIND,
    Made,
    library_of,
    log_base,
    log_figures,
    log_model,
)
from minigpt.registry.mutex import only_changer
from minigpt.registry.promotion.gate import main_figure
from minigpt.registry.provenance.keys import signing_key
from minigpt.registry.provenance.provenance import write_envelope
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry
from minigpt.registry.takedown.revoke import revoke_inherited
from minigpt.registry.versions import (
    BITS,
    CHALLENGER,
    COMMIT,
    DIGEST,
    DIRTY,
    MODEL,
    Version,
    list_versions,
)
from minigpt.release.document_index import FACTS
from minigpt.release.manifest import Manifest, load_files, load_manifest, manifest_digest
from minigpt.roles import FINETUNE
from minigpt.tracking import Status
from minigpt.tracking.delivery import deliver_all, run_in_mlflow
from minigpt.tracking.experiment import prepare
from minigpt.tracking.figures import RESULTS, figures, read_figures
from minigpt.tracking.mlflow_tracker import MlflowTracker, create_run, name_version
from minigpt.tracking.origin import origin, run_name
from minigpt.tracking.store_errors import clear_errors, mlflow_errors
from minigpt.yaml12 import read_yaml

MANIFEST, FILES = Path("release/manifest.json"), Path("release/files.json")
BASE = "models/base"
SHAPED_BY = ("seed", "tokenizer", "model", "pretrain")  # what a base model is made from
ABOUT = """\
GPTs trained on {texts}; every version is one build, named by the sha256 of
its manifest. `champion` is the best one so far, `challenger` the newest. Where one comes from:
`minigpt lineage {name}@champion`."""
BESIDE = (VALIDATION, "params.yaml", "dvc.yaml", "dvc.lock")


def register(registry: Registry, journal: str | None = None) -> Version:
    """The version of what was built here: found by its manifest's digest, else registered.

    It becomes `challenger`. `journal` is that of the flow that asks: its run is the parent.

    Raises:
        RegistryError: nothing was built, an output or an input changed since, this is no git
            checkout, the user's key does not open, or the store cannot be opened.
    """
    root, name = registry.root, registry.name
    # The record names the runs that made it; and what waits is to go also where nothing is built.
    deliver_all(root)
    manifest = load_manifest(root / MANIFEST)
    load_files(root / FILES)  # a damaged one is refused before anything is registered
    identity = manifest_digest(root / MANIFEST)
    with remembered(root) as of_file:  # a version that is registered already is only found
        _refuse_changed(root, manifest, of_file)
    parent = run_in_mlflow(root, journal) if journal else None
    with only_changer(registry, name) as lease:
        numbers = [v.version for v in list_versions(registry) if v.digest == identity]
        number = numbers[0] if numbers else _register(registry, manifest, identity, parent)
        lease.refuse_lost()
        revoke_inherited(registry, number)  # also where an earlier registration was cut off here
        with clear_errors(registry.store.uri):
            registry.store.client.set_registered_model_alias(name, CHALLENGER, number)
            name_version(registry.store, [parent] if parent else [], name, number)
    return find_version(registry, number)


def _refuse_changed(root: Path, manifest: Manifest, of_file: Callable[[Path], str]) -> None:
    for path, expected in manifest.digests.items():
        if not (root / path).exists() or digest(root / path, of_file) != expected:
            raise RegistryError(
                f"{path} is not what {MANIFEST.as_posix()} describes. Run: dvc repro"
            )


def _register(registry: Registry, manifest: Manifest, identity: str, parent: str | None) -> str:
    root, name = registry.root, registry.name
    _refuse_changed(root, manifest, file_digest)
    refuse_other_inputs(root)
    state, metrics, key = checkout_state(root), read_figures(root), signing_key()
    results = read_figures(root, folder=RESULTS)
    params = read_yaml((root / "params.yaml").read_text(encoding="utf-8"))
    bits = main_figure(results["evaluate"])
    tags = {
        DIGEST: identity,
        COMMIT: state.commit,
        DIRTY: str(bool(state.patch)).lower(),
        **({} if bits is None else {BITS: str(bits)}),
    }
    with clear_errors(registry.store.uri):
        prepare(registry.store)
        title = run_name("register", name)
        run_id = create_run(registry.store, title, origin(root) | tags, parent)
        status: Status = "FAILED"
        tracker = MlflowTracker(registry.store, run_id)
        try:
            tracker.params(params)
            documents = read_documents(root / "data/documents", FACTS)
            record = make_record(registry, identity, state, documents, parent)
            expected = str(max((int(v.version) for v in list_versions(registry)), default=0) + 1)
            facts = _card_facts(root, record, params, results, manifest, run_id, expected)
            card = render(facts)
            _keep_files(tracker, root, manifest, state, record, card, key)
            model_id = _log_models(registry, run_id, manifest, record, params, figures(metrics))
            _describe(registry, record)
            number = _create_version(registry, name, model_id, run_id, tags, card)
            if number != expected:  # the version of that number was deleted: it stays taken
                card = render(replace(facts, version=number))
                registry.store.client.log_text(run_id, card, "README.md")
                registry.store.client.update_model_version(name, number, description(card))
            status = "FINISHED"
        finally:
            tracker.close(status)
        makers = [stage.run for stage in record.stages if stage.run and stage.version is None]
        name_version(registry.store, [run_id, *makers], name, number)
    return number


def _keep_files(
    tracker: MlflowTracker,
    root: Path,
    manifest: Manifest,
    state: CheckoutState,
    record: Record,
    card: str,
    key: Ed25519PrivateKey | None,
) -> None:
    """Everything that a version is made of, but its model, under its path in the checkout."""
    outputs = [p for p in manifest.digests if p.startswith(STORED) and p != MODEL]
    about = (MANIFEST, FILES, *map(Path, BESIDE))
    for path in (*map(Path, outputs), *about):
        folder = path if (root / path).is_dir() else path.parent
        tracker.artifact(root / path, None if folder == Path() else folder.as_posix())
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        (made / "README.md").write_text(card, encoding="utf-8")
        if state.patch:
            (made / "source.patch").write_bytes(state.patch)
        write_json(made / RECORD, record.model_dump(mode="json"))
        write_envelope(made, record, manifest, root, key)  # last: it names what lies beside it
        tracker.artifact(made)


def _log_models(
    registry: Registry,
    run_id: str,
    manifest: Manifest,
    record: Record,
    params: dict[str, Any],
    figures: dict[str, float],
) -> str:
    """The base and the model that was made of it as MLflow's models, with the figures of each.

    Returns the id of the last one.
    """
    store, root, texts = registry.store, registry.root, names_of(record, FINETUNE.name)
    tracker = MlflowTracker(store, run_id)
    for source in record.sources:
        for archive, sha256 in source.archives.items():
            tracker.dataset(source.name, Path(ARCHIVES, archive), sha256, source.role)

    def made(stage: str, path: str, suffix: str, sections: Sequence[str], about: str) -> Made:
        runs = [maker.run for maker in record.stages if maker.name == stage]
        return Made(
            package=root / path,
            name=f"{registry.name}{suffix}",
            digest=manifest.digests[path],
            runs=[run for run in (*runs, run_id) if run],
            params={name: params[name] for name in sections if name in params},
            about=about,
        )

    models: dict[str, str] = {}
    if texts and BASE in manifest.digests:
        about = f"Before it is tuned on {texts}. Its files: {BASE} in the runs of its versions."
        base = made("pretrain", BASE, "-base", SHAPED_BY, about)
        if model_id := log_base(store, base):
            models |= {"pretrain/": model_id, "evaluate/base/": model_id}
    about = f"Trained on {trained_on(record)}. What it is and is not: the version's page."
    tuned = log_model(
        store, made("finetune", MODEL, "", (*SHAPED_BY, "finetune"), about), library_of(root)
    )
    models |= {"finetune/": tuned, "evaluate/finetuned/": tuned}
    if not texts:  # nothing was fine-tuned: the base is the model
        models |= {"pretrain/": tuned, "evaluate/base/": tuned}
    datasets = {s.name: sha256 for s in record.sources for sha256 in s.archives.values()}
    log_figures(store, run_id, figures, models, datasets)
    return tuned


def _describe(registry: Registry, record: Record) -> None:
    """Make the registered model, and say what it is where nobody has."""
    client, name = registry.store.client, registry.name
    try:
        client.create_registered_model(name)
    except mlflow_errors() as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    entry = client.get_registered_model(name)
    if not entry.description:
        client.update_registered_model(
            name,
            ABOUT.format(name=name, texts=trained_on(record)),
        )
    licences = " and ".join(sorted({source.licence for source in record.sources}))
    for key, value in {"task": KIND, "library": "minigpt", "licence": licences}.items():
        if key not in entry.tags:
            client.set_registered_model_tag(name, key, value)


def _create_version(
    registry: Registry, name: str, model_id: str, run_id: str, tags: dict[str, str], card: str
) -> str:
    # Not `models:/ID`: MLflow would look that up in the process's global store.
    source = registry.store.client.get_logged_model(model_id).artifact_location
    entry = registry.store.client.create_model_version(
        name, source, run_id, tags=tags, description=description(card), model_id=model_id
    )
    # The page of the model names its versions by this; MLflow's server sets it, its client not.
    versions = json.dumps([{"name": name, "version": str(entry.version)}])
    registry.store.client.set_logged_model_tags(model_id, {"mlflow.modelVersions": versions})
    return str(entry.version)


def _card_facts(
    root: Path,
    record: Record,
    params: dict[str, Any],
    results: dict[str, Any],
    manifest: Manifest,
    run_id: str,
    version: str,
) -> CardFacts:
    with safe_open(root / MODEL / "model.safetensors", framework="numpy") as weights:
        parameters = sum(math.prod(weights.get_slice(k).get_shape()) for k in weights.keys())  # noqa: SIM118
    return CardFacts(
        version=version,
        record=record,
        parameters=parameters,
        params=params,
        evaluation=results["evaluate"],
        quantization=results["quantize"],
        exports=results.get("export", {}),
        run=run_id,
        folders=sorted(path for path in manifest.digests if path.startswith("exports/")),
    )
