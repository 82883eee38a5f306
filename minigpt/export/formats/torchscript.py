"""TorchScript: the model and its cache as one traced graph, for `torch.jit.load`, in C++ too.

`model(input_ids, attention_mask, past)` gives logits and the past of the next call; shapes, and
what the first call takes, are in `export.stacked_cache`. Batch, length and past are free. torch
keeps TorchScript for what exists and points to torch.export for what is new.
"""

import io
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minigpt.export.config import ExportConfig
from minigpt.export.exporter import ExportedModel, Exporter, plain_model
from minigpt.export.formats.onnx import quiet
from minigpt.export.stacked_cache import EXAMPLE, StackedDecoder, decoder
from minigpt.export.verify import Decoder
from minigpt.files import write_bytes
from minigpt.package import Package

FILE = "model.pt"
COUNTED = re.compile(rb"\.___torch_mangle_\d+")
"""What a process puts behind a module's name when it has traced a class of it before."""
WRITTEN_ANEW = {"version", "byteorder", ".data/serialization_id"}
"""Records that the writer of an archive adds by itself."""


class Model(nn.Module):
    """All tensors of a StackedDecoder in one module: one class in the archive, one file of code."""

    def __init__(self, stacked: StackedDecoder) -> None:
        super().__init__()
        self.run = stacked.forward  # a method is no submodule, so its modules leave no class
        for name, tensor in [*stacked.named_parameters(), *stacked.named_buffers()]:
            self.register_buffer(name.removeprefix("model.").replace(".", "_"), tensor)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `StackedDecoder.forward`."""
        return self.run(input_ids, attention_mask, past)


def write(package: Package, out: Path, config: ExportConfig) -> None:
    """Write model.pt."""
    del config  # nothing to choose
    stacked = StackedDecoder(plain_model(package)).requires_grad_(False)
    with quiet(), torch.no_grad():
        traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
            Model(stacked), stacked.example(), check_trace=False
        )
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
    write_bytes(out / FILE, tidy(buffer))


def tidy(archive: io.BytesIO) -> bytes:
    """`archive` without debug files, which hold paths, and without a count of earlier traces."""
    archive.seek(0)
    reader = torch._C.PyTorchFileReader(archive)
    names = [name for name in reader.get_all_records() if not name.endswith(".debug_pkl")]
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name in sorted(set(names) - WRITTEN_ANEW):
        record = reader.get_record(name)
        if name == "data.pkl" or name.startswith("code/"):
            record = COUNTED.sub(b"", record)
            name = re.sub(r"/___torch_mangle_\d+\.py$", ".py", name)
        writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return buffer.getvalue()


def decode(file: Path, threads: int) -> Decoder:
    """model.pt as torch.jit runs it."""
    del threads  # torch's, which the stage has set
    with quiet():
        model: Any = torch.jit.load(file)  # type: ignore[no-untyped-call]
    return decoder(model, model.empty)


ENTRY = Exporter(
    "torchscript",
    write,
    models=(ExportedModel("torchscript", FILE, decode),),
    example=EXAMPLE.format(program="torch.jit", load=f'torch.jit.load(folder / "{FILE}")'),
    beyond="it fails with an index out of range; where the model has no table of positions "
    "(alibi, none) it reads on",
)
