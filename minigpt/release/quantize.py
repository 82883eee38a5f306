"""The stage quantize: the fine-tuned package in 8 and in 4 bits, each held beside the original."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minigpt.digest import digest
from minigpt.evaluation.perplexity import measure_package, window_over
from minigpt.package import WEIGHTS, Package, load_package, save_package
from minigpt.quantization import swap
from minigpt.quantization.config import QuantizeParams, Scheme
from minigpt.quantization.error import layer_errors
from minigpt.release.text import Texts, first_ids, held_out_texts, relative_difference
from minigpt.run import Run

HEADLINES = ("int8.bytes", "int4.bytes", "*.relative_difference.*")


def quantize(
    finetuned: Path, documents: Path, int8: Path, int4: Path, params: QuantizeParams, run: Run
) -> dict[str, Any]:
    """Write the packages `int8` and `int4`, then measure them as they are read back.

    Returns:
        For fp32, int8 and int4: bytes of the weights and bits_per_byte by source; for the last two
        also what `difference` returns.
    """
    config = params.quantize
    run.machine.prepare_torch()
    original = load_package(finetuned)
    texts = held_out_texts(documents, config.max_bytes)
    ids = first_ids(
        original.tokenizer, texts, min(config.logit_tokens, original.config.context_length)
    )
    schemes = {
        int8: swap.int8_scheme(original.model),
        int4: swap.int4_scheme(original.model, config.int4_group_size, config.int8_in_int4),
    }
    results: dict[str, Any] = {"fp32": figures(original, texts, config.window)}
    said = [f"fp32 {megabytes(results['fp32'])}"]
    for out, scheme in schemes.items():
        run.progress(f"{scheme.kind}: {len(scheme.layers)} layers")
        write(out, original, scheme)
        package = load_package(out)
        entry = figures(package, texts, config.window)
        change = relative_difference(entry["bits_per_byte"], results["fp32"]["bits_per_byte"])
        results[scheme.kind] = entry | {"relative_difference": change}
        results[scheme.kind] |= difference(original, package, ids)
        worst = max(change.values())
        said.append(f"{scheme.kind} {megabytes(entry)} ({worst:+z.1%} bits per byte)")
    run.say(" · ".join(said))
    return results


def write(out: Path, original: Package, scheme: Scheme) -> None:
    """Save `original` quantized; its meta goes along, with the digest of where it came from."""
    meta = original.meta | {"quantized_from": digest(original.path)}
    model = swap.quantize(original.model, scheme)
    save_package(out, model, original.path, quantization=scheme.model_dump(mode="json"), **meta)


def figures(package: Package, texts: Texts, window: int | None) -> dict[str, Any]:
    """Of the weights bytes, of the model bits_per_byte by source."""
    windows = window_over(package.config, window)
    return {
        "bytes": (package.path / WEIGHTS).stat().st_size,
        "bits_per_byte": {
            source: measure_package(package, group, windows).bits_per_byte
            for source, group in texts.items()
        },
    }


@torch.inference_mode()
def difference(original: Package, package: Package, ids: Tensor) -> dict[str, Any]:
    """greatest_logit_difference over (1, T) `ids`; layer_error: greatest and mean, relative."""
    errors = layer_errors(original.model, package.model)
    logits = (package.model(ids) - original.model(ids)).abs().max()
    return {
        "greatest_logit_difference": float(logits),
        "layer_error": {
            "greatest": max(errors.values()),
            "mean": sum(errors.values()) / len(errors),
        },
    }


def megabytes(figures: dict[str, Any]) -> str:
    """Size for people."""
    return f"{figures['bytes'] / 1e6:.1f} MB"
