"""The stage export: the fine-tuned package in other programs' formats, each proven to be it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from minigpt.data.document import read_documents
from minigpt.digest import digest, files_of
from minigpt.errors import ExportError
from minigpt.evaluation.perplexity import measure, measure_package, window_over
from minigpt.export.config import ExportConfig, ExportParams
from minigpt.export.exporter import ExportedModel, Exporter
from minigpt.export.exporters import EXPORTERS
from minigpt.export.manifest import write_manifest
from minigpt.export.verify import (
    Decoder,
    continuation,
    parity,
    same_ids,
    same_text,
    torch_decoder,
)
from minigpt.files import new_folder, write_text
from minigpt.package import Package
from minigpt.release.original import load_original
from minigpt.release.text import Texts, first_ids, held_out_texts, relative_difference
from minigpt.run import Run
from minigpt.tokenizer.patterns import PAD

HEADLINES = ("*.greatest_relative_difference",)


def export(
    finetuned: Path, documents: Path, out: Path, params: ExportParams, run: Run
) -> dict[str, Any]:
    """Write a folder a format to `out`; where one does not match, nothing is left.

    Returns:
        For each exported model: bytes; greatest_logit_difference and relative_logit_difference to
        ours; batch_logit_difference, of rows of a padded batch to each row alone; greedy_agreement,
        the share of tokens it writes that ours would write there too; for one that rounds also
        bits_per_byte by source, its relative_difference to our fp32 and the greatest of these.

    Raises:
        ExportError: a format cannot represent the model, or its logits, its tokens or its text
            differ.
    """
    config = params.export
    run.machine.prepare_torch()
    package = load_original(finetuned)
    exporters = [exporter for name, exporter in EXPORTERS.items() if name in config.formats]
    for exporter in exporters:
        exporter.check(package)
    made_of = digest(finetuned)
    licences = {
        document.source: document.licence
        for document in read_documents(documents, ("source", "licence"), split="train")
    }
    bench = Bench(package, held_out_texts(documents, config.max_bytes), config, run.machine.threads)
    results: dict[str, Any] = {}
    with new_folder(out) as folder:
        for exporter in exporters:
            target = folder / exporter.name
            target.mkdir()
            run.progress(f"{exporter.name}: writing")
            exporter.export(package, target, config)
            run.progress(f"{exporter.name}: comparing")
            proof = bench.judge(exporter, target)
            write_manifest(
                target, exporter.name, package, made_of, proof, exporter.beyond, licences
            )
            results |= proof
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
        tokenizer = self.package.tokenizer
        if not same_ids(folder, tokenizer, texts):
            raise ExportError(
                f"{exporter.name}: its tokenizer.json does not give our token ids on test text"
            )
        if not same_text(folder, tokenizer, ([id] for id in range(tokenizer.vocab_size))):
            raise ExportError(
                f"{exporter.name}: its tokenizer.json does not make our text of every token"
            )
        figures = {}
        for model in exporter.models:
            file = folder / model.file
            decoder = model.decode(file, self.threads)
            compared = self.compare(model, decoder, file)
            worst = self.config.tolerance
            if not model.exact:  # its batches may move logits by what rounding moves them by
                worst = max(worst, compared["greatest_logit_difference"])
                compared |= self.loss(decoder)
            figures[model.name] = compared | self.written(model, decoder, folder, worst)
        return figures

    @cached_property
    def ids(self) -> Tensor:
        """(1, T) ids of test text."""
        wanted = min(self.config.parity_tokens, self.package.config.context_length)
        return first_ids(self.package.tokenizer, self.texts, wanted)

    def loss(self, decoder: Decoder) -> dict[str, Any]:
        """What a decoder that rounds costs in bits per byte."""
        windows = window_over(self.package.config, self.config.window)

        def score(ids: Tensor, first: int) -> Tensor:
            return decoder(ids)[0][:, first:]

        theirs = {
            source: measure(score, self.package.tokenizer, group, windows).bits_per_byte
            for source, group in self.texts.items()
        }
        return {"bits_per_byte": theirs} | relative_difference(theirs, self.ours)

    @cached_property
    def ours(self) -> dict[str, float]:
        """Bits per byte of the package itself, by source."""
        windows = window_over(self.package.config, self.config.window)
        return {
            source: measure_package(self.package, group, windows).bits_per_byte
            for source, group in self.texts.items()
        }

    def compare(self, model: ExportedModel, decoder: Decoder, file: Path) -> dict[str, Any]:
        """Size of `file`, and logits beside ours."""
        ours = torch_decoder(self.package.model)
        distance = parity(ours, decoder, self.ids, self.config.cached_steps)
        worst = max(distance.prompt, distance.cached)
        about = f"{model.name}: logits differ from ours"
        if model.exact:
            self.allow(about, worst, self.config.tolerance)
        else:
            share, most = distance.relative, self.config.rounding_tolerance
            self.allow(f"{about}, as a share of them,", share, most, "rounding_tolerance")
        return {
            "bytes": sum(
                part.stat().st_size
                for path in file.parent.glob(f"{file.name}*")  # with weights in FILE.data
                for part in files_of(path)
            ),
            "greatest_logit_difference": worst,
            "relative_logit_difference": distance.relative,
        }

    def written(
        self, model: ExportedModel, decoder: Decoder, folder: Path, worst: float
    ) -> dict[str, Any]:
        """What a decoder writes behind four prompts, beside what ours would."""
        tokenizer, context = self.package.tokenizer, self.package.config.context_length
        prompts = prompts_in(self.ids, tokenizer.eot_id, context)
        steps = min(self.config.written_tokens, context + 1 - max(map(len, prompts)))
        ours, pad = torch_decoder(self.package.model), tokenizer.specials[PAD]
        text = continuation(ours, decoder, prompts, steps, pad)
        # Where activations are rounded, the last bit of a sum moves all that comes behind it: read
        # at once and read step by step are two things there.
        batch = max(text.alone, text.whole) if model.exact else text.alone
        about = f"{model.name}: logits of a padded batch differ from those of its rows"
        self.allow(about, batch, worst)
        if model.exact:
            about = f"{model.name}: it writes tokens whose logit in ours is below the best"
            self.allow(about, text.behind, 2 * self.config.tolerance)
        if not same_text(folder, tokenizer, text.tokens):
            raise ExportError(f"{model.name}: its tokenizer.json does not make our text of its ids")
        return {"batch_logit_difference": batch, "greedy_agreement": text.equal}

    def allow(self, about: str, difference: float, most: float, setting: str = "tolerance") -> None:
        """Raise an ExportError where a difference is too large, or no number."""
        if not difference <= most:
            raise ExportError(
                f"{about} by up to {difference:.2g}, allowed is {most:.2g} (params.yaml has "
                f"export.{setting}: {getattr(self.config, setting):g})"
            )


PROMPT_LENGTHS = (4, 9, 15, 24)
"""In tokens; at most half of a model's context."""


def prompts_in(ids: Tensor, start: int, context: int) -> list[list[int]]:
    """Prompts from all over (1, T) `ids`, each opened by `start` as every text is."""
    tokens: list[int] = ids[0].tolist()
    return [
        [start, *tokens[place : place + n - 1]]
        for i, n in enumerate(min(n, max(1, context // 2)) for n in PROMPT_LENGTHS)
        for place in [1 + i * len(tokens) // len(PROMPT_LENGTHS)]
    ]


def line(name: str, figures: dict[str, Any]) -> str:
    """One exported model for people."""
    size = f"{name} {figures['bytes'] / 1e6:.1f} MB"
    if change := figures.get("relative_difference"):
        return f"{size} ({max(change.values()):+z.1%} bits per byte)"
    return f"{size} (logits within {figures['greatest_logit_difference']:.0e})"
