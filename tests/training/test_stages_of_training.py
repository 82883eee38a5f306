"""The two stages' functions, from shards to packages."""

import csv

import numpy as np
import pytest
import torch
from tiny_training import new_run

from minigpt.data.shards import ShardWriter
from minigpt.digest import digest
from minigpt.errors import DataError, ParamsError
from minigpt.model.config import ModelConfig
from minigpt.package import load_package
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import MIN_VOCAB_SIZE, TokenizerConfig
from minigpt.training.config import (
    FinetuneConfig,
    FinetuneParams,
    Phase,
    PretrainConfig,
    PretrainParams,
    Steps,
)
from minigpt.training.finetune import finetune
from minigpt.training.pretrain import pretrain

VERSE = "Shall I compare thee to a summer's day? Thou art more lovely and more temperate.\n" * 40
SPEECH = "My fellow citizens, the state of our union is strong, and our work is not done.\n" * 40
PHASES = (Phase(share=1, divisor=2),)
PRETRAIN = PretrainParams(
    model=ModelConfig(n_layer=2, n_embd=32, n_head=2, mlp_dim=48, context_length=32),
    pretrain=PretrainConfig(duration=Steps(max_steps=30), tokens_per_step=128, phases=PHASES),
)
FINETUNE = FinetuneParams(
    finetune=FinetuneConfig(
        duration=Steps(max_steps=12), tokens_per_step=128, phases=PHASES, freeze_blocks=1
    )
)


