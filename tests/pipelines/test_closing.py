import json

import pytest

from pipelines.closing import closing, next_commands, nothing_to_do

EVALUATION = {
    "test": {"plays": {"role": "pretrain"}, "speeches": {"role": "finetune"}},
    "base": {
        "plays": {"bits_per_byte": 2.012, "works": {"a": 2.0, "b": 2.1}},
        "speeches": {"bits_per_byte": 2.61, "works": {"c": 2.6}},
    },
    "finetuned": {
        "plays": {"bits_per_byte": 2.2, "works": {}},
        "speeches": {"bits_per_byte": 1.78, "works": {}},
    },
    "baselines": {
        name: {"plays": {"bits_per_byte": value}, "speeches": {"bits_per_byte": value}}
        for name, value in {
            "ppmd": 2.042, "ngram": 2.475, "xz": 2.53, "zstd": 2.551, "unigram": 4.8, "uniform": 8,
        }.items()
    },
}  # fmt: skip
SIZES = {
    "fp32": {"bytes": 9_400_000},
    "int4": {"bytes": 1_700_000, "relative_difference": {"plays": 0.018, "speeches": 0.01}},
    "int8": {"bytes": 2_600_000, "relative_difference": {"plays": 0.002, "speeches": 0.003}},
}
SAMPLES = [
    {"model": "base", "prompt": "ROMEO:", "text": " no"},
    {"model": "finetuned", "prompt": "My fellow", "text": " citizens,\n  the state " + "is " * 60},
]


def test_the_closing_block_gives_every_figure_its_meaning(tmp_path, monkeypatch):
    for path, value in {
        "results/evaluate.json": EVALUATION,
        "results/quantize.json": SIZES,
        "data/evaluation/samples.json": SAMPLES,
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(value))
    monkeypatch.setattr("sys.executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    lines = closing(
        tmp_path, "minigpt 1 · champion", tmp_path / "reports/index.html", 527, "champion"
    )
    sample = next(line for line in lines if line.startswith("  sample"))
    assert sample.startswith('  sample    "My fellow citizens, the state is is')
    assert sample.endswith(' is …"')
    lines.remove(sample)
    assert lines == [
        "Done in 8:47.",
        "  version   minigpt 1 · champion",
        "  base      2.01 bits per byte on plays (2 held-out works)",
        "            PPMd 2.04 · n-gram 2.48 · xz 2.53 · zstd 2.55 · unigram 4.80 · uniform 8.00",
        "  model     1.78 on speeches (before fine-tuning 2.61) · on plays 2.20",
        "  sizes     fp32 9.4 MB · int8 2.6 MB (+0.3% bits per byte) · "
        "int4 1.7 MB (+1.8% bits per byte)",
        "  report    reports/index.html",
        "",
        "Next",
        '  .venv/bin/minigpt generate "My fellow"  let it write',
        "  .venv/bin/minigpt lineage champion      where every byte of it came from",
        "  make up                                 MLflow, Prefect and the schedule in a browser",
    ]


def test_a_second_run_is_one_line():
    said = nothing_to_do(2, "version 1 is champion", 9.2)
    assert said == "2 of 2 stages unchanged · version 1 is champion · 9 s"


@pytest.mark.parametrize(("ref", "chosen"), [("champion", ""), ("2", " -m 2")])
def test_the_version_that_was_made_is_the_one_that_writes(ref, chosen, tmp_path):
    generate, lineage, _ = next_commands(tmp_path, "My fellow", ref)
    assert f'minigpt generate "My fellow"{chosen}  ' in generate
    assert f"minigpt lineage {ref} " in lineage
