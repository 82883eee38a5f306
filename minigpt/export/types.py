"""What an exporter is."""

import copy
from collections.abc import Callable
from pathlib import Path

from minigpt.errors import ExportError
from minigpt.export.config import ExportConfig
from minigpt.model.gpt import GPT
from minigpt.package import Package

Exporter = Callable[[Package, Path, ExportConfig], None]
"""(package, out, config): fill the new, empty folder `out`, with the same bytes each time.

Raises ExportError where the format cannot represent the model.
"""


def plain_model(package: Package, name: str) -> GPT:
    """For exporter `name`: a copy of the model in fp32 on the CPU, its embedding folded."""
    if package.quantization is not None:
        raise ExportError(
            f"{name}: {package.path} is quantized; export the package it was made from, "
            "the other program quantizes in its own way"
        )
    return copy.deepcopy(package.model).cpu().float().fold().eval()
