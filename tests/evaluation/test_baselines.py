"""Baselines on text small enough to know what to expect."""

import random

import pytest

from minigpt.evaluation.baselines import (
    NAMES,
    Splits,
    joined,
    measure_baselines,
    ppmd_size,
    xz_size,
    zstd_size,
)
from minigpt.evaluation.config import EvaluateConfig, PpmdConfig, XzConfig, ZstdConfig
from minigpt.evaluation.passages import figures, write_passages

SMALL = EvaluateConfig(
    xz=XzConfig(preset=6, dict_mb=1),
    zstd=ZstdConfig(level=19, window_log=20),
    ppmd=PpmdConfig(order=6, memory_mb=4),
)
NOISE = random.Random(0).randbytes(4000)


def splits_of(corpus, source):
    by_split = {
        s: [d for d in corpus if (d.source, d.split) == (source, s)]
        for s in ("train", "val", "test")
    }
    return Splits(**by_split)


def test_every_baseline_has_every_byte_of_every_source(corpus, tmp_path) -> None:
    sources = {name: splits_of(corpus, name) for name in ("plays", "speeches")}
    baselines = measure_baselines(sources, SMALL, threads=2)
    total = figures(
        write_passages(tmp_path, [row for baseline in baselines.values() for row in baseline.rows])
    )
    assert {name for _, name, _ in total} == set(NAMES)
    for source, splits in sources.items():
        per_byte = {
            n: total[source, n, None]["bits"] / total[source, n, None]["bytes"] for n in NAMES
        }
        assert {total[source, n, None]["bytes"] for n in NAMES} == {len(joined(splits.test))}
        assert per_byte["uniform"] == 8
        # Text that repeats four lines: counting helps, longer contexts and matches help more.
        assert per_byte["ngram"] < per_byte["unigram"] < 8
        assert max(per_byte[n] for n in ("xz", "zstd", "ppmd")) < per_byte["unigram"]


def test_the_order_is_the_best_on_validation(corpus) -> None:
    memorised = splits_of(corpus, "plays")
    known = Splits(memorised.train, memorised.train[:1], memorised.test)
    strange = Splits(memorised.train, [], memorised.test)
    assert measure_baselines({"plays": known}, SMALL, threads=1)["plays"].order == 8
    assert measure_baselines({"plays": strange}, SMALL, threads=1)["plays"].order == 1


@pytest.mark.parametrize("size", [zstd_size, ppmd_size])
def test_a_compressor_gains_from_what_it_was_primed_with(size) -> None:
    assert size(NOISE, NOISE[:1000], SMALL) < 50  # a copy
    assert size(b"", NOISE[:1000], SMALL) > 990  # noise cannot be compressed


def test_xz_counts_a_whole_file() -> None:
    assert (
        0 < xz_size(NOISE + NOISE[:1000], SMALL) - xz_size(NOISE, SMALL) < 100
    )  # a copy, and frames


def test_baselines_do_not_depend_on_threads(corpus) -> None:
    sources = {"plays": splits_of(corpus, "plays")}
    assert measure_baselines(sources, SMALL, 1) == measure_baselines(sources, SMALL, 3)
