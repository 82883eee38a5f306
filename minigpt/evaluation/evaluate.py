"""The evaluate stage: each model on each domain, passage by passage, beside baselines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minigpt.data.document import DOCUMENTS, Document, read_documents, write_documents
from minigpt.errors import DataError
from minigpt.evaluation.baselines import Baselines, Splits, measure_baselines
from minigpt.evaluation.config import (
    MEASURED_BY,
    MODELS,
    SAMPLES,
    SETTINGS,
    EvaluateConfig,
    EvaluateParams,
)
from minigpt.evaluation.passages import Row, figures, model_rows, write_passages
from minigpt.evaluation.perplexity import Figures, bits_of_documents, model_score, window_over
from minigpt.evaluation.samples import Sample, write_samples
from minigpt.files import new_folder, write_json
from minigpt.package import Package, load_package
from minigpt.roles import PRETRAIN, ROLES
from minigpt.run import Run

MOST_WORKS = 50
"""Works of a source that have a figure of their own; of more, their number is kept."""

HEADLINES = (
    "base.*.bits_per_byte",
    "finetuned.*.bits_per_byte",
    "baselines.ppmd.*.bits_per_byte",
)


def evaluate(
    base: Path, finetuned: Path, documents: Path, out: Path, params: EvaluateParams, run: Run
) -> dict[str, Any]:
    """Write an evaluation set to `out`; return the figures, all sums over passages.

    The set: the test documents, every passage of them, what the models wrote, how it was measured.
    {base,finetuned}.SOURCE: bits_per_byte, perplexity_per_token, works (where they are
    few); baselines.NAME.SOURCE: bits_per_byte (and the n-gram's order); test.SOURCE: role, bytes.
    Where nothing is fine-tuned there is no `finetuned`: that package is the base.

    Raises:
        DataError: no document is in the test split.
        ParamsError: the window is longer than a model's context.
    """
    run.machine.prepare_torch()
    config, sources = params.evaluate, read_sources(documents)
    device, rows, samples = run.machine.torch_device, list[Row](), list[Sample]()
    paths, used = dict(zip(MODELS, (base, finetuned), strict=True)), roles_in(documents)
    for model in (role.model for role in ROLES.values() if role.name in used):
        package = load_package(paths[model], device=device)
        rows += _model_rows(model, package, sources, config, run)
        samples += write_samples(model, package, config.samples, params.seed)
    run.progress("xz, zstd, PPMd, n-gram")
    baselines = measure_baselines(sources, config, run.machine.threads)
    rows += [row for source in sources for row in baselines[source].rows]
    with new_folder(out) as folder:
        table = write_passages(folder, rows)
        write_json(folder / SAMPLES, samples)
        write_json(folder / SETTINGS, config.model_dump(mode="json", include=set(MEASURED_BY)))
        tests = (document for splits in sources.values() for document in splits.test)
        write_documents(folder / DOCUMENTS, tests)
    results = summarize(figures(table), sources, baselines)
    run.say(headline(results))
    return results


def roles_in(folder: Path) -> set[str]:
    """The roles that the documents of `folder` have, in whatever split."""
    return {document.role for document in read_documents(folder, ("role",))}


def read_sources(folder: Path) -> dict[str, Splits]:
    """The documents by source; a source without test text is left out."""
    by_source: dict[str, dict[str, list[Document]]] = {}
    for document in read_documents(folder):
        splits = by_source.setdefault(document.source, {"train": [], "val": [], "test": []})
        splits[document.split].append(document)
    sources = {name: Splits(**splits) for name, splits in by_source.items() if splits["test"]}
    if not sources:
        raise DataError(
            f"{folder}: no document is in the test split, so there is nothing to judge by. "
            "Hold out works in params.yaml (sources.NAME.splits), then run: dvc repro"
        )
    return sources


def summarize(
    sums: Mapping[tuple[str, str, str | None], Mapping[str, float]],
    sources: Mapping[str, Splits],
    baselines: Mapping[str, Baselines],
) -> dict[str, Any]:
    """The results, from the sums over passages."""
    results: dict[str, Any] = {"baselines": {}, "test": {}}
    for (source, measure, work), total in sums.items():
        figure = Figures(total["bits"], int(total["bytes"]), int(total["tokens"]))
        if measure not in MODELS:
            if work is None:
                place = results["baselines"].setdefault(measure, {}).setdefault(source, {})
                place["bits_per_byte"] = figure.bits_per_byte
            continue
        place = results.setdefault(measure, {}).setdefault(source, {"works": {}})
        if work is None:
            place["bits_per_byte"] = figure.bits_per_byte
            place["perplexity_per_token"] = figure.perplexity_per_token
            results["test"][source] = {"bytes": figure.bytes}
        elif len(sources[source].works) <= MOST_WORKS:
            place["works"][work] = figure.bits_per_byte
    for source, splits in sources.items():
        results["baselines"]["ngram"][source]["order"] = baselines[source].order
        results["test"][source]["role"] = splits.test[0].role
        if len(splits.works) > MOST_WORKS:
            results["test"][source]["works"] = len(splits.works)
    return results


def headline(results: Mapping[str, Any]) -> str:
    """The main figure of each domain beside the one that gives it meaning."""
    parts = []
    for source, about in results["test"].items():
        base = results["base"][source]["bits_per_byte"]
        if about["role"] == PRETRAIN.name:
            ppmd = results["baselines"]["ppmd"][source]["bits_per_byte"]
            parts.append(f"base {base:.2f} bits per byte on {source} (PPMd {ppmd:.2f})")
        else:
            tuned = results["finetuned"][source]["bits_per_byte"]
            parts.append(f"fine-tuned {tuned:.2f} on {source} (base {base:.2f})")
    return " · ".join(parts)


def _model_rows(
    model: str, package: Package, sources: Mapping[str, Splits], config: EvaluateConfig, run: Run
) -> list[Row]:
    documents = [document for splits in sources.values() for document in splits.test]
    bits = bits_of_documents(
        model_score(package.model),
        package.tokenizer,
        documents,
        window_over(package.config, config.window, config.stride, config.batch),
        progress=lambda text: run.progress(f"{model}: {text}"),
    )
    return model_rows(model, bits, config.passage_bytes)
