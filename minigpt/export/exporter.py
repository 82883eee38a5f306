"""What an exporter states of its format, and what is common to all of them."""

import copy
import errno
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt.errors import ExportError
from minigpt.export.config import ExportConfig
from minigpt.export.manifest import EXAMPLE
from minigpt.export.verify import Decoder
from minigpt.files import write_json, write_text
from minigpt.model.gpt import GPT
from minigpt.package import Package
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.patterns import END_OF_TEXT

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class ExportedModel:
    """A model among the files of a format."""

    name: str
    """Its key in results/export.json: the format's name, with a suffix where it has several."""
    file: str
    """Where its weights are, inside of the format's folder."""
    decode: Callable[[Path, int], Decoder]
    """(path of `file`, threads): the model as the format's own program runs it."""
    exact: bool = True
    """Whether its logits must be ours; one that rounds is measured in bits per byte."""


@dataclass(frozen=True)
class Exporter:
    """One format."""

    name: str
    """Its word in `export.formats`, its folder in exports/ and its module in `formats`."""
    write: Callable[[Package, Path, ExportConfig], None]
    """(package, out, config): fill the new, empty folder `out`, with the same bytes each time."""
    models: tuple[ExportedModel, ...]
    """What `write` leaves there."""
    example: str
    """example.py: about ten lines that continue a text by the format's own program alone."""
    beyond: str
    """What happens there to a text longer than the model's context, as a clause."""
    refuses: Callable[[Package], Sequence[str]] = lambda _: ()
    """Why the format cannot hold this package, a clause each; none: it can."""

    def check(self, package: Package) -> None:
        """Raise an ExportError where the format has no words for the model."""
        if package.quantization is not None:
            raise ExportError(
                f"{self.name}: {package.path} is quantized; export the package it was made from, "
                "the other program quantizes in its own way"
            )
        if reasons := self.refuses(package):
            raise ExportError(
                f"{self.name}: {'; '.join(reasons)}. Leave {self.name} out of export.formats."
            )

    def export(self, package: Package, out: Path, config: ExportConfig) -> None:
        """Fill the new, empty folder `out` with the model, tokenizer.json and example.py.

        Raises:
            ExportError: the format has no words for the model.
        """
        self.check(package)
        try:
            self.write(package, out, config)
        except OSError as error:
            if error.errno is not None:
                raise
            # numpy's tofile says how many bytes it wrote, and not why it wrote no more.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out)) from error
        write_json(out / TOKENIZER, opening(package.tokenizer))
        write_text(out / EXAMPLE, self.example)


def opening(tokenizer: Tokenizer) -> dict[str, Any]:
    """Our tokenizer.json, with <|endoftext|> in front of each text: as the model has learned them.

    It is left out by `encode(text, add_special_tokens=False)`.
    """
    value: dict[str, Any] = json.loads(tokenizer.files[TOKENIZER])

    def opened(text: str, type_id: int) -> list[dict[str, Any]]:
        start = {"SpecialToken": {"id": END_OF_TEXT, "type_id": type_id}}
        return [start, {"Sequence": {"id": text, "type_id": type_id}}]

    start = {"id": END_OF_TEXT, "ids": [tokenizer.eot_id], "tokens": [END_OF_TEXT]}
    value["post_processor"] = {
        "type": "TemplateProcessing",
        "single": opened("A", 0),
        "pair": opened("A", 0) + opened("B", 1),
        "special_tokens": {END_OF_TEXT: start},
    }
    return value


def plain_model(package: Package) -> GPT:
    """A copy of the model in fp32 on the CPU, its embedding folded."""
    return copy.deepcopy(package.model).cpu().float().fold().eval()
