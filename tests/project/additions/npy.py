"""A folder of .npy files, one a weight, with the model's config beside it."""

import json
from pathlib import Path

import numpy as np
import torch

from minigpt.export.config import ExportConfig
from minigpt.export.exporter import ExportedModel, Exporter, plain_model
from minigpt.export.verify import Decoder, torch_decoder
from minigpt.files import write_json
from minigpt.model.build import empty_model
from minigpt.model.config import ModelConfig
from minigpt.package import Package

WEIGHTS = "weights"
EXAMPLE = '''"""Say which weights there are: python example.py."""

from pathlib import Path

import numpy as np

for file in sorted(Path(__file__).with_name("weights").iterdir()):
    print(file.stem, np.load(file).shape)
'''


def write(package: Package, out: Path, config: ExportConfig) -> None:
    """Fill `out` with weights/NAME.npy and config.json."""
    del config  # nothing to choose
    model = plain_model(package)
    (out / WEIGHTS).mkdir()
    for name, tensor in model.state_dict().items():
        np.save(out / WEIGHTS / f"{name}.npy", tensor.numpy())
    facts = {"model": model.config.model_dump(mode="json"), "vocab_size": model.vocab_size}
    write_json(out / "config.json", facts)


def decode(weights: Path, threads: int) -> Decoder:
    """A model of nothing but these arrays; numpy itself has none that could run them."""
    del threads
    facts = json.loads((weights.parent / "config.json").read_text())
    model = empty_model(ModelConfig.model_validate(facts["model"]), facts["vocab_size"]).eval()
    arrays = {file.stem: torch.from_numpy(np.load(file)) for file in weights.iterdir()}
    model.load_state_dict(arrays)

    return torch_decoder(model)


ENTRY = Exporter(
    "npy",
    write,
    models=(ExportedModel("npy", WEIGHTS, decode),),
    example=EXAMPLE,
    beyond="it reads on",
)
