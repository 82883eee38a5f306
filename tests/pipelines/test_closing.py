import json

import pytest

from pipelines.closing import closing, next_commands, nothing_to_do, prompt_of

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


def write(root, evaluation, sizes, samples):
    for path, value in {
        "results/evaluate.json": evaluation,
        "results/quantize.json": sizes,
        "data/evaluation/samples.json": samples,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(value))


def test_without_fine_tuning_the_base_is_the_model(tmp_path):
    plays = {name: {"plays": by_source["plays"]} for name, by_source in EVALUATION.items()
             if name in ("test", "base")}  # fmt: skip
    baselines = {n: {"plays": by["plays"]} for n, by in EVALUATION["baselines"].items()}
    write(tmp_path, plays | {"baselines": baselines}, SIZES, SAMPLES[:1])
    lines = closing(tmp_path, "minigpt 1", tmp_path / "reports/index.html", 527, "champion")
    assert lines[2:5] == [
        "  model     2.01 bits per byte on plays (2 held-out works)",
        "            PPMd 2.04 · n-gram 2.48 · xz 2.53 · zstd 2.55 · unigram 4.80 · uniform 8.00",
        "  sizes     fp32 9.4 MB · int8 2.6 MB (+0.3% bits per byte) · "
        "int4 1.7 MB (+1.8% bits per byte)",
    ]
    assert '  sample    "ROMEO: no"' in lines


def test_the_closing_block_gives_every_figure_its_meaning(tmp_path, monkeypatch):
    write(tmp_path, EVALUATION, SIZES, SAMPLES)
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


@pytest.mark.parametrize(
    ("sample", "prompt"),
    [
        (None, "My fellow citizens"),
        ({"prompt": "ROMEO: ", "text": "no"}, "ROMEO: "),
        ({"prompt": "\n", "text": " Et il dit\nà son frère"}, "Et il dit"),
        ({"prompt": "\n", "text": ""}, "My fellow citizens"),
    ],
)
def test_the_next_command_has_a_prompt_that_a_shell_takes_as_it_is(sample, prompt):
    assert prompt_of(sample) == prompt
