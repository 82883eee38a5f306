"""`--base own`: tokenizer and base from the text itself, where there is enough of it."""

import pytest

from minigpt.cli import look
from minigpt.errors import DataError
from minigpt.own_text import own_base
from minigpt.own_text.own_base import OWN_BASE_BYTES, SIZES, size_for
from minigpt.own_text.plan import plan_own_text
from minigpt.params import Params, load_params
from minigpt.training.config import Epochs
from tests.letters import letter


@pytest.fixture
def book(tmp_path):
    """A good megabyte, in six works."""
    folder = tmp_path / "book"
    folder.mkdir()
    for part in range(6):
        text = "".join(letter(1000 * part + n) for n in range(60))
        (folder / f"{part}.txt").write_text(text)
    assert sum(file.stat().st_size for file in folder.iterdir()) > OWN_BASE_BYTES
    return folder


def test_the_text_is_the_one_source_and_nothing_is_fine_tuned(root, book, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(look, "project_root", lambda: root)
    look.preset("local", str(book), base="own")
    params = load_params(Params)
    assert params.roles == {"book": "pretrain"}
    assert params.finetune is None
    assert params.release.name == "minigpt-book"
    assert params.tokenizer.vocab_size == SIZES[-1].vocab_size
    assert params.evaluate.samples.prompts == ("\n",)
    look.preset("local", str(book))
    assert load_params(Params).roles == {"shakespeare": "pretrain", "book": "finetune"}


def test_it_is_said_that_there_is_enough(root, book):
    said = "\n".join(plan_own_text(root, book, base="own").said)
    assert "enough for a tokenizer and a base of its own (at least 1.0 MB): yes" in said
    assert "the base" not in said.replace("a tokenizer and a base", "")


def test_too_little_is_refused_with_what_else_can_be_done(root, letters):
    with pytest.raises(DataError) as refused:
        plan_own_text(root, letters, base="own")
    said = str(refused.value)
    assert "kB of text; a tokenizer and a base of its own need at least 1.0 MB" in said
    assert "leave out --base own" in said
    assert "--base NAME takes that of preset NAME" in said
    assert not (root / "data").exists()


@pytest.mark.parametrize("size", SIZES)
def test_every_row_of_the_table_is_allowed(root, book, size, monkeypatch):
    monkeypatch.setattr(own_base, "SIZES", (own_base.Size(1, *list(vars(size).values())[1:]),))
    params = plan_own_text(root, book, base="own").params
    assert params.model.n_embd == size.model["n_embd"]
    assert params.tokenizer.vocab_size == size.vocab_size


def test_more_text_is_gone_over_less_often_and_never_by_a_smaller_model():
    rows = [size_for(n) for n in (1_000_000, 4_000_000, 10_000_000, 10**9)]
    assert [row.passes for row in rows] == sorted((row.passes for row in rows), reverse=True)
    assert [row.model["n_embd"] for row in rows] == sorted(row.model["n_embd"] for row in rows)


def test_the_base_is_trained_by_passes_and_keeps_the_best(root, book):
    training = plan_own_text(root, book, base="own").params.pretrain
    assert training.duration == Epochs(epochs=SIZES[-1].passes, max_steps=None)
    assert (training.keep, training.patience) == ("best", own_base.PATIENCE)
