"""The Great Expectations suite: what must hold of the documents that are kept.

Three groups, each asked only where the one before holds: the form of the file, that there is any
document at all, and then everything else. Great Expectations sees facts about each document, not
its text, so nothing it keeps or prints can be a whole book.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from minigpt.data.config import Bounds, Validation
from minigpt.data.document import COLUMNS, Document
from minigpt.data.language import language_share
from minigpt.roles import ROLES

Facts = Mapping[str, Any]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Rule:
    """One expectation: its name, how it is made, and how one document's failure reads."""

    name: str
    make: Callable[[Any, Validation], Any]
    """From Great Expectations' expectation classes and our bounds to an expectation."""
    detail: Callable[[Facts, Validation], str] = lambda _facts, _: ""


@dataclass(frozen=True)
class Result:
    """How one expectation came out."""

    name: str
    type: str
    kwargs: dict[str, Any]
    success: bool
    observed: Any
    """What was found, for an expectation about all documents together."""
    failing: tuple[tuple[str, str, str], ...]
    """(doc_id, sha256, detail) of each document that fails, by doc_id."""


def replacement_detail(facts: Facts, _: Validation) -> str:
    """Where decoding went wrong, and a guess why."""
    if "undecodable" not in facts["meta"]:
        count = facts["replacements"]
        why = "it was decoded wrongly before"
        if "line" in facts["meta"]:
            why += ", or spells half a character (\\ud800) or a NUL (\\u0000)"
        return f"{count:,} replacement characters (U+FFFD): {why}"
    count, first = facts["meta"]["undecodable"], facts["meta"]["undecodable_at"]
    return (
        f"{count:,} {'characters' if count > 1 else 'character'} could not be decoded (first at "
        f"byte {first:,}); is it {facts['meta']['looks_like']}?"
    )


def bytes_rule(role: str) -> Rule:
    """The size of all text of a role lies within its pinned bounds."""

    def make(gxe: Any, validation: Validation) -> Any:
        bounds: Bounds = getattr(validation, f"{role}_bytes")
        return gxe.ExpectColumnSumToBeBetween(
            column=f"{role}_bytes", min_value=bounds.min, max_value=bounds.max
        )

    return Rule(f"{role} text is as large as params.yaml says", make)


def splits_rule(role: str) -> Rule:
    """A role has documents to train on and documents held out."""

    def make(gxe: Any, _: Validation) -> Any:
        return gxe.ExpectColumnDistinctValuesToContainSet(column=f"{role}_split", value_set=SPLITS)

    return Rule(f"{role} has documents in train, val and test", make)


FORM = Rule(
    "the columns are those of a document",
    lambda gxe, _: gxe.ExpectTableColumnsToMatchOrderedList(column_list=list(COLUMNS)),
)
COUNT = Rule(
    "there are documents, and not too many",
    lambda gxe, v: gxe.ExpectTableRowCountToBeBetween(min_value=1, max_value=v.max_documents),
)
CONTENT = (
    Rule(
        "every document has an id of its own",
        lambda gxe, _: gxe.ExpectColumnValuesToBeUnique(column="doc_id"),
        lambda facts, _: f"also in {facts['origin']}",
    ),
    Rule(
        "every document states its licence",
        lambda gxe, _: gxe.ExpectColumnValuesToMatchRegex(column="licence", regex=r"\S"),
        lambda facts, _: f"no licence; state it in params.yaml: sources.{facts['source']}.licence",
    ),
    Rule(
        f"every role is {' or '.join(ROLES)}",
        lambda gxe, _: gxe.ExpectColumnValuesToBeInSet(column="role", value_set=list(ROLES)),
        lambda facts, _: f"role {facts['role']!r}",
    ),
    Rule(
        "every split is train, val or test",
        lambda gxe, _: gxe.ExpectColumnValuesToBeInSet(column="split", value_set=list(SPLITS)),
        lambda facts, _: f"split {facts['split']!r}",
    ),
    Rule(
        "text has no replacement characters",
        lambda gxe, v: gxe.ExpectColumnValuesToBeBetween(
            column="replacements", max_value=v.max_replacement_characters
        ),
        replacement_detail,
    ),
    Rule(
        "no document is giant",
        lambda gxe, v: gxe.ExpectColumnValuesToBeBetween(
            column="n_bytes", max_value=v.max_document_bytes
        ),
        lambda facts, v: (
            f"{facts['n_bytes']:,} bytes; validate.max_document_bytes is {v.max_document_bytes:,}"
        ),
    ),
    Rule(
        "text is in the language its source states",
        lambda gxe, v: gxe.ExpectColumnValuesToBeBetween(
            column="language_share", min_value=v.min_language_share
        ),
        lambda facts, v: (
            f"{facts['language_share']:.0%} of its words are common in {facts['lang']}, "
            f"expected {v.min_language_share:.0%}; see sources.{facts['source']}.lang"
        ),
    ),
    Rule(
        "no work is in two splits",
        lambda gxe, _: gxe.ExpectColumnValuesToBeBetween(column="work_splits", max_value=1),
        lambda facts, _: f"work {facts['work']!r}, here in {facts['split']}",
    ),
    Rule(
        "sha256 is the digest of the text",
        lambda gxe, _: gxe.ExpectColumnValuesToBeInSet(column="sha256_holds", value_set=[1]),
        lambda facts, _: f"another text than the one with sha256 {facts['sha256'][:12]}",
    ),
)
"""What is asked of documents once there are some, whatever their roles."""


