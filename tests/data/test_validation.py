import json
import re

import pytest

from minigpt.data.checks import read_dropped
from minigpt.data.config import Bounds, ValidateParams, Validation
from minigpt.data.document import COLUMNS, DOCUMENTS, read_documents, write_documents, write_rows
from minigpt.data.validation import DATA_DOCS, validate
from minigpt.digest import digest
from minigpt.errors import DataError
from minigpt.files import write_json

SMALL = Validation(
    pretrain_bytes=Bounds(min=100, max=20_000), finetune_bytes=Bounds(min=100, max=20_000)
)


@pytest.fixture
def go(workspace, run):
    """Write documents as download does, validate them, give the metrics."""
    data = workspace / "data"

    def go(documents, validation=SMALL):
        write_documents(data / "raw" / DOCUMENTS, documents)
        entry = {"licence": "public domain", "attribution": None, "sha256": "a" * 64}
        kinds = {"pretrain-source": "package", "finetune-source": "local"}
        write_json(
            data / "raw" / "licences.json", {k: entry | {"kind": v} for k, v in kinds.items()}
        )
        params = ValidateParams(validate=validation)
        outs = (data / "documents", data / "dropped.parquet", data / "validation.json")
        return validate(data / "raw", *outs, params, run)

    return go


def test_good_documents_go_through_unchanged(go, documents, workspace, run):
    metrics = go(documents)
    assert read_documents(workspace / "data/documents") == read_documents(workspace / "data/raw")
    assert run.said[-1] == "15 of 15 expectations hold"
    assert metrics["documents"] == 12
    assert metrics["expectations"] == {"evaluated": 15, "stated": 15, "successful": 15}
    assert metrics["sources"]["pretrain-source"]["documents"] == 6


def test_licences_name_the_archive_but_not_a_folder_s(go, documents, workspace):
    go(documents)
    licences = json.loads((workspace / "data/documents/licences.json").read_text())
    assert licences["pretrain-source"]["archive"] == "a" * 64
    assert licences["finetune-source"]["archive"] is None


def test_what_is_dropped_is_said_and_changes_no_byte_of_the_rest(
    go, documents, change, workspace, run
):
    go(documents)
    before = digest(workspace / "data/documents")
    extra = [
        change(documents[0], doc_id="x", work="x", text=""),
        change(documents[0], doc_id="y", work="y"),
    ]
    go([*documents, *extra])
    assert digest(workspace / "data/documents") == before
    assert run.said[-1] == "15 of 15 expectations hold · dropped: 1 duplicate, 1 empty"
    assert [d.doc_id for d in read_dropped(workspace / "data/dropped.parquet")] == ["x", "y"]


def test_the_outs_are_the_same_bytes_again(go, documents, workspace):
    go(documents)
    before = digest(workspace / "data")
    go(documents)
    assert digest(workspace / "data") == before


def test_a_failure_names_documents_and_what_to_do_and_writes_only_the_page(
    go, documents, change, workspace
):
    meta = '{"looks_like": "latin-1", "undecodable": 14, "undecodable_at": 2113}'
    documents[1] = change(documents[1], text=documents[1].text + "\ufffd" * 14, meta=meta)
    with pytest.raises(DataError) as caught:
        go(documents)
    assert str(caught.value) == (
        '1 document fails "text has no replacement characters"\n'
        "  pretrain-source/1.txt   14 characters could not be decoded (first at byte 2,113); is it "
        "latin-1?\n"
        "Nothing after this stage ran. Fix or drop them (params.yaml: validate.exclude: "
        f"[{documents[1].sha256[:12]}]), then run the same command.\n"
        "All expectations: reports/validation/index.html"
    )
    assert sorted(p.name for p in (workspace / "data").iterdir()) == ["local", "raw"]
    page = (workspace / DATA_DOCS).read_text()
    assert "pretrain-source/1.txt" in page
    assert "fails" in page


def test_the_advice_of_a_failure_mends_it(go, documents, change):
    documents[1] = change(documents[1], text=documents[1].text + "\ufffd")
    with pytest.raises(DataError) as caught:
        go(documents)
    digests = re.search(r"validate\.exclude: \[(.+)\]", str(caught.value)).group(1)
    assert go(documents, SMALL.replace(exclude=(digests,)))["documents"] == 11


def test_many_failing_documents_are_named_in_part(go, documents):
    with pytest.raises(DataError, match=r"12 documents fail .no document is giant.") as caught:
        go(documents, SMALL.replace(max_document_bytes=10))
    lines = str(caught.value).splitlines()
    assert len([line for line in lines if line.startswith("  ")]) == 11
    assert lines[11] == "  … and 2 more"


def test_a_failure_of_all_documents_together_says_what_was_found(go, documents):
    with pytest.raises(DataError, match="the documents fail") as caught:
        go(documents, SMALL.replace(pretrain_bytes=Bounds(min=1_000_000, max=2_000_000)))
    size = sum(d.n_bytes for d in documents if d.role == "pretrain")
    assert f"  found {size:,}, expected 1,000,000 to 2,000,000" in str(caught.value)
    assert "(params.yaml: sources, validate)" in str(caught.value)


def test_a_missing_split_is_named(go, documents):
    with pytest.raises(DataError, match="none in: test"):
        go([d for d in documents if (d.role, d.split) != ("finetune", "test")])


@pytest.mark.parametrize("documents", [[]])
def test_no_documents_fail(go, documents):
    with pytest.raises(DataError, match=r"there are documents, and not too many.\n  found 0"):
        go(documents)


def test_other_columns_fail_with_both_named(go, documents, workspace, run):
    go(documents)
    write_rows(workspace / "data/raw" / DOCUMENTS, {name: ["x"] for name in COLUMNS[1:]})
    with pytest.raises(
        DataError, match=r"the columns are those of a document.\n  found text, source"
    ):
        validate(workspace / "data/raw", *(workspace / n for n in "abc"), ValidateParams(), run)


def test_a_missing_input_says_what_to_run(workspace, run):
    with pytest.raises(DataError, match="Run: dvc repro"):
        validate(workspace / "none", *(workspace / n for n in "abc"), ValidateParams(), run)
