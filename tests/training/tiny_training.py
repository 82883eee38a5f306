"""A training small enough for tests, also run: tiny_training.py TOKENS WORKDIR OUT [KEEP].

Kept beside the tests so that other processes can run the very same thing.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from minigpt.data.batches import TokenStream
from minigpt.data.shards import ShardWriter, Tokens, open_tokens
from minigpt.machine import Machine
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT
from minigpt.run import Run
from minigpt.tracking import NullTracker
from minigpt.training.config import Phase, PretrainConfig, Steps
from minigpt.training.loop import TrainResult, train
from minigpt.training.validation import mean_loss

VOCAB_SIZE, DIGEST = 61, "of no tokenizer"
MODEL = ModelConfig(n_layer=2, n_embd=32, n_head=2, n_kv_head=1, mlp_dim=48, context_length=16)
CONFIG = PretrainConfig(
    duration=Steps(max_steps=24),
    tokens_per_step=128,
    phases=(Phase(share=0.5, divisor=2), Phase(share=0.5)),
)
MACHINE = Machine(device="cpu", threads=2, checkpoint_seconds=1e9, tracker="none")


def write_tokens(folder: Path) -> Path:
    """Shards of text in which the next token is mostly the last one plus one."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    writer = ShardWriter(
        folder, vocab_size=VOCAB_SIZE, eot_id=0, tokenizer=DIGEST, shard_tokens=10_000
    )
    for split, length in (("train", 3000), ("val", 500)):
        steps = np.where(random.random(length) < 0.8, 1, random.integers(1, 40, length))
        writer.add(split, "counting", 1 + np.cumsum(steps) % (VOCAB_SIZE - 1), length)
    writer.close()
    return folder


def open_split(folder: Path, split: str = "train") -> Tokens:
    return open_tokens(folder, split, DIGEST)


def new_run(workdir: Path, **settings: object) -> Run:
    workdir.mkdir(parents=True, exist_ok=True)
    run = Run("pretrain", MACHINE.replace(**settings), workdir, NullTracker())
    run.machine.prepare_torch()
    return run


def new_model() -> GPT:
    return build_model(MODEL, VOCAB_SIZE, seed=3)


def train_tiny(
    tokens: Path, run: Run, config: PretrainConfig = CONFIG, model: GPT | None = None
) -> tuple[GPT, TrainResult]:
    model = model or new_model()
    split = open_split(tokens)
    validate = partial(mean_loss, tokens=open_split(tokens, "val"))
    steps = config.steps(len(split))
    return model, train(model, TokenStream(split, seed=3), config, steps, run, validate)


if __name__ == "__main__":
    run = new_run(Path(sys.argv[2]), checkpoint_seconds=0)
    wanted = CONFIG.replace(keep=sys.argv[4]) if len(sys.argv) > 4 else CONFIG
    trained, result = train_tiny(Path(sys.argv[1]), run, wanted)
    save_file(trained.state_dict(), sys.argv[3])
    result.curve.write(Path(sys.argv[3]).with_suffix(""))
