import pytest

from minigpt.data.config import Bounds, Validation
from minigpt.data.document import COLUMNS
from minigpt.data.expectations import all_rules, evaluate, roles_asked
from minigpt.data.language import language_share

SMALL = Validation(
    max_documents=12,
    max_document_bytes=2_500,
    pretrain_bytes=Bounds(min=100, max=20_000),
    finetune_bytes=Bounds(min=100, max=20_000),
)
GERMAN = "Das Schiff, das ich in der Bucht sah, ist nicht das, von dem du mir erzählt hast. " * 20


def failures(documents, validation=SMALL, columns=COLUMNS):
    return [
        (r.name, r.failing) for r in evaluate(list(columns), documents, validation) if not r.success
    ]


def without(documents, role, split):
    return [d for d in documents if (d.role, d.split) != (role, split)]


def replaced(documents, index, new):
    return [*documents[:index], new, *documents[index + 1 :]]


def test_every_expectation_holds_of_good_documents(documents):
    results = evaluate(list(COLUMNS), documents, SMALL)
    assert [r.name for r in results] == [rule.name for rule in all_rules()]
    assert all(r.success for r in results)


def test_nothing_is_asked_of_a_role_that_no_source_has(documents):
    plays = [document for document in documents if document.role == "pretrain"]
    roles = roles_asked(plays)
    results = evaluate(list(COLUMNS), plays, SMALL, roles)
    assert [r.name for r in results] == [rule.name for rule in all_rules(roles)]
    assert not [r.name for r in results if not r.success or r.name.startswith("finetune")]
    assert len(results) == len(all_rules()) - 2


def test_a_role_whose_documents_were_all_dropped_is_asked_for(documents):
    roles = roles_asked(documents)
    kept = [document for document in documents if document.role == "pretrain"]
    failing = {r.name for r in evaluate(list(COLUMNS), kept, SMALL, roles) if not r.success}
    assert failing == {
        "finetune has documents in train, val and test",
        "finetune text is as large as params.yaml says",
    }
    assert roles_asked([]) == ["pretrain"]


PER_DOCUMENT = {
    "every document has an id of its own": lambda d, c: c(d[1], doc_id=d[0].doc_id),
    "every document states its licence": lambda d, c: c(d[1], licence=" "),
    "every role is pretrain or finetune": lambda d, c: c(d[1], role="rest"),
    "every split is train, val or test": lambda d, c: c(d[1], split="dev"),
    "text has no replacement characters": lambda d, c: c(
        d[1], text=d[1].text + "\ufffd", meta='{"looks_like": "latin-1", "undecodable": 1, '
        '"undecodable_at": 2113}'
    ),
    "no document is giant": lambda d, c: c(d[1], text=d[1].text * 3),
    "text is in the language its source states": lambda d, c: c(d[1], text=GERMAN),
    "no work is in two splits": lambda d, c: c(d[1], work=d[5].work),
    "sha256 is the digest of the text": lambda d, c: c(d[1], sha256="0" * 64),
}  # fmt: skip
DETAILS = {
    "text has no replacement characters": "1 character could not be decoded (first at byte 2,113); "
    "is it latin-1?",
    "no work is in two splits": "work '5', here in train",
    "every document states its licence": "no licence; state it in params.yaml: "
    "sources.pretrain-source.licence",
}


@pytest.mark.parametrize("name", list(PER_DOCUMENT))
def test_one_bad_document_fails_one_expectation_and_is_named(documents, change, name):
    bad = PER_DOCUMENT[name](documents, change)
    failed_expectations = failures(replaced(documents, 1, bad))
    assert [failed for failed, _ in failed_expectations] == [name]
    ((_, failing),) = failed_expectations
    assert bad.doc_id in [doc_id for doc_id, _, _ in failing]
    if name in DETAILS:
        assert DETAILS[name] in [detail for _, _, detail in failing]


@pytest.mark.parametrize("role", ["pretrain", "finetune"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_role_without_a_split_fails_one_expectation(documents, role, split):
    failed_expectations = failures(without(documents, role, split))
    assert failed_expectations == [(f"{role} has documents in train, val and test", ())]


@pytest.mark.parametrize("role", ["pretrain", "finetune"])
@pytest.mark.parametrize("bounds", [Bounds(min=15_000, max=20_000), Bounds(min=1, max=5_000)])
def test_a_role_of_another_size_fails_one_expectation(documents, role, bounds):
    failed_expectations = failures(documents, SMALL.replace(**{f"{role}_bytes": bounds}))
    assert failed_expectations == [(f"{role} text is as large as params.yaml says", ())]


def test_no_documents_fail_one_expectation():
    assert failures([]) == [("there are documents, and not too many", ())]


def test_too_many_documents_fail_one_expectation(documents):
    few = SMALL.replace(max_documents=11)
    assert failures(documents, few) == [("there are documents, and not too many", ())]


@pytest.mark.parametrize("columns", [COLUMNS[1:], (*COLUMNS, "more"), COLUMNS[::-1]])
def test_other_columns_fail_one_expectation(documents, columns):
    failed_expectations = failures(documents, columns=columns)
    assert failed_expectations == [("the columns are those of a document", ())]


def test_every_expectation_is_made_to_fail_above():
    tested = {
        *PER_DOCUMENT,
        "there are documents, and not too many",
        "the columns are those of a document",
        *(f"{role} has documents in train, val and test" for role in ("pretrain", "finetune")),
        *(f"{role} text is as large as params.yaml says" for role in ("pretrain", "finetune")),
    }
    assert tested == {rule.name for rule in all_rules()}


def test_a_language_is_told_by_its_commonest_words():
    assert language_share(GERMAN, "de", 100) > 0.4
    assert language_share(GERMAN, "en-GB", 100) < 0.1
    assert language_share("床前明月光疑是地上霜" * 20, "zh", 100) == 1
    assert language_share(GERMAN, "und", 100) is None
    assert language_share("Too short.", "en", 100) is None
