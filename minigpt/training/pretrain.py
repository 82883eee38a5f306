"""The base model: from random weights and the pretraining tokens to a package."""

from functools import partial
from pathlib import Path
from typing import Any

from minigpt.data.batches import TokenStream
from minigpt.data.shards import open_tokens
from minigpt.digest import digest
from minigpt.model.build import build_model
from minigpt.package import save_package
from minigpt.run import Run
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.training.config import PretrainParams
from minigpt.training.loop import train
from minigpt.training.memory import refuse_beyond_memory
from minigpt.training.validation import CURVE_WINDOWS, figures, mean_loss

HEADLINES = ("trained_parameters", "val.bits_per_byte")


def pretrain(
    tokens: Path, tokenizer: Path, out: Path, plots: Path, params: PretrainParams, run: Run
) -> dict[str, Any]:
    """Train the base model; write the package `out` and the loss curves `plots`.

    Args:
        tokens: shards of the pretraining role.
        tokenizer: folder of the tokenizer that wrote them.
        out: folder of the new package.
        plots: folder of train.csv (step, train_loss, lr) and val.csv (step, val_loss).
        params: what the stage reads.
        run: the stage at work.

    Returns:
        The stage's results, and the machine that the bytes depend on.
    """
    run.machine.prepare_torch()
    bpe, config = Tokenizer.load(tokenizer), params.pretrain
    refuse_beyond_memory(
        params.model,
        bpe.vocab_size,
        {run.stage: config},
        run.machine.memory,
        run.machine.micro_batch,
    )
    split, val = (open_tokens(tokens, name, bpe.digest) for name in ("train", "val"))
    run.dataset("pretrain", tokens, digest(tokens), "training")
    model = build_model(params.model, bpe.vocab_size, params.seed)
    stream = TokenStream(split, params.seed)
    stream.refuse_longer(config.longest(params.model.context_length), "pretrain")
    validate = partial(mean_loss, tokens=val, max_windows=CURVE_WINDOWS)
    steps = config.steps(len(split))
    result = train(model, stream, config, steps, run, validate)
    val_figures = figures(model, val, config.dtype, run.machine)
    save_package(out, model, tokenizer)
    result.curve.write(plots)
    if advice := result.advice(run.stage):
        run.say(advice)
    run.say(
        f"{val_figures['bits_per_byte']:.3f} bits per byte on validation · "
        f"{result.summary(config, len(split))} · {result.n_trained / 1e6:.2g}M parameters"
    )
    return {"val": val_figures, **result.metrics(), "machine": run.machine.fingerprint()}
