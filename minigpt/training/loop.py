"""The training loop: set up, resume, then step by step until the end or until it gets worse.

Shapes: B sequences of one step on this rank, T tokens of a sequence.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from minigpt.errors import ParamsError, StageError
from minigpt.log import short
from minigpt.model.count import flops_per_token
from minigpt.model.gpt import GPT, IGNORED
from minigpt.run import Run
from minigpt.training.best import BestWeights
from minigpt.training.checkpoint import Checkpoints
from minigpt.training.config import TrainConfig
from minigpt.training.lanes import Lanes, lane_count
from minigpt.training.meter import Meter, measure_peak
from minigpt.training.optim import build_optimizer
from minigpt.training.parallel import make_parallel
from minigpt.training.precision import SMALLEST_SCALE, Precision, make_precision
from minigpt.training.schedules import multiplier
from minigpt.training.state import Curve, TrainState

REPORT_EVERY = 10
Grads = dict[str, Tensor]


class Batches(Protocol):
    """An endless, resumable stream; `data.batches.TokenStream` is one."""

    def split(self, rank: int, world_size: int) -> None:
        """Take only this rank's rows of every batch."""
        ...

    def take(self, batch: int, length: int) -> tuple[Tensor, Tensor]:
        """This rank's rows of the next `batch` sequences: ids and targets, (B, T) int64."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is."""
        ...

    def load_state_dict(self, state: Any) -> None:
        """Go on from there."""
        ...


Evaluate = Callable[[GPT, Lanes], float]
"""Mean validation loss in nats a token."""


@dataclass(frozen=True)
class TrainResult:
    """What a finished run leaves beside the model's weights."""

    curve: Curve
    steps: int
    """Steps done: all of them, or as many as it took to see that no more were needed."""
    kept_step: int
    """After how many of them the model's weights were kept."""
    tokens: int
    """Target tokens seen."""
    n_trained: int
    """Parameters that were not frozen."""

    def metrics(self) -> dict[str, float]:
        """What a stage reports of it: no durations, no speeds."""
        return {
            "train_loss": self.curve.last_train_loss,
            "steps": self.steps,
            "kept_step": self.kept_step,
            "tokens": self.tokens,
            "trained_parameters": self.n_trained,
        }

    def summary(self, config: TrainConfig, tokens: int) -> str:
        """`62 steps, 4 passes over 31k tokens · kept step 48, which validated best`."""
        passes = config.passes(self.steps, tokens)
        line = f"{self.steps:,} steps, {passes:.2g} passes over {short(tokens)} tokens"
        if self.kept_step == 0:
            line += " · kept none of them: before the first it validated best"
        elif self.kept_step < self.steps:
            line += f" · kept step {self.kept_step:,}, which validated best"
        return line

    def advice(self, stage: str) -> str | None:
        """What to change where the text was learned by heart."""
        curve, best = self.curve, self.curve.best_step
        if not curve.memorising:
            return None
        since = f" since step {best:,}" if best < self.steps else ""
        if self.kept_step == 0:
            kept = f" Nothing of it is kept: {stage} ends with the weights that it began with."
        elif self.kept_step < self.steps:
            kept = f" What came after step {self.kept_step:,} is not kept."
        else:
            kept = f" {stage}.keep: best would leave that out." if since else ""
        return (
            f"memorising{since}: at the end the loss is {curve.last_train_loss:.2f} in training "
            f"and {curve.val[-1][1]:.2f} on validation.{kept} Fewer passes take less time "
            f"({stage}.duration); more text or a lower {stage}.lr makes more of them useful"
        )


