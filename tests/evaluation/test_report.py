"""The page: complete, self-contained, and safe from what text brings with it."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from minigpt.data.checks import Dropped, write_dropped
from minigpt.data.document import write_documents
from minigpt.errors import DataError
from minigpt.evaluation.passages import write_passages
from minigpt.evaluation.report import read_json, render, seconds, size
from minigpt.files import write_json, write_text

EVIL = "<script>alert('x')</script>"
JUDGEMENT = {
    "success": True,
    "statistics": {"stated": 14, "evaluated": 14, "successful": 14},
    "documents": 12,
    "bytes": 4321,
    "dropped": {"duplicate": 1},
    "expectations": [],
}


def figures(plays: float, speeches: float) -> dict:
    def of(value: float) -> dict:
        return {"bits_per_byte": value, "perplexity_per_token": 20.0, "works": {"work4": value}}

    return {"plays": of(plays), "speeches": of(speeches)}


@pytest.fixture
def built(corpus, tmp_path: Path) -> Path:
    write_documents(tmp_path / "data/documents/documents.parquet", corpus)
    licence = {"licence": "public domain", "attribution": EVIL, "archive": "ab" * 32}
    write_json(tmp_path / "data/documents/licences.json", {"plays": licence, "speeches": licence})
    gone = Dropped("plays/x", "plays", "x", "train", "00", "duplicate", f"same text as {EVIL}")
    write_dropped(tmp_path / "data/dropped.parquet", [gone])
    write_json(tmp_path / "data/validation.json", JUDGEMENT)
    counted = {"documents": 6, "bytes": 2000}
    write_json(tmp_path / "results/validate.json", {"sources": {"plays": counted}})
    train = "step,train_loss,lr\n10,7.1,0.02\n20,5.5,0.02\n"
    write_text(tmp_path / "plots/pretrain/train.csv", train)
    write_text(tmp_path / "plots/pretrain/val.csv", "step,val_loss\n20,5.6\n")
    evaluation = {
        "base": figures(2.012, 2.61),
        "finetuned": figures(2.2, 1.784),
        "baselines": {
            name: {s: {"bits_per_byte": 2.5, "order": 5} for s in ("plays", "speeches")}
            for name in ("ngram", "ppmd")
        },
        "test": {
            "plays": {"bytes": 297482, "role": "pretrain"},
            "speeches": {"bytes": 690379, "role": "finetune"},
        },
    }
    write_json(tmp_path / "results/evaluate.json", evaluation)
    int8 = {
        "bytes": 2_600_000,
        "bits_per_byte": {"plays": 2.21},
        "relative_difference": {"plays": 0.003},
        "greatest_logit_difference": 0.02,
    }
    write_json(tmp_path / "results/quantize.json", {"int8": int8})
    onnx = {"bytes": 9_400_000, "greatest_logit_difference": 1e-5}
    write_json(tmp_path / "results/export.json", {"onnx": onnx})
    rows = [
        {"source": "speeches", "measure": "finetuned", "work": "w", "doc_id": "w", "passage": i,
         "bytes": 1000, "tokens": 300, "bits": bits}
        for i, bits in enumerate((1700.0, 1800.0, 1852.0))
    ]  # fmt: skip
    write_passages(tmp_path / "data/evaluation", rows)
    params = {"params.yaml": {"quantize": {"max_bytes": 60_000}}}
    write_json(tmp_path / "dvc.lock", {"stages": {"quantize": {"cmd": "x", "params": params}}})
    sample = {"model": "base", "prompt": EVIL, "seed": 0, "text": "and & so"}
    write_json(tmp_path / "data/evaluation/samples.json", [sample])
    return tmp_path


@pytest.fixture
def without_fine_tuning(built: Path, corpus) -> Path:
    """The same, of a project that does without."""
    plays = [document for document in corpus if document.role == "pretrain"]
    write_documents(built / "data/documents/documents.parquet", plays)
    evaluation = read_json(built / "results/evaluate.json")
    del evaluation["finetuned"], evaluation["test"]["speeches"], evaluation["base"]["speeches"]
    for baseline in evaluation["baselines"].values():
        del baseline["speeches"]
    write_json(built / "results/evaluate.json", evaluation)
    for part in ("train", "val"):
        write_text(built / f"plots/finetune/{part}.csv", f"step,{part}_loss\n")
    return built


def test_without_fine_tuning_nothing_of_it_is_shown(without_fine_tuning: Path) -> None:
    page = render(without_fine_tuning).read_text()
    assert "bits per byte, base model on plays" in page
    assert "Loss of pretrain" in page
    for word in ("fine-tun", "finetune", "speeches"):
        assert word not in page
    assert '<th class="n">base model</th></tr>' in page


class Links(HTMLParser):
    """Everything that a browser would load or follow, and which tags there are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]


