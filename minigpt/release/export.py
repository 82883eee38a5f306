"""The stage export: the fine-tuned package in other programs' formats, each proven to be it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from minigpt.digest import files_of
from minigpt.errors import ExportError
from minigpt.evaluation.perplexity import measure, measure_package, window_over
from minigpt.export.config import ExportConfig, ExportParams
from minigpt.export.exporter import Exporter
from minigpt.export.exporters import EXPORTERS
from minigpt.export.verify import Decoder, parity, same_ids, torch_decoder
from minigpt.files import new_folder, write_text
from minigpt.package import Package, load_package
from minigpt.release.text import Texts, first_ids, held_out_texts, relative_difference
from minigpt.run import Run

HEADLINES = ("*.relative_difference.*",)


def export(
    finetuned: Path, documents: Path, out: Path, params: ExportParams, run: Run
) -> dict[str, Any]:
    """Write a folder a format to `out`; where one does not match, nothing is left.

    Returns:
        For each exported model: bytes, greatest_logit_difference and relative_logit_difference; for
        one that rounds also bits_per_byte by source, and its relative_difference to our fp32.

    Raises:
        ExportError: a format cannot represent the model, or its logits or token ids differ.
    """
    config = params.export
    run.machine.prepare_torch()
    package = load_package(finetuned)
    exporters = [exporter for name, exporter in EXPORTERS.items() if name in config.formats]
    for exporter in exporters:
        exporter.check(package)
    bench = Bench(package, held_out_texts(documents, config.max_bytes), config, run.machine.threads)
    results: dict[str, Any] = {}
    with new_folder(out) as folder:
        for exporter in exporters:
            target = folder / exporter.name
            target.mkdir()
            run.progress(f"{exporter.name}: writing")
            exporter.export(package, target, config)
            run.progress(f"{exporter.name}: comparing")
            results |= bench.judge(exporter, target)
        if not exporters:  # DVC takes no empty folder
            write_text(folder / "absent.txt", "params.yaml: export.formats lists none\n")
    run.say(
        " · ".join(line(name, figures) for name, figures in results.items()) or "nothing to write"
    )
    return results


@dataclass(frozen=True)
class Bench:
    """What exported folders are held against."""

    package: Package
    texts: Texts
    config: ExportConfig
    threads: int

    def judge(self, exporter: Exporter, folder: Path) -> dict[str, Any]:
        """Figures of the models in one exported folder, as `export` returns them."""
        texts = [document.text for group in self.texts.values() for document in group]
        if not same_ids(folder, self.package.tokenizer, texts):
            raise ExportError(
                f"{exporter.name}: its tokenizer.json does not give our token ids on test text"
            )
        figures = {}
        for model in exporter.models:
            file = folder / model.file
            decoder = model.decode(file, self.threads)
            judged = (
                self.equal(model.name, decoder, file) if model.exact else self.near(decoder, file)
            )
            figures[model.name] = judged
        return figures

    def equal(self, name: str, decoder: Decoder, file: Path) -> dict[str, Any]:
        """Figures of a decoder whose logits must be ours."""
        figures = self.compare(decoder, file)
        if not (worst := figures["greatest_logit_difference"]) <= self.config.tolerance:
            raise ExportError(
                f"{name}: logits differ from ours by up to {worst:.2g}, "
                f"allowed is export.tolerance, {self.config.tolerance:g}"
            )
        return figures

    def near(self, decoder: Decoder, file: Path) -> dict[str, Any]:
        """Figures of a decoder that rounds: what that costs in bits per byte."""
        windows = window_over(self.package.config, self.config.window)

        def score(ids: Tensor, first: int) -> Tensor:
            return decoder(ids)[0][:, first:]

        theirs = {
            source: measure(score, self.package.tokenizer, group, windows).bits_per_byte
            for source, group in self.texts.items()
        }
        return self.compare(decoder, file) | {
            "bits_per_byte": theirs,
            "relative_difference": relative_difference(theirs, self.ours),
        }

    @cached_property
    def ours(self) -> dict[str, float]:
        """Bits per byte of the package itself, by source."""
        windows = window_over(self.package.config, self.config.window)
        return {
            source: measure_package(self.package, group, windows).bits_per_byte
            for source, group in self.texts.items()
        }

    def compare(self, decoder: Decoder, file: Path) -> dict[str, Any]:
        """Size of `file`, and logits beside ours."""
        wanted = min(self.config.parity_tokens, self.package.config.context_length)
        ids: Tensor = first_ids(self.package.tokenizer, self.texts, wanted)
        distance = parity(torch_decoder(self.package.model), decoder, ids, self.config.cached_steps)
        return {
            "bytes": sum(
                part.stat().st_size
                for path in file.parent.glob(f"{file.name}*")  # with weights in FILE.data
                for part in files_of(path)
            ),
            "greatest_logit_difference": max(distance.prompt, distance.cached),
            "relative_logit_difference": distance.relative,
        }


def line(name: str, figures: dict[str, Any]) -> str:
    """One exported model for people."""
    size = f"{name} {figures['bytes'] / 1e6:.1f} MB"
    if change := figures.get("relative_difference"):
        return f"{size} ({max(change.values()):+z.1%} bits per byte)"
    return f"{size} (logits within {figures['greatest_logit_difference']:.0e})"
