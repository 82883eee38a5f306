"""A model ready to write."""

from dataclasses import dataclass
from pathlib import Path

from minigpt.errors import PackageError
from minigpt.generation.engine import Engine
from minigpt.generation.model_files import FILES, TORCH, ModelFiles
from minigpt.generation.onnx_engine import OnnxEngine
from minigpt.machine import Machine
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.exported import load_exported


@dataclass(frozen=True)
class Model:
    """A loaded model."""

    files: ModelFiles
    engine: Engine
    tokenizer: Tokenizer


def load(files: ModelFiles, machine: Machine, *, slots: int = 1, spin: bool = True) -> Model:
    """Load a model with `slots` slots on the machine's threads. Only torch's engine imports torch.

    Raises:
        PackageError: the files are damaged, or not what the engine runs.
    """
    folder = Path(files.folder)
    if files.engine != TORCH:
        tokenizer = load_exported(folder)
        file = FILES[files.engine]
        engine: Engine = OnnxEngine(folder, file, slots=slots, threads=machine.threads, spin=spin)
    else:
        from minigpt.generation.torch_engine import TorchEngine
        from minigpt.package import load_package

        machine.prepare_torch()
        package = load_package(folder, machine.torch_device)
        tokenizer, engine = package.tokenizer, TorchEngine(package.model, slots)
    if engine.vocab_size != tokenizer.vocab_size:
        raise PackageError(
            f"{folder}: the model has {engine.vocab_size} tokens, its tokenizer "
            f"{tokenizer.vocab_size}: files of two models. Run: dvc repro export"
        )
    return Model(files, engine, tokenizer)