def write_shards(folder, tokenizer, text):
    folder.mkdir()
    writer = ShardWriter(
        folder,
        vocab_size=tokenizer.vocab_size,
        eot_id=tokenizer.eot_id,
        tokenizer=tokenizer.digest,
        shard_tokens=10_000,
    )
    for split, share in (("train", text), ("val", text[: len(text) // 4])):
        writer.add(split, "words", np.array(tokenizer.encode(share)), len(share.encode()))
    writer.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with tokenizer, tokens of both roles, base, finetuned, and their metrics."""
    root = tmp_path_factory.mktemp("built")
    tokenizer = Tokenizer.train(
        [VERSE, SPEECH], TokenizerConfig(vocab_size=max(MIN_VOCAB_SIZE, 320))
    )
    tokenizer.save(root / "tokenizer")
    for role, text in (("verse", VERSE), ("speech", SPEECH)):
        write_shards(root / role, tokenizer, text)
    metrics = {
        "pretrain": run_pretrain(root, root / "base"),
        "finetune": run_finetune(root, root / "finetuned"),
    }
    return root, metrics


def run_pretrain(root, out):
    run = new_run(root / "work" / out.name)
    plots = root / "plots" / out.name
    return pretrain(root / "verse", root / "tokenizer", out, plots, PRETRAIN, run)


def run_finetune(root, out, params=FINETUNE):
    run = new_run(root / "work" / out.name)
    base, new, old = root / "base", root / "speech", root / "verse"
    return finetune(base, new, old, out, root / "plots" / out.name, params, run)


def test_metrics_hold_results_and_no_speeds(built):
    _, metrics = built
    entry = metrics["pretrain"]
    assert set(entry) == {
        "val",
        "train_loss",
        "steps",
        "kept_step",
        "tokens",
        "trained_parameters",
        "machine",
    }
    assert (entry["steps"], entry["tokens"]) == (30, 30 * 128)
    assert 0 < entry["val"]["bits_per_byte"] < 8


def test_finetuning_gains_on_the_new_domain_and_tells_what_the_old_lost(built):
    _, metrics = built
    new, old = metrics["finetune"]["new_domain"], metrics["finetune"]["old_domain"]
    assert new["after"]["bits_per_byte"] < new["before"]["bits_per_byte"]
    assert old["before"] == pytest.approx(metrics["pretrain"]["val"], rel=1e-3)
    assert old["after"] != old["before"]


def test_the_same_inputs_give_the_same_bytes(built):
    root, metrics = built
    assert run_pretrain(root, root / "again") == metrics["pretrain"]
    assert digest(root / "again") == digest(root / "base")
    assert digest(root / "plots/again") == digest(root / "plots/base")


def test_curves_have_a_row_a_step_and_one_a_validation(built):
    root, _ = built
    train, val = (
        list(csv.DictReader((root / "plots/base" / name).open()))
        for name in ("train.csv", "val.csv")
    )
    assert [int(row["step"]) for row in train] == list(range(1, 31))
    assert [row["step"] for row in val] == [str(step) for step in range(0, 31, 3)]
    assert all(all(row.values()) for row in (*train, *val))


def test_frozen_blocks_are_those_of_the_base(built):
    root, _ = built
    base, tuned = (load_package(root / name).model for name in ("base", "finetuned"))
    for name, weight in base.blocks[0].named_parameters():
        assert torch.equal(weight, tuned.blocks[0].get_parameter(name))
    assert not torch.equal(base.blocks[1].mlp.up.weight, tuned.blocks[1].mlp.up.weight)


def test_without_fine_tuning_the_base_is_the_model_file_for_file(built, tmp_path):
    root, _ = built
    run = new_run(tmp_path / "work")
    said, nothing = [], tmp_path / "no such tokens"
    run.say = said.append
    out, curves = tmp_path / "finetuned", tmp_path / "plots"
    metrics = finetune(
        root / "base", nothing, nothing, out, curves, FinetuneParams(finetune=None), run
    )
    assert digest(out) == digest(root / "base")
    assert {path.name: path.read_text() for path in curves.iterdir()} == {
        name: (root / "plots/base" / name).read_text().splitlines()[0] + "\n"
        for name in ("train.csv", "val.csv")
    }
    assert metrics == {"steps": 0, "tokens": 0}
    assert said == ["no fine-tuning: the base is the model"]


def test_freezing_more_blocks_than_there_are_is_refused(built):
    root, _ = built
    params = FINETUNE.replace(finetune=FINETUNE.finetune.replace(freeze_blocks=3))
    with pytest.raises(ParamsError, match=r"freeze_blocks: 3, but the model has 2"):
        run_finetune(root, root / "refused", params)
    assert not (root / "refused").exists()


def test_phases_that_do_not_fit_the_base_are_refused(built):
    root, _ = built
    wrong = FINETUNE.finetune.replace(phases=(Phase(share=1, divisor=5),))
    with pytest.raises(ParamsError, match=r"finetune\.phases: 5 does not divide 32"):
        run_finetune(root, root / "refused", FINETUNE.replace(finetune=wrong))


def test_too_little_text_for_the_last_phase_is_refused_before_the_first(built, tmp_path):
    root, _ = built
    tokenizer = Tokenizer.load(root / "tokenizer")
    for name in ("tokenizer", "base", "verse", "speech"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "speech").unlink()
    write_shards(tmp_path / "speech", tokenizer, SPEECH[:40])
    phases = (Phase(share=0.9, divisor=8), Phase(share=0.1))
    params = FinetuneParams(finetune=FINETUNE.finetune.replace(phases=phases, freeze_blocks=0))
    message = r"role finetune have \d+ tokens to train on, one window takes 33\. .*finetune\.phases"
    with pytest.raises(DataError, match=message):
        run_finetune(tmp_path, tmp_path / "out", params)
    assert not (tmp_path / "out").exists()


def test_shards_of_another_tokenizer_are_refused(built, tmp_path):
    root, _ = built
    other = Tokenizer.train([SPEECH], TokenizerConfig(vocab_size=MIN_VOCAB_SIZE + 5))
    write_shards(tmp_path / "speech", other, SPEECH)
    with pytest.raises(DataError, match="another tokenizer"):
        finetune(
            root / "base",
            tmp_path / "speech",
            root / "verse",
            tmp_path / "out",
            tmp_path / "plots",
            FINETUNE,
            new_run(tmp_path / "work"),
        )