def test_every_part_is_there(built: Path) -> None:
    page = render(built, {"download": 4.0, "pretrain": 271.0}).read_text()
    words = " ".join(page.split())
    for expected in (
        "2.01",
        "1.78",
        "before fine-tuning 2.61",
        "PPMd 2.50",
        "fine-tuned model",
        "work4",
        "2.6 MB",
        "9.4 MB",
        "+0.30 %",
        "1.0e-05",
        "public domain",
        "14 of 14 expectations hold",
        "same text as",
        "and &amp; so",
        "4:35 in all",
        "pretrain",
        "3, 1, 2",
    ):
        assert expected in words, expected
    assert page.count("<svg") == 4  # two sources, one curve, the stages' time


def test_a_figure_on_other_text_stands_beside_fp32_on_that_text_and_says_which(built: Path) -> None:
    words = " ".join(re.sub(r"<[^>]*>", "", render(built).read_text()).split())
    # 2.21 / 1.003 = 2.203, while the headline on all of plays is 2.2.
    assert "plays 2.210 against 2.203 (+0.30 %) on 60 kB of each source, at most" in words
    assert "fp32 on the same text" in words
    assert "none of them beside the figures above" in words
    assert re.search(r"speeches 1\.784 bits per byte \(95 %: 1\.7\d+ to 1\.8\d+\)", words), words
    assert re.search(r"95 %: 1\.7\d+ to 1\.8\d+ · before fine-tuning 2\.61", words)


def test_nothing_is_loaded_from_anywhere(built: Path) -> None:
    page = render(built).read_text()
    links = Links(page)
    assert links.links == ["validation/index.html"]
    assert not links.tags & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"https?:|url\(|@import", page)


def test_the_validation_has_a_page_of_its_own(built: Path) -> None:
    page = render(built).parent / "validation/index.html"
    assert "14 of 14 expectations hold" in page.read_text()


def test_what_users_wrote_is_text_not_markup(built: Path) -> None:
    page = render(built).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4  # an attribution a source, a dropped text, a prompt


@pytest.mark.parametrize("missing", ["data", "results", "plots"])
def test_a_stage_that_has_not_run_leaves_its_part_out(built: Path, missing: str) -> None:
    (built / missing).rename(built / "elsewhere")
    assert "</html>" in render(built).read_text()


def test_before_anything_ran_the_page_says_what_to_run(tmp_path: Path) -> None:
    assert "make run" in render(tmp_path).read_text()


def test_the_same_outputs_give_the_same_page(built: Path) -> None:
    assert render(built, {"a": 1.0}).read_bytes() == render(built, {"a": 1.0}).read_bytes()


def test_a_report_needs_no_torch() -> None:
    code = "import sys, minigpt.evaluation.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_figures_read_like_words() -> None:
    assert [size(n) for n in (999, 2_600_000, 3e9)] == ["999 B", "2.6 MB", "3 GB"]
    assert [seconds(n) for n in (0.4, 59.6, 275)] == ["0:00", "1:00", "4:35"]


def test_figures_with_the_marks_of_a_merge_are_named(tmp_path: Path) -> None:
    (tmp_path / "evaluate.json").write_text("<<<<<<< HEAD\n{}")
    with pytest.raises(DataError, match=r"evaluate\.json: not JSON: .* Run: dvc repro"):
        read_json(tmp_path / "evaluate.json")
