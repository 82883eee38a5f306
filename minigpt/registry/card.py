"""The model card: what it was made from, what it reaches, what it is not. Hugging Face's form."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from minigpt.data.sources import on_hub
from minigpt.registry.lineage.record import Record, SourceRecord
from minigpt.roles import FINETUNE, PRETRAIN, final_model

LIMITS = """\
A model of this size knows the sound of its texts and little else: it states no facts, follows no
instructions and repeats what its sources thought and said in their time. It has no safety training.
Do not show what it writes as the words of the authors it learned from."""


USE = """\
In the checkout MLflow finds the store by itself; elsewhere: `export MLFLOW_TRACKING_URI=sqlite:////…/mlflow.db`

```python
model = mlflow.pyfunc.load_model("models:/{name}/{version}")
model.predict(["My fellow citizens"], params={{"max_tokens": 100, "seed": 0}})
```
```sh
mlflow models serve -m models:/{name}/{version} -p 5001
curl localhost:5001/invocations -H 'Content-Type: application/json' \\
  -d '{{"inputs": ["My fellow citizens"], "params": {{"max_tokens": 100, "seed": 0}}}}'
```"""

FETCH = """\
```sh
mlflow artifacts download -r {run} -a exports -d .  # one of them: -a {folder}
```"""

PROOF = """\
{tree}, manifest sha256 `{digest}`.

release/manifest.json has a digest of every output, release/files.json of every file;
release/provenance.dsse.json states every file and what it was made from.

