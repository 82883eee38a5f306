import re

from minigpt.data.checks import dropped
from minigpt.data.config import Bounds, Validation
from minigpt.data.datadocs import render_data_docs
from minigpt.data.document import COLUMNS
from minigpt.data.expectations import all_rules, evaluate
from minigpt.data.validation import judgement_of

SMALL = Validation(
    pretrain_bytes=Bounds(min=100, max=20_000), finetune_bytes=Bounds(min=100, max=20_000)
)


def page(documents, gone=()):
    results = evaluate(list(COLUMNS), documents, SMALL)
    judgement = judgement_of(results, documents, list(gone), len(all_rules()))
    return render_data_docs(judgement, gone)


def test_the_page_needs_no_network(documents):
    text = page(documents)
    assert re.findall(r"https?://|//\w+\.|<script|<link|@import|url\(", text) == []
    assert "15 of 15 expectations hold" in text


def test_the_page_names_what_fails_and_what_was_dropped_and_escapes_it(documents, change):
    documents[1] = change(documents[1], doc_id="<b>1</b>", licence="")
    gone = [dropped(documents[2], "duplicate", "same text as <x>")]
    text = page(documents, gone)
    assert "14 of 15 expectations hold" in text
    assert "&lt;b&gt;1&lt;/b&gt;" in text
    assert "same text as &lt;x&gt;" in text
    assert "<b>" not in text


def test_expectations_that_were_not_asked_are_counted():
    assert "13 more were not asked" in page([])
