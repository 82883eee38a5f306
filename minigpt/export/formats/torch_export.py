"""torch.export: the model and its cache as one graph of torch's operators, for `torch.export.load`.

`torch.export.load("model.pt2").module()` is called as `export.stacked_cache` describes. Batch,
length and past are free, from an empty past on. The file is for torch of the same or a newer
version; torch promises no more.
"""

import io
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim
from torch.fx.experimental import _config as shapes

from minigpt.export.config import ExportConfig
from minigpt.export.exporter import ExportedModel, Exporter, plain_model
from minigpt.export.formats.onnx import quiet
from minigpt.export.stacked_cache import EXAMPLE, StackedDecoder, decoder
from minigpt.export.verify import Decoder
from minigpt.files import write_bytes
from minigpt.package import Package

FILE = "model.pt2"
TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom")
"""What a graph's nodes tell of where they come from: paths, and lines of our code."""


def write(package: Package, out: Path, config: ExportConfig) -> None:
    """Write model.pt2."""
    del config  # nothing to choose
    model = StackedDecoder(plain_model(package)).requires_grad_(False)
    free = ({0: Dim.AUTO, 1: Dim.AUTO}, {0: Dim.AUTO, 1: Dim.AUTO}, {2: Dim.AUTO, 4: Dim.AUTO})
    # By itself torch rules out sizes of 0 and 1, so an empty past.
    with quiet(), shapes.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        program = torch.export.export(model.eval(), model.example(), dynamic_shapes=free)
        for module in program.graph_module.modules():
            for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                for key in TRACES:
                    node.meta.pop(key, None)
        program._example_inputs = None  # they are kept as a pickle, for nobody
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
    write_bytes(out / FILE, buffer.getvalue())


def decode(file: Path, threads: int) -> Decoder:
    """model.pt2 as torch runs it."""
    del threads  # torch's, which the stage has set
    with quiet():
        model: Any = torch.export.load(file).module()
    return decoder(model, model.empty)


ENTRY = Exporter(
    "torch_export",
    write,
    models=(ExportedModel("torch_export", FILE, decode),),
    example=EXAMPLE.format(
        program="torch.export", load=f'torch.export.load(folder / "{FILE}").module()'
    ),
    beyond="a prompt is refused; steps fail with an index out of bounds, but where the model has "
    "no table of positions (alibi, none) they read on",
)
