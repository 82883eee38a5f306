"""The stage validate: drop by rule, ask every expectation, and let through only what holds."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt.data.checks import Dropped, drop, write_dropped
from minigpt.data.config import ValidateParams
from minigpt.data.datadocs import render_data_docs
from minigpt.data.document import (
    COLUMNS,
    DOCUMENTS,
    LICENCES,
    Document,
    read_documents,
    read_licences,
    stored_columns,
    write_documents,
)
from minigpt.data.expectations import Result, all_rules, evaluate
from minigpt.digest import digest
from minigpt.errors import DataError
from minigpt.files import new_folder, rounded, write_json, write_text

if TYPE_CHECKING:
    from minigpt.run import Run

DATA_DOCS = Path("reports/validation/index.html")
NAMED = 10
"""Documents named in the message about one expectation; the page has the others."""

HEADLINES = ("documents", "dropped")


def validate(
    raw: Path, documents: Path, dropped: Path, report: Path, params: ValidateParams, run: "Run"
) -> dict[str, Any]:
    """Write the documents that every later stage reads, what was dropped and how it was judged.

    Returns how many documents, bytes and expectations.

    Raises:
        DataError: an expectation does not hold; nothing is written but reports/validation.
    """
    columns = stored_columns(raw)
    raw_documents = read_documents(raw) if set(COLUMNS) <= set(columns) else []
    run.progress(f"asking {len(all_rules())} expectations of {len(raw_documents):,} documents")
    valid_documents, gone = drop(raw_documents, params.validation)
    results = evaluate(columns, valid_documents, params.validation)
    judgement = judgement_of(results, valid_documents, gone)
    if not judgement["success"]:
        write_text(DATA_DOCS, render_data_docs(judgement, gone))
        raise DataError(failure(results))
    with new_folder(documents) as out:
        write_documents(out / DOCUMENTS, valid_documents)
        write_json(out / LICENCES, licences_of(raw, valid_documents))
    write_dropped(dropped, gone)
    write_json(report, judgement)
    run.dataset("documents", documents, digest(documents), "validated")
    run.say(summary(judgement))
    return counts_of(judgement, valid_documents)


def judgement_of(
    results: list[Result], documents: list[Document], gone: list[Dropped]
) -> dict[str, Any]:
    """The value of data/validation.json: the same for the same documents and bounds."""
    holding = sum(result.success for result in results)
    value = {
        "success": holding == len(results),
        "statistics": {
            "stated": len(all_rules()),
            "evaluated": len(results),
            "successful": holding,
        },
        "documents": len(documents),
        "bytes": sum(document.n_bytes for document in documents),
        "dropped": dict(Counter(entry.reason for entry in gone)),
        "expectations": [
            {
                "name": result.name,
                "type": result.type,
                "kwargs": result.kwargs,
                "success": result.success,
                "observed": result.observed,
                "failing": [
                    {"doc_id": doc_id, "sha256": sha256, "detail": detail}
                    for doc_id, sha256, detail in result.failing
                ],
            }
            for result in results
        ],
    }
    return dict(rounded(value))


def failure(results: list[Result]) -> str:
    """What fails, where, and what to do, for a person."""
    lines, digests, bounds = [], [], False
    for result in results:
        if result.success:
            continue
        if not result.failing:
            bounds = True
            lines += [f'the documents fail "{result.name}"', f"  {observation(result)}"]
            continue
        count = len(result.failing)
        lines.append(f'{count:,} document{"s fail" if count > 1 else " fails"} "{result.name}"')
        width = max(len(doc_id) for doc_id, _, _ in result.failing[:NAMED])
        for doc_id, sha256, detail in result.failing[:NAMED]:
            lines.append(f"  {doc_id:<{width}}   {detail}")
            digests.append(sha256[:12])
        if count > NAMED:
            lines.append(f"  … and {count - NAMED:,} more")
    advice = []
    if digests:
        listed = ", ".join(dict.fromkeys(digests[:3])) + (", …" if len(digests) > 3 else "")
        advice.append(f"Fix or drop them (params.yaml: validate.exclude: [{listed}])")
    if bounds:
        advice.append("Mend the source, or what is asked of it (params.yaml: sources, validate)")
    return "\n".join(
        [
            *lines,
            f"Nothing after this stage ran. {'. '.join(advice)}, then run the same command.",
            f"All expectations: {DATA_DOCS.as_posix()}",
        ]
    )


def observation(result: Result) -> str:
    """What an expectation about all documents found, and what it wanted."""
    if isinstance(result.observed, dict):
        return f"none in: {', '.join(result.observed['missing'])}"
    if isinstance(result.observed, list):
        return f"found {', '.join(result.observed)}"
    low, high = result.kwargs.get("min_value", 0), result.kwargs.get("max_value")
    return f"found {result.observed or 0:,.0f}, expected {low:,.0f} to {high:,.0f}"


def licences_of(raw: Path, documents: list[Document]) -> dict[str, Any]:
    """Source → licence, attribution and sha256 of its pinned archive (None for a local folder)."""
    stated = read_licences(raw)
    origins_of: dict[str, set[str]] = {}
    for document in documents:
        origins_of.setdefault(document.source, set()).add(document.origin.partition(":")[0])
    return {
        name: {
            "licence": stated[name]["licence"],
            "attribution": stated[name]["attribution"],
            # A folder's tar changes with every file in it, kept or not; its documents say the rest.
            "archive": stated[name]["sha256"] if stated[name]["sha256"] in origins else None,
        }
        for name, origins in sorted(origins_of.items())
    }


def summary(judgement: dict[str, Any]) -> str:
    """One line for the table."""
    counts = judgement["statistics"]
    dropped = ", ".join(f"{count:,} {why}" for why, count in sorted(judgement["dropped"].items()))
    line = f"{counts['successful']} of {counts['stated']} expectations hold"
    return f"{line} · dropped: {dropped}" if dropped else line


def counts_of(judgement: dict[str, Any], documents: list[Document]) -> dict[str, Any]:
    """What goes into results/validate.json."""
    by_source: dict[str, dict[str, int]] = {}
    for document in documents:
        entry = by_source.setdefault(document.source, {"documents": 0, "bytes": 0})
        entry["documents"] += 1
        entry["bytes"] += document.n_bytes
    return {
        "expectations": judgement["statistics"],
        "documents": judgement["documents"],
        "bytes": judgement["bytes"],
        "dropped": sum(judgement["dropped"].values()),
        "sources": by_source,
    }
