"""The evaluate stage as a whole, on a random model."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from minigpt.data.document import write_documents
from minigpt.digest import digest
from minigpt.errors import DataError
from minigpt.evaluation.baselines import NAMES
from minigpt.evaluation.config import EvaluateConfig, EvaluateParams, SamplesConfig
from minigpt.evaluation.evaluate import evaluate, read_sources, summarize
from minigpt.evaluation.passages import figures
from minigpt.machine import Machine

PARAMS = EvaluateParams(
    seed=0,
    evaluate=EvaluateConfig(
        passage_bytes=200, samples=SamplesConfig(prompts=("Now is", ""), max_tokens=5)
    ),
)


class Run(SimpleNamespace):
    """What `evaluate` asks of a run."""

    def __init__(self) -> None:
        super().__init__(machine=Machine(threads=1), said=[], progress=lambda text: None)

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def judged(corpus, tiny_package, tuned_package, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    write_documents(folder / "documents/documents.parquet", corpus)
    run = Run()
    paths = (tiny_package.path, tuned_package.path, folder / "documents", folder / "out")
    metrics = evaluate(*paths, PARAMS, run)
    return SimpleNamespace(metrics=metrics, run=run, paths=paths, out=folder / "out")


def test_every_figure_is_a_sum_over_the_passages(judged) -> None:
    table = pq.read_table(judged.out / "passages.parquet").to_pylist()

    def per_byte(**wanted: str) -> float:
        rows = [row for row in table if wanted.items() <= row.items()]
        return sum(row["bits"] for row in rows) / sum(row["bytes"] for row in rows)

    for source in ("plays", "speeches"):
        for model in ("base", "finetuned"):
            scores = judged.metrics[model][source]
            assert scores["bits_per_byte"] == pytest.approx(per_byte(source=source, measure=model))
            assert scores["perplexity_per_token"] > 1
            assert scores["works"] == {
                work: pytest.approx(per_byte(source=source, measure=model, work=work))
                for work in ("work4", "work5")
            }
        for name in NAMES:
            scores = judged.metrics["baselines"][name][source]
            assert scores["bits_per_byte"] == pytest.approx(per_byte(source=source, measure=name))
    assert set(judged.metrics["baselines"]) == set(NAMES)


def test_without_fine_tuning_the_base_alone_is_judged(
    corpus, judged, tiny_package, tmp_path
) -> None:
    plays = [document for document in corpus if document.role == "pretrain"]
    write_documents(tmp_path / "documents/documents.parquet", plays)
    run = Run()
    # The second package is what the stage finetune hands on; nothing reads it.
    paths = (tiny_package.path, tmp_path / "unread", tmp_path / "documents", tmp_path / "out")
    metrics = evaluate(*paths, PARAMS, run)
    assert set(metrics) == {"base", "baselines", "test"}
    assert metrics["base"]["plays"] == judged.metrics["base"]["plays"]
    assert set(metrics["test"]) == {"plays"}
    samples = json.loads((tmp_path / "out/samples.json").read_text())
    assert {sample["model"] for sample in samples} == {"base"}
    assert re.fullmatch(r"base \d\.\d\d bits per byte on plays \(PPMd \d\.\d\d\)", run.said[-1])


def test_of_many_works_the_number_is_kept_and_no_figure_of_each(judged, monkeypatch) -> None:
    monkeypatch.setattr("minigpt.evaluation.evaluate.MOST_WORKS", 1)
    *_, documents, out = judged.paths
    table = pq.read_table(out / "passages.parquet")
    sources = read_sources(documents)
    baselines = {source: SimpleNamespace(order=2) for source in sources}
    metrics = summarize(figures(table), sources, baselines)
    for source in sources:
        assert metrics["test"][source]["works"] == 2
        assert metrics["base"][source]["works"] == {}
        assert (
            metrics["base"][source]["bits_per_byte"]
            == (judged.metrics["base"][source]["bits_per_byte"])
        )
        assert "works" not in judged.metrics["test"][source]


def test_the_last_line_said_sets_each_domain_beside_its_mark(judged) -> None:
    assert re.fullmatch(
        r"base \d\.\d\d bits per byte on plays \(PPMd \d\.\d\d\) · "
        r"fine-tuned \d\.\d\d on speeches \(base \d\.\d\d\)",
        judged.run.said[-1],
    )


def test_both_models_continue_every_prompt(judged) -> None:
    samples = json.loads((judged.out / "samples.json").read_text())
    assert [(s["model"], s["prompt"], s["seed"]) for s in samples] == [
        ("base", "Now is", 0),
        ("base", "", 1),
        ("finetuned", "Now is", 0),
        ("finetuned", "", 1),
    ]


def test_again_gives_the_same_bytes(judged, tmp_path: Path) -> None:
    base, finetuned, documents, out = judged.paths
    again = evaluate(base, finetuned, documents, tmp_path / "out", PARAMS, Run())
    assert again == judged.metrics
    assert digest(tmp_path / "out") == digest(out)


def test_documents_without_a_test_split_are_refused(judged, corpus, tmp_path: Path) -> None:
    write_documents(tmp_path / "documents.parquet", [d for d in corpus if d.split != "test"])
    with pytest.raises(DataError, match=r"no document is in the test split"):
        evaluate(*judged.paths[:2], tmp_path, tmp_path / "out", PARAMS, Run())
    assert not (tmp_path / "out").exists()
