"""Optimizers over named fp32 parameters: Muon for the blocks' matrices, Adam for the rest.

torch.optim has both; these batch matrices of one shape into one product, work in the lanes'
threads and keep their state by parameter name, as checkpoints need it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from minigpt.training.config import AdamW, Muon

Task = Callable[[], None]
Grads = Mapping[str, Tensor]
"""fp32 gradients by parameter name."""

# Polar Express: coefficients (a, b, c) of X <- aX + (bA + cA²)X, A = XXᵀ (arXiv:2505.16932).
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
FIRST_MOMENTUM = 0.85


class Part(Protocol):
    """One update rule with its parameters."""

    state: dict[str, Tensor]
    """What it remembers, by parameter name and kind."""

    def tasks(self, grads: Grads, lr: float, step: int) -> list[Task]:
        """Independent pieces of the update of `step`; each may run in any thread."""
        ...


class Optimizer:
    """The parts of one optimizer."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts

    def tasks(self, grads: Grads, lr: float, step: int) -> list[Task]:
        """The whole update of `step` (from 0) at rate `lr`, as independent pieces."""
        return [task for part in self.parts for task in part.tasks(grads, lr, step)]

    def state(self) -> dict[str, Tensor]:
        """Live tensors by name: fill them in place to restore."""
        return {name: tensor for part in self.parts for name, tensor in part.state.items()}


class AdamPart:
    """Adam with decoupled decay for one group of parameters."""

    def __init__(
        self,
        params: Mapping[str, Tensor],
        config: AdamW,
        *,
        lr_ratio: float = 1.0,
        decay: bool = True,
    ) -> None:
        self.params = dict(params)
        self.betas, self.eps = (config.beta1, config.beta2), config.eps
        self.lr_ratio, self.weight_decay = lr_ratio, config.weight_decay if decay else 0.0
        self.state = {
            f"{name}.{kind}": torch.zeros_like(param)
            for name, param in params.items()
            for kind in ("mean", "square")
        }

    def tasks(self, grads: Grads, lr: float, step: int) -> list[Task]:
        """One piece a parameter."""
        return [self._task(name, grads[name], lr * self.lr_ratio, step + 1) for name in self.params]

    def _task(self, name: str, grad: Tensor, lr: float, count: int) -> Task:
        param = self.params[name]
        mean, square = self.state[f"{name}.mean"], self.state[f"{name}.square"]
        beta1, beta2 = self.betas

        def task() -> None:
            mean.lerp_(grad, 1 - beta1)
            square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            root = (square / (1 - beta2**count)).sqrt_().add_(self.eps)
            param.mul_(1 - lr * self.weight_decay)
            param.addcdiv_(mean, root, value=-lr / (1 - beta1**count))

        return task


class MuonPart:
    """Muon for matrices; those of one shape, up to a transpose, are orthogonalised together."""

    def __init__(self, params: Mapping[str, Tensor], config: Muon, chunks: int = 1) -> None:
        """`chunks`: into how many pieces the largest group of a shape is cut."""
        self.params, self.config = dict(params), config
        self.state = {f"{name}.momentum": torch.zeros_like(p) for name, p in params.items()}
        shapes: dict[tuple[int, ...], list[str]] = {}
        for name, param in params.items():
            shapes.setdefault(tuple(sorted(param.shape)), []).append(name)
        sizes = {shape: -(-len(names) // chunks) for shape, names in shapes.items()}
        self.groups = [
            names[i : i + sizes[shape]]
            for shape, names in sorted(shapes.items(), reverse=True)  # the slowest first
            for i in range(0, len(names), sizes[shape])
        ]

    def tasks(self, grads: Grads, lr: float, step: int) -> list[Task]:
        """One piece a group of matrices."""
        warm = min(1.0, step / max(1, self.config.momentum_warmup_steps))
        momentum = FIRST_MOMENTUM + (self.config.momentum - FIRST_MOMENTUM) * warm
        return [self._task(names, grads, lr, momentum) for names in self.groups]

    def _task(self, names: list[str], grads: Grads, lr: float, momentum: float) -> Task:
        def task() -> None:
            directions = []
            for name in names:
                buffer = self.state[f"{name}.momentum"].lerp_(grads[name], 1 - momentum)
                directions.append(wide(grads[name].lerp(buffer, momentum)))  # Nesterov
            for name, update in zip(names, orthogonal(torch.stack(directions)), strict=True):
                param = self.params[name]
                param.mul_(1 - lr * self.config.weight_decay)
                rate = lr * max(1.0, param.size(0) / param.size(1)) ** 0.5
                param.add_(update if is_wide(param) else update.mT, alpha=-rate)

        return task


def is_wide(matrix: Tensor) -> bool:
    """At least as many columns as rows."""
    return matrix.size(0) <= matrix.size(1)


def wide(matrix: Tensor) -> Tensor:
    """The matrix, or its transpose where it is tall: products of the short side are cheap."""
    return matrix if is_wide(matrix) else matrix.mT


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns) wide matrices -> about the nearest with orthonormal rows, in bf16."""
    x = matrices.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    for a, b, c in POLAR_EXPRESS:
        square = torch.bmm(x, x.mT)
        poly = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, poly, x, beta=a)
    return x


def build_optimizer(model: nn.Module, config: Muon | AdamW, chunks: int = 1) -> Optimizer:
    """The optimizer of what is trainable; a rate of 0 freezes (`requires_grad` becomes false).

    Embeddings and the head are what `model` calls embed, position and head.
    """
    params = {name: p for name, p in model.named_parameters() if p.requires_grad}
    tables = {n: p for n, p in params.items() if n.startswith(("embed.", "position."))}
    head = {n: p for n, p in params.items() if n.startswith("head.")}
    matrices = {n: p for n, p in params.items() if p.dim() == 2 and n not in tables | head}
    vectors = {n: p for n, p in params.items() if n not in tables | head | matrices}
    if isinstance(config, AdamW):
        return Optimizer(
            [AdamPart(matrices | head, config), AdamPart(tables | vectors, config, decay=False)]
        )
    adam = AdamW(eps=1e-10, weight_decay=0)
    if config.norm_lr_ratio == 0:
        freeze(vectors.values())
        vectors = {}
    return Optimizer(
        [
            MuonPart(matrices, config, chunks),
            AdamPart(tables, adam, lr_ratio=config.embedding_lr_ratio),
            AdamPart(head, adam, lr_ratio=config.head_lr_ratio),
            AdamPart(vectors, adam, lr_ratio=config.norm_lr_ratio),
        ]
    )


def freeze(params: Iterable[Tensor]) -> None:
    """Take parameters out of training."""
    for param in params:
        param.requires_grad_(False)
