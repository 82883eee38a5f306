"""The fine-tuned model: from a package and the tokens of a new domain to a package."""

from functools import partial
from pathlib import Path
from typing import Any

from minigpt.data.batches import TokenStream
from minigpt.data.shards import open_tokens
from minigpt.digest import digest
from minigpt.errors import ParamsError
from minigpt.model.gpt import GPT
from minigpt.package import copy_package, load_package, save_package
from minigpt.run import Run
from minigpt.training.config import FinetuneConfig, FinetuneParams
from minigpt.training.loop import Batches, train
from minigpt.training.memory import refuse_beyond_memory
from minigpt.training.optim import freeze
from minigpt.training.replay import ReplayStream
from minigpt.training.state import Curve
from minigpt.training.validation import CURVE_WINDOWS, figures, mean_loss

HEADLINES = ("*.after.bits_per_byte",)


def finetune(
    base: Path,
    tokens: Path,
    old_tokens: Path,
    out: Path,
    plots: Path,
    params: FinetuneParams,
    run: Run,
) -> dict[str, Any]:
    """Train the package `base` further; write the package `out` and the loss curves `plots`.

    Args:
        base: package to start from.
        tokens: shards of the new domain.
        old_tokens: shards of the domain the base was trained on, to replay some
            of it and to see what is forgotten.
        out: folder of the new package.
        plots: folder of train.csv (step, train_loss, lr) and val.csv (step, val_loss).
        params: what the stage reads.
        run: the stage at work.

    Returns:
        The stage's results; `new_domain` and `old_domain` hold figures before and after,
        `machine` what the bytes depend on.

    Raises:
        ParamsError: the phases or the frozen blocks do not fit the base model.
    """
    if params.finetune is None:
        return pass_on(base, out, plots, run)
    run.machine.prepare_torch()
    package, config = load_package(base), params.finetune
    refuse_beyond_memory(
        package.config,
        package.tokenizer.vocab_size,
        {run.stage: config},
        run.machine.memory,
        run.machine.micro_batch,
    )
    model = package.model.train()
    freeze_parts(model, config)
    splits = {
        "new_domain": open_tokens(tokens, "val", package.tokenizer.digest),
        "old_domain": open_tokens(old_tokens, "val", package.tokenizer.digest),
    }
    longest = config.longest(model.config.context_length)
    new = TokenStream(open_tokens(tokens, "train", package.tokenizer.digest), params.seed)
    new.refuse_longer(longest, "finetune")
    stream: Batches = new
    if config.replay:
        old = TokenStream(open_tokens(old_tokens, "train", package.tokenizer.digest), params.seed)
        old.refuse_longer(longest, "pretrain")
        stream = ReplayStream(new, old, config.replay)
    run.dataset("finetune", tokens, digest(tokens), "training")
    measure = partial(figures, model, dtype=config.dtype, machine=run.machine)
    before = {name: measure(split) for name, split in splits.items()}
    validate = partial(mean_loss, tokens=splits["new_domain"], max_windows=CURVE_WINDOWS)
    steps = config.steps(len(new.tokens))
    result = train(model, stream, config, steps, run, validate)
    after = {name: measure(split) for name, split in splits.items()}
    save_package(out, model, base)
    result.curve.write(plots)
    if advice := result.advice(run.stage):
        run.say(advice)
    changes = [
        f"{before[name]['bits_per_byte']:.3f} to {after[name]['bits_per_byte']:.3f}"
        for name in splits
    ]
    run.say(
        f"{changes[0]} bits per byte on the new domain · {changes[1]} on the old · "
        f"{result.summary(config, len(new.tokens))}"
    )
    domains = {name: {"before": before[name], "after": after[name]} for name in splits}
    return {**domains, **result.metrics(), "machine": run.machine.fingerprint()}


def pass_on(base: Path, out: Path, plots: Path, run: Run) -> dict[str, Any]:
    """Where nothing is fine-tuned: the base package, file for file, and a curve without rows."""
    copy_package(base, out)
    Curve(interval=1).write(plots)
    run.say("no fine-tuning: the base is the model")
    return {"steps": 0, "tokens": 0}


def freeze_parts(model: GPT, config: FinetuneConfig) -> None:
    """Take what the config names out of training, after checking that the rest fits `model`."""
    try:
        config.refuse_context(model.config.context_length)
    except ValueError as error:
        raise ParamsError(f"params.yaml: finetune.{error}") from error
    if config.freeze_blocks > len(model.blocks):
        raise ParamsError(
            f"params.yaml: finetune.freeze_blocks: {config.freeze_blocks}, but the model has "
            f"{len(model.blocks)} blocks"
        )
    for block in model.blocks[: config.freeze_blocks]:
        freeze(block.parameters())
    if config.freeze_embedding:
        freeze(model.embed.parameters())
