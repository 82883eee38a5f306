"""Every format by name."""

from minigpt.export.hf import to_hf
from minigpt.export.onnx import to_onnx
from minigpt.export.types import Exporter

EXPORTERS: dict[str, Exporter] = {"hf": to_hf, "onnx": to_onnx}
