"""The stage quantize: the fine-tuned package in 8 and in 4 bits, each held beside the original."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minigpt.digest import digest
from minigpt.evaluation.bootstrap import difference
from minigpt.evaluation.config import EvaluateConfig, WindowConfig
from minigpt.evaluation.passages import model_rows
from minigpt.evaluation.perplexity import bits_of_documents, model_score, window_over
from minigpt.model.gpt import GPT
from minigpt.package import WEIGHTS, Package, load_package, save_package
from minigpt.quantization import swap
from minigpt.quantization.config import Scheme
from minigpt.quantization.error import layer_errors, relative_error
from minigpt.quantization.sensitivity import kept_in_8_bits, table_costs
from minigpt.release.aware_training import train_aware
from minigpt.release.config import QuantizeConfig, QuantizeParams
from minigpt.release.original import load_original
from minigpt.release.text import (
    Texts,
    first_ids,
    held_out_texts,
    relative_difference,
    training_windows,
)
from minigpt.run import Run

HEADLINES = ("int8.bytes", "int4.bytes", "*.greatest_relative_difference")
TOLD_BY = 4
"""Every fourth window of the calibration text tells what 4 bits of a table cost."""
Passages = Mapping[str, NDArray[np.float64]]
"""By source (2, n): bits and bytes of each passage."""


def quantize(
    finetuned: Path, documents: Path, int8: Path, int4: Path, params: QuantizeParams, run: Run
) -> dict[str, Any]:
    """Write the packages `int8` and `int4`, then measure them as they are read back.

    Returns:
        For fp32, int8 and int4: bytes of the weights and bits_per_byte by source; for the last two
        also what `Bench.compare` returns; for int4 the layers in_8_bits, the table_costs by which
        they were chosen, and what its finetune reports, where params.yaml leaves or asks that.
    """
    config = params.quantize
    run.machine.prepare_torch()
    original = load_original(finetuned)
    tokenizer, length = original.tokenizer, original.config.context_length
    bench = Bench.over(original, held_out_texts(documents, config.max_bytes), config)
    ids = training_windows(documents, tokenizer, config.calibration_tokens, length)
    eight = swap.int8_scheme(original.model)
    four, about = int4_scheme(original.model, config, ids[::TOLD_BY])
    write(int8, original, rounded(original.model, eight, ids, run), eight)
    model = rounded(original.model, four, ids, run)
    if config.finetune is not None:
        report = train_aware(model, documents, tokenizer, config.finetune, params.seed, run)
        about |= {"finetune": report}
    write(int4, original, model, four)
    results = {
        "fp32": bench.figures(original, bench.passages),
        "int8": bench.compare(load_package(int8)),
        "int4": bench.compare(load_package(int4)) | about,
    }
    run.say(" · ".join(line(kind, figures) for kind, figures in results.items()))
    return results


def int4_scheme(model: GPT, config: QuantizeConfig, ids: Tensor) -> tuple[Scheme, dict[str, Any]]:
    """How the 4-bit package holds its layers, and what is to be said of that."""
    group_size, kept, about = config.int4_group_size, config.int8_in_int4, dict[str, Any]()
    if kept is None:
        swap.int4_scheme(model, group_size)  # before they are tried in 4 bits: their rows must fit
        about["table_costs"] = costs = table_costs(model, group_size, ids)
        kept = kept_in_8_bits(model, group_size, costs, config.int4_share)
    scheme = swap.int4_scheme(model, group_size, kept)
    return scheme, about | {"in_8_bits": [n for n, s in scheme.layers.items() if s.bits == 8]}


def rounded(model: GPT, scheme: Scheme, ids: Tensor, run: Run) -> GPT:
    """A quantized copy, fitted to `ids`."""
    return swap.quantize(model, scheme, ids, lambda name: run.progress(f"{scheme.kind}: {name}"))


def write(out: Path, original: Package, model: GPT, scheme: Scheme) -> None:
    """Save `original` quantized; its meta goes along, with the digest of where it came from."""
    meta = original.meta | {"quantized_from": digest(original.path)}
    save_package(out, model, original.path, quantization=scheme.model_dump(mode="json"), **meta)


@dataclass(frozen=True)
class Bench:
    """What a quantized package is held against."""

    original: Package
    texts: Texts
    windows: WindowConfig
    ids: Tensor
    """(1, T) on which logits and layers are compared."""
    passages: Passages
    """Of the original."""

    @classmethod
    def over(cls, original: Package, texts: Texts, config: QuantizeConfig) -> "Bench":
        """The original measured on `texts`."""
        windows = window_over(original.config, config.window)
        wanted = min(config.logit_tokens, original.config.context_length)
        ids = first_ids(original.tokenizer, texts, wanted)
        return cls(original, texts, windows, ids, passages(original, texts, windows))

    def figures(self, package: Package, measured: Passages) -> dict[str, Any]:
        """Of the weights bytes, of the model bits_per_byte by source."""
        return {
            "bytes": (package.path / WEIGHTS).stat().st_size,
            "bits_per_byte": {
                source: float(bits.sum() / n_bytes.sum())
                for source, (bits, n_bytes) in measured.items()
            },
        }

    @torch.inference_mode()
    def compare(self, package: Package) -> dict[str, Any]:
        """Figures of `package`, and its distance to the original.

        relative_difference: by source, the share by which it needs more bits, and the greatest of
        these; relative_interval: low and high of it, with bootstrap's chance;
        greatest_logit_difference; relative_logit_difference, layer_error by layer: 2-norms, of
        logits and of outputs.
        """
        before = self.figures(self.original, self.passages)["bits_per_byte"]
        measured = passages(package, self.texts, self.windows)
        figures = self.figures(package, measured)
        intervals = {
            source: difference(bits, self.passages[source][0], n_bytes)
            for source, (bits, n_bytes) in measured.items()
        }
        expected = self.original.model(self.ids)
        given = package.model(self.ids)
        change = relative_difference(figures["bits_per_byte"], before)
        return (
            figures
            | change
            | {
                "relative_interval": {
                    source: {
                        "low": change.low / before[source],
                        "high": change.high / before[source],
                    }
                    for source, change in intervals.items()
                },
                "greatest_logit_difference": float((given - expected).abs().max()),
                "relative_logit_difference": relative_error(given, expected),
                "layer_error": layer_errors(self.original.model, package.model, self.ids),
            }
        )


def passages(package: Package, texts: Texts, windows: WindowConfig) -> Passages:
    """What `package` needs for each passage of `texts`."""
    measured = {}
    for source, group in texts.items():
        score = model_score(package.model)
        documents = bits_of_documents(score, package.tokenizer, group, windows)
        rows = model_rows("", documents, EvaluateConfig().passage_bytes)
        measured[source] = np.array([[row[name] for row in rows] for name in ("bits", "bytes")])
    return measured


def line(kind: str, figures: Mapping[str, Any]) -> str:
    """A row of the table for people: the source on which it loses most."""
    size = f"{kind} {figures['bytes'] / 1e6:.1f} MB"
    if "relative_difference" not in figures:
        return size
    change, interval = figures["relative_difference"], figures["relative_interval"]
    worst = max(change, key=lambda source: change[source])
    low, high = interval[worst]["low"], interval[worst]["high"]
    return (
        f"{size} ({change[worst]:+z.2%} bits per byte, 95 %: {low:+z.2%} to {high:+z.2%}; "
        f"logits {figures['relative_logit_difference']:.1%} off)"
    )
