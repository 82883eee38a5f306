"""Three versions with real sources and runs, in a store of their own."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import yaml

from minigpt.data.archives import pack_folder
from minigpt.data.document import write_documents
from minigpt.data.download import read_source
from minigpt.data.pin import Pin
from minigpt.data.sources.local import LocalSource
from minigpt.data.sources.package import PackageSource
from minigpt.digest import file_digest, files_of
from minigpt.files import write_json
from minigpt.graph import read_graph
from minigpt.registry.lineage.record import read_record
from minigpt.registry.refs import find_version
from minigpt.release.document_index import INDEX, RUNS, write_index
from minigpt.release.manifest import manifest
from minigpt.tracking.mlflow_tracker import OUTPUT_DIGEST, STAGE, create_run
from minigpt.tracking.store import local_path, open_store
from tests.registry.checkout import OUTPUTS, Checkout

LETTERS = {
    "1862-03.txt": "My dear sister, the roads are deep in mud.\n\nWe march at dawn.",
    "1862-09.txt": "\r\nThe harvest is in.\r\n",
    "notes.jsonl": '{"text": "a note"}\n{"text": "another note"}\n',
    "held.txt": "This one is held out.",
}
MACHINE = {"platform": "linux-x86_64", "cpu": "avx2", "torch": "2.13.0+cpu", "device": "cpu",
           "threads": 2, "micro_batch": None, "compile": False, "python": "3.11"}  # fmt: skip
GRAPH = {
    "stages": {
        "download": {"cmd": "python -m stages.download", "params": ["sources"],
                     "deps": ["data/local", "stages/pretrain.py"], "outs": ["data/archives"]},
        "pretrain": {"cmd": "python -m stages.pretrain", "deps": ["data/documents"],
                     "outs": ["models/base"], "metrics": ["results/pretrain.json"],
                     "plots": ["plots/pretrain.csv"]},
    }
}  # fmt: skip


def tell(root: Path, leave_out: str | None = None) -> None:
    """Write what a pipeline with two sources leaves in `root`, and its manifest."""
    archives, local = root / "data" / "archives", root / "data" / "local" / "letters"
    for folder in (archives, local, root / "plots"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for name, text in LETTERS.items():
        if name != leave_out:
            (local / name).write_bytes(text.encode())
    (root / "play").mkdir(exist_ok=True)
    (root / "play" / "macbeth_gut.txt").write_text(
        "Macbeth\n\nby William Shakespeare\n\nWhen shall we three"
    )
    (archives / "plays-0.6.tar").write_bytes(pack_folder(root / "play", files_of(root / "play")))
    (archives / "letters.tar").write_bytes(pack_folder(local, files_of(local)))
    pin = Pin(filename="plays-0.6.tar", sha256=file_digest(archives / "plays-0.6.tar"), bytes=9)
    about = {"package": "plays", "version": "0.6", "pin": pin, "licence": "public domain"}
    plays = PackageSource(
        role="pretrain", lang="en", files=("*.txt",), cleaning="shakespeare", **about
    )
    letters = LocalSource(role="finetune", licence="private", path="data/local/letters")
    documents = [
        replace(d, split="train") for d in read_source("plays", plays, archives / pin.filename)
    ]
    documents += [
        replace(d, split="test" if "held" in d.doc_id else "train")
        for d in read_source("letters", letters, archives / "letters.tar")
    ]
    write_documents(root / "data" / "documents" / "documents.parquet", documents)
    write_json(root / "results" / "pretrain.json", {"steps": 20, "machine": MACHINE})
    (root / "plots" / "pretrain.csv").write_text("step,val_loss\n0,1\n")
    sources = {"plays": plays.model_dump(mode="json"), "letters": letters.model_dump(mode="json")}
    (root / "params.yaml").write_text(
        yaml.safe_dump({"seed": 0, "sources": sources, "release": {"name": "minigpt-test"}})
    )
    (root / "dvc.yaml").write_text(yaml.safe_dump(GRAPH, sort_keys=False))
    letters_md5 = file_digest(archives / "letters.tar")[:32]
    download = {
        "cmd": "python -m stages.download",
        "deps": [{"path": "data/local", "md5": f"{letters_md5}.dir"}],
        "params": {"params.yaml": {"sources": sources}},
        "outs": [{"path": "data/archives", "md5": f"{letters_md5}.dir"}],
    }
    pretrain = {
        "cmd": "python -m stages.pretrain",
        "deps": [{"path": "data/documents", "md5": "d0.dir"}],
        "outs": [
            {"path": p, "md5": f"{n}"} for n, p in enumerate(read_graph(root)["pretrain"].outs)
        ],
    }
    # Written by DVC in another order than the graph's.
    (root / "dvc.lock").write_text(
        yaml.safe_dump({"stages": {"pretrain": pretrain, "download": download}})
    )
    release = root / "release"
    write_index(root / "data" / "documents", root / INDEX, root / RUNS)
    made = (*OUTPUTS, "data/archives", "results/pretrain.json", INDEX, RUNS)
    paths = [Path(path) for path in made]
    manifest(
        root,
        paths,
        release / "manifest.json",
        release / "files.json",
        SimpleNamespace(say=lambda _: None),
    )


def ran(root: Path, *stages: str, parent: str | None = None) -> dict[str, str]:
    """Runs as the stages leave them: tagged with the digest of what they wrote."""
    store, graph = open_store(root), read_graph(root)
    runs = {}
    for stage in stages:
        tags = {STAGE: stage, OUTPUT_DIGEST: graph[stage].output_digest(root)}
        runs[stage] = create_run(store, stage, tags, parent)
        store.client.set_terminated(runs[stage])
    return runs


@dataclass(frozen=True)
class Story:
    """Version 1 has no letters; 2 learned from three and held one out; 3 no longer has one."""

    checkout: Checkout
    runs: dict[str, str]

    @property
    def root(self):
        return self.checkout.root

    @property
    def registry(self):
        return self.checkout.registry

    def record(self, number):
        return read_record(self.registry, find_version(self.registry, str(number)))

    def artifacts(self, number):
        run_id = find_version(self.registry, str(number)).run_id
        return local_path(self.registry.store.client.get_run(run_id).info.artifact_uri)
