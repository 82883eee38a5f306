"""Passages: where they are cut, and that nothing is lost or counted twice."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.evaluation.config import WindowConfig
from minigpt.evaluation.passages import (
    LONG,
    byte_rows,
    cut,
    figures,
    model_rows,
    share,
    source_row,
    write_passages,
)
from minigpt.evaluation.perplexity import bits_of_documents, model_score


def test_a_passage_ends_at_the_line_end_nearest_to_what_is_wanted() -> None:
    text = b"aaaa\nbbbb\ncccccccccc\ndd\n"  # lines end at 5, 10, 21, 24
    assert cut(text, 8).tolist() == [0, 10, 24]  # 21 leaves 3, less than half of 8
    assert cut(text, 7).tolist() == [0, 5, 10, 24]


def test_a_line_without_end_is_cut_behind_a_sentence_else_a_blank_else_a_character() -> None:
    sentences = b"Ten bytes. " * 900
    borders = cut(sentences, 100)
    assert all(sentences[:border].endswith(b".") for border in borders[1:-1])
    assert np.diff(borders).max() <= 150
    words = b"tenletters " * 900
    assert all(words[border - 1 : border] == b" " for border in cut(words, 100)[1:-1])
    for line in ("今天天气很好" * 900, "今天天气很好。" * 900, "x" * 90_000):
        data = line.encode()
        borders = cut(data, 100)
        assert "".join(data[a:b].decode() for a, b in pairwise(borders)) == line
        assert np.diff(borders).max() <= 150


def test_a_long_line_is_one_passage_and_no_text_is_none() -> None:
    assert cut(b"x" * 50, 8).tolist() == [0, 50]
    assert cut(b"", 8).tolist() == [0]


@given(text=st.binary(max_size=300), wanted=st.integers(1, 60))
def test_passages_cover_the_text_and_end_at_line_ends(text: bytes, wanted: int) -> None:
    text = text.replace(b"a", b"\n")
    borders = cut(text, wanted)
    assert borders[0] == 0
    assert borders[-1] == len(text)
    assert (np.diff(borders) > 0).all()
    longest = max(map(len, text.splitlines(keepends=True)), default=0)
    if longest <= LONG * wanted:
        assert all(text[b - 1 : b] == b"\n" for b in borders[1:-1])


def test_a_token_across_a_border_is_shared_by_its_bytes() -> None:
    units, bits = np.array([3, 4, 1]), np.array([3.0, 8.0, 5.0])
    np.testing.assert_allclose(share(np.array([0, 4, 8]), units, bits), [3 + 2, 6 + 5])


def test_passages_sum_to_their_documents(tiny_package, documents, tmp_path) -> None:
    window = WindowConfig(length=32, stride=16)
    measurements = bits_of_documents(
        model_score(tiny_package.model), tiny_package.tokenizer, documents, window
    )
    total = figures(write_passages(tmp_path, model_rows("base", measurements, 100)))
    for source in ("plays", "speeches"):
        of_source = [m for m in measurements if m.document.source == source]
        sums = total[source, "base", None]
        assert sums["bits"] == pytest.approx(sum(m.bits.sum() for m in of_source), rel=1e-12)
        assert sums["bytes"] == sum(m.document.n_bytes for m in of_source)
        assert sums["tokens"] == sum(len(m.bits) for m in of_source)
        works = [v for (s, _, work), v in total.items() if s == source and work is not None]
        assert sum(v["bytes"] for v in works) == sums["bytes"]


def test_bits_of_bytes_sum_by_passage(documents, tmp_path) -> None:
    n_bytes = sum(document.n_bytes for document in documents)
    rows = byte_rows("uniform", documents, np.full(n_bytes, 8.0), 100)
    assert all(row["bits"] == pytest.approx(8 * row["bytes"]) for row in rows)
    assert sum(row["bytes"] for row in rows) == n_bytes


def test_a_compressor_has_one_row_a_source(tmp_path) -> None:
    total = figures(write_passages(tmp_path, [source_row("xz", "plays", 10, 25.0)]))
    assert total == {("plays", "xz", None): {"bits": 25.0, "bytes": 10, "tokens": 0}}


def test_the_same_rows_give_the_same_bytes(documents, tmp_path) -> None:
    rows = byte_rows("uniform", documents, np.full(sum(d.n_bytes for d in documents), 8.0), 100)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_passages(tmp_path / name, rows)
    assert (tmp_path / "a/passages.parquet").read_bytes() == (
        tmp_path / "b/passages.parquet"
    ).read_bytes()
