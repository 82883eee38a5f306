"""The model card: what it was made from, what it reaches, what it is not. Hugging Face's form."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

LIMITS = """\
A model of this size knows the sound of its texts and little else: it states no facts, follows no
instructions and repeats what its sources thought and said in their time. It has no safety training.
Do not show what it writes as the words of the authors it learned from."""


USE = """\
```python
model = mlflow.pyfunc.load_model("models:/{name}@champion")  # or /VERSION; from any folder
model.predict(["My fellow citizens"], params={{"max_tokens": 100, "seed": 0}})
```"""


@dataclass(frozen=True)
class SourceFacts:
    """One source of text."""

    name: str
    role: str
    lang: str
    licence: str
    documents: Mapping[str, int]
    """Documents in each split."""


@dataclass(frozen=True)
class CardFacts:
    """What a card says; nothing in it is written by hand."""

    name: str
    digest: str
    commit: str
    dirty: bool
    parameters: int
    sources: Sequence[SourceFacts]
    params: Mapping[str, Any]
    """params.yaml."""
    evaluation: Mapping[str, Any]
    """metrics/evaluate.json."""
    quantization: Mapping[str, Any]
    """metrics/quantize.json."""


def render(facts: CardFacts) -> str:
    """The card as Markdown with its metadata in front."""
    tree = f"commit `{facts.commit}`" + (" with source.patch applied" if facts.dirty else "")
    parts = [
        f"---\n{yaml.safe_dump(metadata(facts), sort_keys=False, allow_unicode=True)}---",
        f"# {facts.name}",
        f"A GPT of {facts.parameters:,} parameters, trained on "
        f"{_names(facts, 'pretrain')} and fine-tuned on {_names(facts, 'finetune')}.",
        "## Data",
        _table(
            ("source", "used to", "licence", "documents (train, val, test)"),
            (
                (s.name, s.role, s.licence, ", ".join(str(s.documents.get(k, 0)) for k in SPLITS))
                for s in facts.sources
            ),
        ),
        "Which document is in which split, with its sha256: data/documents.parquet.",
        "## Figures",
        "Bits per byte on the test works, lower is better.",
        _figures(facts),
        _sizes(facts),
        "## Parameters",
        f"```yaml\n{_chosen(facts.params)}```",
        "All of them: params.yaml.",
        "## Use",
        USE.format(name=facts.name),
        "## Limits",
        LIMITS,
        "## Where it comes from",
        f"{tree}, manifest sha256 `{facts.digest}`: release/manifest.json has a digest of every "
        "output, release/files.json of every file.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


SPLITS = ("train", "val", "test")
MODELS = {"base": "base model", "finetuned": "this model"}


def metadata(facts: CardFacts) -> dict[str, Any]:
    """The YAML that Hugging Face reads."""
    licences = sorted({source.licence for source in facts.sources})
    languages = sorted({source.lang for source in facts.sources} - {"und"})
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": source, "type": source, "split": "test"},
            "metrics": [{"type": "bits_per_byte", "value": found["bits_per_byte"]}],
        }
        for source, found in sorted(facts.evaluation["finetuned"].items())
    ]
    return {
        "license": "other",
        "license_name": " and ".join(licences),
        **({"language": languages} if languages else {}),
        "library_name": "minigpt",
        "pipeline_tag": "text-generation",
        "model-index": [{"name": facts.name, "results": results}],
    }


def _figures(facts: CardFacts) -> str:
    sources = sorted(facts.evaluation["test"])
    models = {label: facts.evaluation[name] for name, label in MODELS.items()}
    rows = [
        (label, *(f"{found[s]['bits_per_byte']:.3f}" if s in found else "" for s in sources))
        for label, found in (models | facts.evaluation["baselines"]).items()
    ]
    return _table(("", *sources), rows)


def _sizes(facts: CardFacts) -> str:
    rows = []
    for name, found in facts.quantization.items():
        change = found.get("relative_difference")
        rows.append(
            (
                name,
                f"{found['bytes'] / 1e6:.1f} MB",
                f"{max(change.values()):+.1%}" if change else "",
            )
        )
    return _table(("weights", "size", "bits per byte"), rows)


def _chosen(params: Mapping[str, Any]) -> str:
    names = [name for name in ("seed", "tokenizer", "model") if name in params]
    return yaml.safe_dump({name: params[name] for name in names}, sort_keys=False)


def _names(facts: CardFacts, role: str) -> str:
    return " and ".join(s.name for s in facts.sources if s.role == role) or "nothing"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