def roles_asked(raw: Iterable[Document]) -> list[str]:
    """The roles that must have text, by all documents of a project, also those to be dropped."""
    used = {document.role for document in raw}
    return [role.name for role in ROLES.values() if not role.optional or role.name in used]


def all_rules(roles: Iterable[str] = ROLES) -> list[Rule]:
    """Every expectation, in the order they are asked."""
    of_roles = [rule(role) for role in roles for rule in (splits_rule, bytes_rule)]
    return [FORM, COUNT, *CONTENT, *of_roles]


def evaluate(
    columns: list[str],
    documents: list[Document],
    validation: Validation,
    roles: Iterable[str] = ROLES,
) -> list[Result]:
    """Ask everything of `documents`, out of a file with `columns`; stop at a group that fails.

    `roles`: those that must have text.
    """
    import pandas as pd

    facts = [facts_of(document, validation) for document in documents]
    add_splits_per_work(facts)
    empty = pd.DataFrame({name: [] for name in columns})
    frame = pd.DataFrame([{k: v for k, v in row.items() if k != "meta"} for row in facts])
    results: list[Result] = []
    form, count, *content = all_rules(roles)
    for rules, table in (([form], empty), ([count], frame), (content, frame)):
        results += ask(rules, table, facts, validation)
        if not all(result.success for result in results):
            break
    return results


def facts_of(document: Document, validation: Validation) -> dict[str, Any]:
    """What the suite is told about one document."""
    data = document.text.encode()
    share = language_share(document.text, document.lang, validation.min_language_words)
    row: dict[str, Any] = {name: getattr(document, name) for name in COLUMNS if name != "text"}
    row |= {
        "meta": document.facts,
        "n_bytes": len(data),
        "replacements": document.text.count("\ufffd"),
        "language_share": share,
        "sha256_holds": int(hashlib.sha256(data).hexdigest() == document.sha256),
    }
    for role in ROLES:
        mine = document.role == role
        row |= {f"{role}_bytes": len(data) if mine else 0}
        row |= {f"{role}_split": document.split if mine else None}
    return row


def add_splits_per_work(facts: list[dict[str, Any]]) -> None:
    """In how many splits each document's work is found."""
    splits: dict[tuple[str, str], set[str]] = {}
    for row in facts:
        splits.setdefault((row["source"], row["work"]), set()).add(row["split"])
    for row in facts:
        row["work_splits"] = len(splits[row["source"], row["work"]])


def ask(
    rules: list[Rule], frame: Any, facts: list[dict[str, Any]], validation: Validation
) -> list[Result]:
    """Run Great Expectations over one table; results in the order of the rules."""
    gx = import_gx()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("documents").add_dataframe_asset("documents")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    made = [rule.make(gx.expectations, validation) for rule in rules]
    for rule, expectation in zip(rules, made, strict=True):
        expectation.meta = {"name": rule.name}
    suite = context.suites.add(gx.ExpectationSuite("documents", expectations=made))
    answer = batch.validate(suite, result_format={"result_format": "COMPLETE"})
    by_name = {r.expectation_config.meta["name"]: r.to_json_dict() for r in answer.results}
    return [result_of(rule, by_name[rule.name], facts, validation) for rule in rules]


def result_of(
    rule: Rule, answer: dict[str, Any], facts: list[dict[str, Any]], validation: Validation
) -> Result:
    """Our record of one answer: without ids, times and texts, the same for the same documents."""
    config, result = answer["expectation_config"], answer["result"]
    if answer["exception_info"].get("raised_exception"):
        raise RuntimeError(f"{rule.name}: {answer['exception_info']['exception_message']}")
    rows = [facts[place] for place in result.get("unexpected_index_list") or []]
    failing = [(r["doc_id"], r["sha256"], rule.detail(r, validation)) for r in rows]
    missing = result.get("partial_missing_list")
    return Result(
        name=rule.name,
        type=config["type"],
        kwargs={k: v for k, v in config["kwargs"].items() if k != "batch_id"},
        success=answer["success"],
        observed={"missing": sorted(missing)} if missing else result.get("observed_value"),
        failing=tuple(sorted(failing)),
    )


def import_gx() -> Any:
    """Great Expectations, kept from phoning home and from talking."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations as gx
    import great_expectations.expectations

    return gx