def train(
    model: GPT,
    batches: Batches,
    config: TrainConfig,
    steps: int,
    run: Run,
    evaluate: Evaluate,
    section: str | None = None,
) -> TrainResult:
    """Train `model` in place, `steps` long; resume from run.workdir if it holds a checkpoint.

    The loss of a step is the mean over all its targets, of every micro-batch and rank, so
    accumulation is exact. Frozen parameters (`requires_grad` false) stay as they are. With
    `config.keep` "best" the model gets the weights of the best validation back, the one before
    the first step included; with `config.patience` it ends after so many that were no better.
    `section` is where params.yaml has `config`, if not under the stage's name.

    Raises:
        ParamsError: a step is too small for the processes that share it.
        StageError: the loss, a gradient or a weight is no longer a number; what made it so was
            neither applied nor saved.
        SystemExit: the process was asked to stop; a checkpoint is saved.
    """
    machine, context = run.machine, model.config.context_length
    section = section or run.stage
    parallel = make_parallel(machine.torch_device)
    batches.split(parallel.rank, parallel.world_size)
    lengths = config.steps_by_length(steps, context)
    rows = [config.tokens_per_step // length // parallel.world_size for length in lengths]
    if not min(rows):
        raise ParamsError(
            f"params.yaml: tokens_per_step: {config.tokens_per_step} hold no sequence of "
            f"{max(lengths)} tokens for each of {parallel.world_size} processes"
        )
    lanes = Lanes(lane_count(machine, rows), machine.threads)
    if remark := config.warm_up_remark(steps):
        run.say(f"{section}.{remark}")

    model.to(parallel.device)
    optimizer = build_optimizer(model, config.optimizer, chunks=lanes.count)
    precision = make_precision(config.dtype, model, compiled=machine.compile)
    state = TrainState.new(steps)
    best = BestWeights(model) if config.keep == "best" else None
    checkpoints = Checkpoints(
        run.workdir,
        {f"weights.{name}": param for name, param in model.named_parameters()}
        | {f"optimizer.{name}": tensor for name, tensor in optimizer.state().items()}
        | {f"best.{name}": tensor for name, tensor in (best.tensors if best else {}).items()},
        {"train": state, "data": batches, "precision": precision},
        every_seconds=machine.checkpoint_seconds,
    )
    checkpoints.restore(run.say)
    precision.refresh()

    def validate() -> None:
        loss = evaluate(precision.working, lanes)
        if not math.isfinite(loss):
            raise diverged(section, f"the validation loss is {loss}", state.step - 1)
        run.report(state.step, {"val/loss": loss})
        state.curve.val.append((state.step, loss))
        if best and state.curve.validations_since_best == 0:
            best.take()

    def ended() -> bool:
        worse = state.curve.validations_since_best
        tired = config.patience is not None and worse >= config.patience
        return tired or state.step == steps

    with contextlib.closing(parallel), lanes, run.stopping_by_itself():
        peak = lanes.count * measure_peak(precision.dtype, parallel.device)
        meter = Meter(steps, peak * parallel.world_size)
        grad_norm = 0.0
        if not state.curve.val:
            validate()
        while not ended():
            meter.start()
            length = config.length(state.step, steps, context)
            lr = config.lr * multiplier(config.schedule, state.step, steps)
            ids, targets = batches.take(config.tokens_per_step // length, length)
            counts = parallel.sum_numbers((targets != IGNORED).sum().item(), run.stop_requested)
            n_targets, stop = int(counts[0]), bool(counts[1])
            loss, grads = gradients(
                precision,
                ids.to(parallel.device),
                targets.to(parallel.device),
                n_targets,
                lanes,
                machine.micro_batch,
            )
            (loss,) = parallel.sum_numbers(loss)
            parallel.sum_tensors(list(grads.values()))
            if not math.isfinite(loss):
                raise diverged(section, f"the loss is {loss}", state.step)
            usable = precision.usable(grads.values())
            if usable:
                grad_norm = clip(grads, config.grad_clip)
                if not math.isfinite(grad_norm):
                    problem = f"the gradients' norm is {grad_norm}, though the loss is {loss:.4g}"
                    raise diverged(section, problem, state.step)
                with torch.no_grad():
                    lanes.run(optimizer.tasks(grads, lr, state.step))
                precision.refresh()
            elif precision.scale < SMALLEST_SCALE:
                problem = "step after step, gradients overflow whatever the loss is scaled by"
                raise diverged(section, problem, state.step)
            state.advance(n_targets, loss)
            flops = flops_per_token(model.config, model.vocab_size, length)
            meter.stop(n_targets, flops * n_targets)
            run.progress(meter.line(state.step, loss, lr))

            due = state.step * config.validations // steps
            if due > (state.step - 1) * config.validations // steps:
                state.curve.close_row(state.step, lr)
                validate()
            elif state.step % state.curve.interval == 0:
                state.curve.close_row(state.step, lr)
            done = ended()
            if done or state.step % REPORT_EVERY == 0:
                run.report(
                    state.step,
                    {"train/loss": loss, "train/lr": lr, "train/grad_norm": grad_norm}
                    | meter.metrics(),
                )
            # Behind an overflow the next checkpoint waits: it may be the first of a divergence.
            to_save = checkpoints.step_done() and usable
            if (to_save or done or stop) and parallel.rank == 0:
                if broken := checkpoints.not_finite():
                    raise diverged(section, f"{broken} is not finite", state.step - 1)
                checkpoints.save(state.step)
            if stop and not done:
                run.say(f"stopped at step {state.step}; the same command goes on from there")
                run.stop()
    if best:
        best.restore()
    model.to("cpu")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    kept_step = state.curve.best_step if best else state.step
    return TrainResult(state.curve, state.step, kept_step, state.tokens, trained)


def diverged(stage: str, problem: str, steps: int) -> StageError:
    """What to say of a training that cannot go on behind `steps` steps."""
    return StageError(
        f"step {steps + 1}: {problem}. That step was not saved; what was saved before it is good, "
        "so the same command goes on from there. If it stops here again, change params.yaml: "
        f"lower {stage}.lr, set {stage}.grad_clip (1.0, say), or {stage}.dtype: fp32"
    )


def gradients(
    precision: Precision,
    ids: Tensor,
    targets: Tensor,
    n_targets: int,
    lanes: Lanes,
    micro_batch: int | None = None,
) -> tuple[float, Grads]:
    """Loss and fp32 gradients of (B, T) sequences, each a sum over the sequences / `n_targets`.

    Every lane takes an equal share of the sequences, `micro_batch` at a time; sums are made in the
    order of the sequences, so the result does not depend on which lane is faster.
    """
    names = [name for name, p in precision.model.named_parameters() if p.requires_grad]
    weights = dict(precision.working.named_parameters())
    wanted = [weights[name] for name in names]
    share = len(ids) // lanes.count

    def lane(ids: Tensor, targets: Tensor) -> tuple[float, list[Tensor]]:
        loss, sums, size = 0.0, list[Tensor](), micro_batch or share
        for piece in zip(torch.split(ids, size), torch.split(targets, size), strict=True):
            part = precision.loss_sum(*piece) / n_targets
            grads = torch.autograd.grad(part * precision.scale, wanted)
            loss += part.item()
            sums = (
                [a.float() + b for a, b in zip(sums, grads, strict=True)] if sums else list(grads)
            )
        return loss, sums

    shares = zip(torch.split(ids, share), torch.split(targets, share), strict=True)
    losses, sums = zip(*lanes.run([partial(lane, *pair) for pair in shares]), strict=True)

    def total(parts: tuple[Tensor, ...]) -> Tensor:
        result = parts[0].to(torch.float32, copy=True)
        for other in parts[1:]:
            result.add_(other)
        return result

    totals = lanes.run([partial(total, parts) for parts in zip(*sums, strict=True)])
    return math.fsum(losses), dict(zip(names, totals, strict=True))


def clip(grads: Grads, limit: float | None) -> float:
    """The norm of all gradients together, before they are scaled down to `limit` in place."""
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(grads.values())))))
    if limit is not None and norm > limit:
        for grad in grads.values():
            grad.mul_(limit / norm)
    return norm
