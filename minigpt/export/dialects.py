"""Model classes that other programs have, and which choices of ours each has words for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.export.exporter import plain_model
from minigpt.export.names import translate
from minigpt.model.build import QK_NORM_EPS, empty_model
from minigpt.model.config import GeluMlp, LayerNorm, ModelConfig, RmsNorm, SwigluMlp
from minigpt.model.position_config import PositionConfig
from minigpt.model.positions.learned import LearnedPosition
from minigpt.model.positions.rope import RopePosition
from minigpt.package import Package


@dataclass(frozen=True)
class Dialect:
    """One model class, known under these names to transformers and to llama.cpp."""

    model_type: str
    model_class: str
    norm: type[RmsNorm | LayerNorm]
    position: type[PositionConfig]
    mlp: type[SwigluMlp | GeluMlp]
    qk_norm: bool = False
    bias: tuple[bool, ...] = (False,)
    """What `ModelConfig.bias` may be there; where it must be true, biases of zero say false."""
    grouped: bool = True
    """Whether heads may share keys and values, and be of any width."""

    def lacks(self, config: ModelConfig) -> list[str]:
        """Each choice that the class has no word for, as `part: choice`."""
        strange = [
            f"{part}: {choice.kind}"
            for part, choice, known in (
                ("norm", config.norm, self.norm),
                ("position", config.position, self.position),
                ("mlp", config.mlp, self.mlp),
            )
            if not isinstance(choice, known)
        ]
        if config.qk_norm != self.qk_norm:
            strange.append(f"qk_norm: {str(config.qk_norm).lower()}")
        elif self.qk_norm and config.norm.eps != QK_NORM_EPS:
            about = f"its queries and keys have {QK_NORM_EPS}"
            strange.append(f"norm: eps {config.norm.eps} ({about})")
        if config.bias and True not in self.bias:
            strange.append("bias: true")
        if not self.grouped:
            if config.n_kv_head != config.n_head:
                strange.append(f"n_kv_head: {config.n_kv_head} (n_head is {config.n_head})")
            if config.n_head * config.head_width != config.n_embd:
                strange.append(f"head_dim: {config.head_dim} (n_embd is {config.n_embd})")
        return strange


QWEN3 = Dialect("qwen3", "Qwen3ForCausalLM", RmsNorm, RopePosition, SwigluMlp, qk_norm=True)
LLAMA = Dialect("llama", "LlamaForCausalLM", RmsNorm, RopePosition, SwigluMlp, bias=(False, True))
GPT2 = Dialect(
    "gpt2", "GPT2LMHeadModel", LayerNorm, LearnedPosition, GeluMlp, bias=(True,), grouped=False
)
DIALECTS = {dialect.model_type: dialect for dialect in (QWEN3, LLAMA, GPT2)}


def fitting(config: ModelConfig) -> list[Dialect]:
    """The classes that can hold such a model."""
    return [dialect for dialect in DIALECTS.values() if not dialect.lacks(config)]


def refusals(config: ModelConfig, called: Callable[[Dialect], str]) -> Sequence[str]:
    """What each class lacks for such a model, the nearest first; nothing where one fits.

    `called` gives a class's name in the format that asks.
    """
    if fitting(config):
        return ()
    lacking = {called(dialect): dialect.lacks(config) for dialect in DIALECTS.values()}
    return [
        f"{name} has no {', '.join(choices)}"
        for name, choices in sorted(lacking.items(), key=lambda item: len(item[1]))
    ]


def weights_of(package: Package, dialect: Dialect) -> dict[str, Tensor]:
    """The model's fp32 weights by our names: a tied table once, biases where the class has them."""
    weights = plain_model(package).state_dict()
    if False not in dialect.bias:
        for name, shape in shapes_of(package.config.replace(bias=True), package).items():
            weights.setdefault(name, torch.zeros(shape))
    if package.config.tied:
        del weights["head.weight"]
    return weights


def shapes_of(config: ModelConfig, package: Package) -> dict[str, torch.Size]:
    """Shapes of the weights that a model of `config` has."""
    with torch.device("meta"):
        model = empty_model(config, package.tokenizer.vocab_size)
    return {name: weight.shape for name, weight in model.state_dict().items()}


def joined(
    weights: Mapping[str, Tensor], table: Mapping[str, str], format: str
) -> dict[str, Tensor]:
    """`weights` under the names of `table`; those that share a name stand below each other there.

    Raises:
        ExportError: the table has no name for some of them.
    """
    parts: dict[str, list[Tensor]] = {}
    for ours, theirs in translate(weights, table, format).items():
        parts.setdefault(theirs, []).append(weights[ours])
    return {name: torch.cat(tensors).contiguous() for name, tensors in parts.items()}
