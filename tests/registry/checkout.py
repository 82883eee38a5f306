"""A tiny checkout whose outputs were made by the library, without DVC, and a store with it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import yaml

from minigpt.data.document import DOCUMENTS, Document, read_documents, write_documents
from minigpt.digest import text_digest
from minigpt.evaluation.passages import write_passages
from minigpt.files import write_json
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.package import save_package
from minigpt.registry.registry import Registry
from minigpt.release.document_index import INDEX, RUNS, write_index
from minigpt.release.manifest import manifest
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig

NAME = "minigpt-test"
TEXT = "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer. " * 20
DVC = {
    "stages": {
        "pretrain": {
            "cmd": "python -m stages.pretrain",
            "deps": ["stages"],
            "outs": ["models/base"],
        }
    }
}
PASSAGES = 25
PASSAGE_BYTES = 400
WINDOW = None
"""Tokens that the models saw at once; None: all."""
OUTPUTS = [
    "models/base",
    "models/finetuned",
    "exports/hf",
    "data/documents",
    "data/evaluation",
    "metrics/evaluate.json",
    "results/evaluate.json",
    "results/export.json",
    "results/quantize.json",
]


def evaluation(base=2.0, tuned=1.8, plays=2.2):
    """results/evaluate.json of a model that meets the conditions; `tuned` None: of a base."""

    def bits(value):
        return {"bits_per_byte": value}

    if tuned is None:
        return {
            "test": {"plays": {"role": "pretrain"}},
            "base": {"plays": bits(base)},
            "baselines": {"unigram": {"plays": bits(4.8)}, "ngram": {"plays": bits(2.47)}},
        }
    return {
        "test": {"plays": {"role": "pretrain"}, "speeches": {"role": "finetune"}},
        "base": {"plays": bits(base), "speeches": bits(2.6)},
        "finetuned": {"plays": bits(plays), "speeches": bits(tuned)},
        "baselines": {
            "unigram": {"plays": bits(4.8), "speeches": bits(4.5)},
            "ngram": {"plays": bits(2.47) | {"order": 5}, "speeches": bits(2.3)},
        },
    }


def passages(figures):
    """Rows of passages.parquet whose sums are the figures of results/evaluate.json."""
    swing = [0.2 * ((7 * i) % PASSAGES / (PASSAGES - 1) - 0.5) for i in range(PASSAGES)]
    return [
        {
            "source": source, "measure": measure, "work": "test", "doc_id": f"{source}/test",
            "passage": i, "bytes": PASSAGE_BYTES, "tokens": 100,
            "bits": PASSAGE_BYTES * (values["bits_per_byte"] + swing[i]),
        }
        for measure in ("base", "finetuned") if measure in figures
        for source, values in figures[measure].items()
        for i in range(PASSAGES)
    ]  # fmt: skip


@dataclass(frozen=True)
class Checkout:
    root: Path

    @property
    def registry(self):
        return Registry(self.root, NAME)

    def git(self, *arguments):
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=self.root, check=True, capture_output=True
        )

    def build(self, **figures):
        """Write metrics with these figures, and the manifest of everything."""
        judged, evaluated = self.root / "data" / "evaluation", evaluation(**figures)
        for folder in ("metrics", "results"):
            write_json(self.root / folder / "evaluate.json", evaluated)
        write_passages(judged, passages(evaluated))
        samples = [("base", "a base model"), ("finetuned", f"a text of {figures or 'version 1'}")]
        write_json(
            judged / "samples.json",
            [
                {"model": model, "prompt": "To be", "seed": 1, "text": text}
                for model, text in samples
                if model in evaluated
            ],
        )
        write_json(judged / "settings.json", {"window": WINDOW, "stride": None, "batch": 4})
        documents, release = self.root / "data" / "documents", self.root / "release"
        write_documents(judged / DOCUMENTS, read_documents(documents, split="test"))
        write_index(documents, self.root / INDEX, self.root / RUNS)
        run = SimpleNamespace(say=lambda _: None)
        paths = [Path(output) for output in (*OUTPUTS, INDEX, RUNS)]
        manifest(self.root, paths, release / "manifest.json", release / "files.json", run)


def make(root: Path) -> Checkout:
    config = TokenizerConfig(vocab_size=300)
    tokenizer = Tokenizer.train([TEXT], config)
    tokenizer.save(root / "models" / "tokenizer")
    model_config = ModelConfig(n_layer=1, n_head=1, n_kv_head=1, n_embd=16, head_dim=16, mlp_dim=16)
    model = build_model(model_config, tokenizer.vocab_size, seed=1)
    for name in ("base", "finetuned"):
        save_package(root / "models" / name, model, root / "models" / "tokenizer")
    (root / "exports" / "hf").mkdir(parents=True)
    (root / "exports" / "hf" / "config.json").write_text("{}")
    documents = [
        Document(
            doc_id=f"{source}/{split}", text=split, source=source, role=role, work=split, lang="en",
            licence="public domain", split=split, sha256=text_digest([split]), origin="-",
        )
        for source, role in (("plays", "pretrain"), ("speeches", "finetune"))
        for split in ("train", "val", "test")
    ]  # fmt: skip
    write_documents(root / "data" / "documents" / "documents.parquet", documents)
    bits = {"plays": 2.0, "speeches": 1.8}
    write_json(root / "results" / "quantize.json", {"fp32": {"bytes": 9000, "bits_per_byte": bits}})
    exports = {
        "hf": {"bytes": 9000, "greatest_logit_difference": 1e-6},
        "onnx_int8": {
            "bytes": 3000,
            "greatest_logit_difference": 0.4,
            "relative_difference": {"plays": 0.004},
        },
    }
    write_json(root / "results" / "export.json", exports)
    (root / "params.yaml").write_text(yaml.safe_dump({"seed": 0, "model": {"n_layer": 1}}))
    (root / "dvc.yaml").write_text(yaml.safe_dump(DVC))
    (root / "dvc.lock").write_text("{}")
    write_json(root / "data" / "validation.json", {"success": True})
    (root / "stages").mkdir()
    (root / "stages" / "pretrain.py").write_text("# code\n")
    ignored = (".work", "models", "exports", "data", "release", "mlruns", "mlflow.db*")
    (root / ".gitignore").write_text("\n".join(f"/{name}" for name in ignored))
    checkout = Checkout(root)
    checkout.git("init", "-q")
    checkout.build()
    checkout.git("add", "-A")
    checkout.git("commit", "-q", "-m", "start")
    return checkout
