"""The stage export: the fine-tuned package in other programs' formats, each proven to be it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from minigpt.errors import ExportError
from minigpt.evaluation.perplexity import measure, measure_package, window_over
from minigpt.export import onnx as onnx_files
from minigpt.export.config import ExportConfig, ExportParams
from minigpt.export.exporters import EXPORTERS
from minigpt.export.verify import (
    Decoder,
    hf_decoder,
    onnx_decoder,
    parity,
    same_ids,
    torch_decoder,
)
from minigpt.files import new_folder, write_text
from minigpt.package import Package, load_package
from minigpt.release.text import Texts, first_ids, held_out_texts, relative_difference
from minigpt.run import Run


def export(
    finetuned: Path, documents: Path, onnx: Path, hf: Path, params: ExportParams, run: Run
) -> dict[str, Any]:
    """Write the folders `onnx` and `hf`; of a format that does not match nothing is left.

    A format that params do not list becomes a folder with a note in it.

    Returns:
        For hf, onnx and onnx_int8: bytes, greatest_logit_difference and relative_logit_difference;
        for the last also bits_per_byte by source, and its relative_difference to our fp32.

    Raises:
        ExportError: a format cannot represent the model, or its logits or token ids differ.
    """
    config = params.export
    run.machine.prepare_torch()
    package = load_package(finetuned)
    bench = Bench(package, held_out_texts(documents, config.max_bytes), config, run.machine.threads)
    metrics: dict[str, Any] = {}
    for name, out in (("onnx", onnx), ("hf", hf)):
        with new_folder(out) as folder:
            if name in config.formats:
                run.progress(f"{name}: writing")
                EXPORTERS[name](package, folder, config)
                run.progress(f"{name}: comparing")
                metrics |= bench.judge(name, folder)
            else:
                write_text(folder / "absent.txt", f"params.yaml: export.formats lacks {name}\n")
    run.say(" · ".join(line(name, found) for name, found in metrics.items()) or "nothing to write")
    return metrics


@dataclass(frozen=True)
class Bench:
    """What exported folders are held against."""

    package: Package
    texts: Texts
    config: ExportConfig
    threads: int

    def judge(self, name: str, folder: Path) -> dict[str, Any]:
        """Figures of one exported folder, as `export` returns them."""
        texts = [document.text for group in self.texts.values() for document in group]
        if not same_ids(folder, self.package.tokenizer, texts):
            raise ExportError(
                f"{name}: its tokenizer.json does not give our token ids on test text"
            )
        if name == "hf":
            return {name: self.equal(name, hf_decoder(folder), folder / "model.safetensors")}
        fp32, int8 = folder / onnx_files.FP32, folder / onnx_files.INT8
        return {
            name: self.equal(name, onnx_decoder(fp32, self.threads), fp32),
            f"{name}_int8": self.near(onnx_decoder(int8, self.threads), int8),
        }

    def equal(self, name: str, decoder: Decoder, file: Path) -> dict[str, Any]:
        """Figures of a decoder whose logits must be ours."""
        found = self.compare(decoder, file)
        if not (worst := found["greatest_logit_difference"]) <= self.config.tolerance:
            raise ExportError(
                f"{name}: logits differ from ours by up to {worst:.2g}, "
                f"allowed is export.tolerance, {self.config.tolerance:g}"
            )
        return found

    def near(self, decoder: Decoder, file: Path) -> dict[str, Any]:
        """Figures of a decoder that rounds: what that costs in bits per byte."""
        windows = window_over(self.package.config, self.config.window)

        def score(ids: Tensor, first: int) -> Tensor:
            return decoder(ids)[0][:, first:]

        found, ours = {}, {}
        for source, group in self.texts.items():
            ours[source] = measure_package(self.package, group, windows).bits_per_byte
            theirs = measure(score, self.package.tokenizer, group, windows)
            found[source] = theirs.bits_per_byte
        return self.compare(decoder, file) | {
            "bits_per_byte": found,
            "relative_difference": relative_difference(found, ours),
        }

    def compare(self, decoder: Decoder, file: Path) -> dict[str, Any]:
        """Size of `file`, and logits beside ours."""
        wanted = min(self.config.parity_tokens, self.package.config.context_length)
        ids: Tensor = first_ids(self.package.tokenizer, self.texts, wanted)
        found = parity(torch_decoder(self.package.model), decoder, ids, self.config.cached_steps)
        return {
            "bytes": file.stat().st_size,
            "greatest_logit_difference": max(found.prompt, found.cached),
            "relative_logit_difference": found.relative,
        }


def line(name: str, found: dict[str, Any]) -> str:
    """One format for people."""
    size = f"{name} {found['bytes'] / 1e6:.1f} MB"
    if change := found.get("relative_difference"):
        return f"{size} ({max(change.values()):+.1%} bits per byte)"
    return f"{size} (logits within {found['greatest_logit_difference']:.0e})"