```
minigpt verify {version}              # rebuild it from its sources and compare every byte
minigpt verify {version} --signature  # check the signed statement against every file
minigpt lineage {version}             # where every byte of it came from
```"""

DESCRIBED = 5000  # characters that MLflow's column holds
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CardFacts:
    """What a card says; nothing in it is written by hand."""

    version: str
    """The number it is registered under."""
    record: Record
    """Where it comes from."""
    parameters: int
    params: Mapping[str, Any]
    """params.yaml."""
    evaluation: Mapping[str, Any]
    """results/evaluate.json."""
    quantization: Mapping[str, Any]
    """results/quantize.json."""
    exports: Mapping[str, Any]
    """results/export.json."""
    run: str
    """The MLflow run that holds its files."""
    folders: Sequence[str]
    """What of it was exported: exports/hf …"""


def render(facts: CardFacts) -> str:
    """The card as Markdown with its metadata in front."""
    record = facts.record
    tree = f"Commit `{record.commit}`" + (" with source.patch applied" if record.dirty else "")
    parts = [
        f"---\n{yaml.safe_dump(metadata(facts), sort_keys=False, allow_unicode=True)}---",
        f"# {record.name} {facts.version}",
        f"A GPT of {facts.parameters:,} parameters, trained on {trained_on(record)}.",
        "## Data",
        _table(
            ("source", "used to", "licence", "documents (train, val, test)", "from"),
            map(_source, record.sources),
        ),
        _archives(record.sources),
        *_credits(facts.params),
        "Which document is in which split, with its sha256: release/documents.parquet.",
        "## Figures",
        "Bits per byte on the test works, lower is better.",
        _figures(facts),
        _sizes(facts),
        "## Parameters",
        f"```yaml\n{_chosen(facts.params)}```",
        f"All of them: params.yaml (sha256 `{record.params_sha256}`).",
        "## Machine",
        _machine(record.machine),
        "## Use",
        USE.format(name=record.name, version=facts.version),
        *_exports(facts),
        "## Limits",
        LIMITS,
        "## Where it comes from",
        PROOF.format(tree=tree, digest=record.digest, version=facts.version),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def description(card: str) -> str:
    """The card as MLflow shows it beside the version: without metadata, as long as it may be."""
    return card.split("---\n", 2)[2].strip()[:DESCRIBED]


def metadata(facts: CardFacts) -> dict[str, Any]:
    """The YAML that Hugging Face reads."""
    sources = facts.record.sources
    languages = sorted({source.lang for source in sources} - {"und", ""})
    hub = sorted({source.place.split(" ")[0] for source in sources if on_hub(source.kind)})
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": source, "type": source, "split": "test"},
            "metrics": [{"type": "bits_per_byte", "value": figures["bits_per_byte"]}],
        }
        for source, figures in sorted(facts.evaluation[final_model(facts.evaluation)].items())
    ]
    return {
        "license": "other",
        "license_name": " and ".join(sorted({source.licence for source in sources})),
        **({"language": languages} if languages else {}),
        **({"datasets": hub} if hub else {}),
        "library_name": "minigpt",
        "pipeline_tag": "text-generation",
        "model-index": [{"name": facts.record.name, "results": results}],
    }


def _source(source: SourceRecord) -> tuple[str, ...]:
    documents = ", ".join(str(source.documents.get(split, 0)) for split in SPLITS)
    return (source.name, source.role, source.licence, documents, f"{source.kind} {source.place}")


def _credits(params: Mapping[str, Any]) -> list[str]:
    """Who is to be named, as params.yaml says it."""
    sources = params.get("sources", {})
    named = [(name, source.get("attribution")) for name, source in sources.items()]
    return [f"{name}: {attribution}" for name, attribution in named if attribution]


def _archives(sources: Iterable[SourceRecord]) -> str:
    rows = [(s.name, file, f"`{sha}`") for s in sources for file, sha in sorted(s.archives.items())]
    return _table(("source", "archive", "sha256"), rows) if rows else ""


def _figures(facts: CardFacts) -> str:
    sources = sorted(facts.evaluation["test"])
    final = final_model(facts.evaluation)
    models = {"base model": facts.evaluation[PRETRAIN.model]} if final != PRETRAIN.model else {}
    models["this model"] = facts.evaluation[final]
    rows = [
        (label, *(f"{figures[s]['bits_per_byte']:.3f}" if s in figures else "" for s in sources))
        for label, figures in (models | facts.evaluation["baselines"]).items()
    ]
    return _table(("", *sources), rows)


def _sizes(facts: CardFacts) -> str:
    rows = []
    for name, figures in facts.quantization.items():
        rows.append((name, _megabytes(figures), _loss(figures)))
    return _table(("weights", "size", "bits per byte"), rows)


def _exports(facts: CardFacts) -> list[str]:
    """What other programs load, and how to fetch it; nothing where nothing was exported."""
    if not facts.folders:
        return []
    rows = [
        (name, _megabytes(figures), f"{figures['greatest_logit_difference']:.0e}", _loss(figures))
        for name, figures in sorted(facts.exports.items())
    ]
    return [
        "## For other programs",
        f"Among the files of this version's run: {', '.join(facts.folders)}. Each was compared "
        "with this model, its manifest.json says how, and its example.py shows its use.",
        _table(("export", "size", "largest difference of a logit", "bits per byte"), rows),
        FETCH.format(run=facts.run, folder=facts.folders[0]),
    ]


def _megabytes(figures: Mapping[str, Any]) -> str:
    return f"{figures['bytes'] / 1e6:.1f} MB"


def _loss(figures: Mapping[str, Any]) -> str:
    """What rounding costs on the source where it costs most; empty of what is not rounded."""
    if not (change := figures.get("relative_difference")):
        return ""
    worst = max(change, key=lambda source: change[source])
    text = f"{change[worst]:+z.2%}"
    if interval := figures.get("relative_interval", {}).get(worst):  # older versions have none
        text += f" (95 %: {interval['low']:+z.2%} to {interval['high']:+z.2%})"
    return text


def _chosen(params: Mapping[str, Any]) -> str:
    names = [name for name in ("seed", "tokenizer", "model") if name in params]
    return yaml.safe_dump({name: params[name] for name in names}, sort_keys=False)


def _machine(machine: Mapping[str, Any]) -> str:
    if not machine:
        return "Not recorded."
    rows = [(name, "" if value is None else str(value)) for name, value in sorted(machine.items())]
    return (
        "On a machine with these facts the same bytes come out; elsewhere the same figures, nearly."
        f"\n\n{_table(('', 'trained with'), rows)}"
    )


def names_of(record: Record, role: str) -> str:
    """The sources of a role, for a sentence."""
    return " and ".join(s.name for s in record.sources if s.role == role)


def trained_on(record: Record) -> str:
    """All that it learned from, for a sentence."""
    base, tuned = names_of(record, PRETRAIN.name), names_of(record, FINETUNE.name)
    return f"{base or 'nothing'} and fine-tuned on {tuned}" if tuned else f"{base}; not fine-tuned"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
