"""The model folder that every later stage eats.

model.safetensors (no metadata), model.json (format number, model config, vocabulary size,
quantization scheme or null, a sha256 for each tensor, what the writer added), tokenizer.json and
tokenizer.tiktoken. Nothing in it depends on time or place.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from minigpt.config import Config, Size
from minigpt.data.pin import Sha256
from minigpt.errors import PackageError
from minigpt.files import new_folder, write_bytes, write_json
from minigpt.log import excerpt
from minigpt.model.build import empty_model
from minigpt.model.config import ModelConfig
from minigpt.model.count import parameters
from minigpt.model.gpt import GPT, NormalizedEmbedding
from minigpt.params_errors import explain
from minigpt.tokenizer.bpe import Tokenizer

FORMAT = 1
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
PARAMETERS_A_BYTE = 2
"""In 4 bits; no format of ours is smaller, so a file bounds the model that it belongs to."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.tiktoken")


class Description(Config):
    """model.json."""

    format: Literal[1]
    model: ModelConfig
    vocab_size: Size
    quantization: dict[str, Any] | None
    """A scheme, as `minigpt.quantization` reads it; None: plain weights."""
    tensors: dict[str, Sha256]
    meta: dict[str, Any]


@dataclass(frozen=True)
class Package:
    """A model with its tokenizer, read from `path`."""

    model: GPT
    tokenizer: Tokenizer
    config: ModelConfig
    path: Path
    quantization: dict[str, Any] | None
    """The scheme of `minigpt.quantization`; None: plain weights."""
    meta: dict[str, Any]
    """What the stage that wrote it added."""


def save_package(
    out: Path,
    model: GPT,
    tokenizer: Path,
    quantization: dict[str, Any] | None = None,
    **meta: Any,
) -> None:
    """Write `model` and the tokenizer files of the folder `tokenizer` to the folder `out`.

    Floating-point weights are written as they are, but a normalised embedding is divided first
    (`ModelConfig.embedding_norm`). `meta` must be JSON that is the same in every run.

    Raises:
        PackageError: the tokenizer cannot be read, or has another number of tokens.
    """
    words = Tokenizer.load(tokenizer)
    if words.vocab_size != model.vocab_size:
        raise PackageError(
            f"{tokenizer}: {words.vocab_size} tokens, but the model was built for "
            f"{model.vocab_size}. Run: dvc repro pretrain"
        )
    tensors = packaged_tensors(model)
    description = {
        "format": FORMAT,
        "model": model.config.model_dump(mode="json"),
        "vocab_size": model.vocab_size,
        "quantization": quantization,
        "tensors": {name: tensor_digest(tensor) for name, tensor in tensors.items()},
        "meta": meta,
    }
    with new_folder(out) as folder:
        write_bytes(folder / WEIGHTS, save(tensors))
        write_json(folder / DESCRIPTION, description)
        for name in TOKENIZER_FILES:
            write_bytes(folder / name, words.files[name])


def copy_package(package: Path, out: Path) -> None:
    """Write the files of `package` to the folder `out` as they are.

    Raises:
        PackageError: one is missing.
    """
    try:
        files = {n: (package / n).read_bytes() for n in (WEIGHTS, DESCRIPTION, *TOKENIZER_FILES)}
    except OSError as error:
        raise PackageError(f"{package}: {error.strerror}: {error.filename}") from error
    with new_folder(out) as folder:
        for name, data in files.items():
            write_bytes(folder / name, data)


def load_package(path: Path, device: str = "cpu", *, verify: bool = False) -> Package:
    """Read a package; the model is in eval mode on `device`.

    Args:
        path: the folder.
        device: where the model goes.
        verify: also compare each tensor with its sha256 in model.json.

    Raises:
        PackageError: the folder is missing, incomplete, of another format or damaged.
    """
    description = read_description(path)
    config = description.model
    tensors = read_tensors(path)
    if verify:
        verify_tensors(path, tensors, description.tensors)
    with torch.random.fork_rng(devices=[]):  # building draws numbers that nobody needs
        model = empty_model(config, description.vocab_size)
    if (scheme := description.quantization) is not None:
        from minigpt.quantization.swap import quantize_structure

        model = quantize_structure(model, scheme)
    if config.tied:
        tables = [name for name in tensors if name.startswith("embed.")]
        tensors |= {f"head.{name.removeprefix('embed.')}": tensors[name] for name in tables}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = excerpt(" ".join(str(error).split()), most=300)
        raise PackageError(f"{path / WEIGHTS}: does not fit {DESCRIPTION}: {reason}") from error
    return Package(
        model.to(device).eval(),
        Tokenizer.load(path),
        config,
        path,
        scheme,
        description.meta,
    )


def read_description(path: Path) -> Description:
    """model.json of a package.

    Raises:
        PackageError: it is missing, not JSON, of a format that this program does not know, or
            describes a model that the weights beside it cannot fill.
    """
    for name in (DESCRIPTION, WEIGHTS, *TOKENIZER_FILES):
        if not (path / name).is_file():
            raise PackageError(
                f"{path}: not a package: {name} is missing. Build it with: dvc repro"
            )
    file = path / DESCRIPTION
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
            raise PackageError(
                f"{file}: format {excerpt(str(values['format']))}, but this program reads format "
                f"{FORMAT}. Use the version of MiniGPT that wrote it, or build it again with: "
                "dvc repro"
            )
        description = Description.model_validate(values)
    except ValidationError as error:
        (first, *_) = explain(error, Description, DESCRIPTION)
        raise PackageError(f"{path}: cannot be read as a package's description: {first}") from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8; lists in lists in lists
        reason = excerpt(" ".join(str(error).split()))
        raise PackageError(
            f"{file}: cannot be read as a package's description: {reason}"
        ) from error
    count, size = (
        parameters(description.model, description.vocab_size),
        (path / WEIGHTS).stat().st_size,
    )
    if count > PARAMETERS_A_BYTE * size:
        raise PackageError(
            f"{file}: its sizes make {count:,} parameters, more than the {size:,} bytes of "
            f"{WEIGHTS} can hold. Get it again with: dvc pull, or dvc repro"
        )
    return description


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a package by name.

    Raises:
        PackageError: the file is damaged.
    """
    try:
        return load_file(path / WEIGHTS)
    except SafetensorError as error:
        raise PackageError(
            f"{path / WEIGHTS}: damaged ({error}). Get it again with: dvc pull, or dvc repro"
        ) from error


def verify_tensors(path: Path, tensors: dict[str, Tensor], expected: dict[str, str]) -> None:
    """Compare each tensor with its digest.

    Raises:
        PackageError: one differs, is missing or is not in model.json.
    """
    for name in sorted(tensors.keys() | expected.keys()):
        sha256 = tensor_digest(tensors[name]) if name in tensors else "no tensor"
        if sha256 != expected.get(name):
            raise PackageError(
                f"{path / WEIGHTS}: {name} is not what was written: sha256 {sha256}, "
                f"expected {expected.get(name, 'no tensor')}"
            )


@torch.no_grad()
def packaged_tensors(model: GPT) -> dict[str, Tensor]:
    """The state of `model` as a package holds it: contiguous, on the CPU, a tied table once."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tied:
        tensors = {name: tensor for name, tensor in tensors.items() if name[:5] != "head."}
    if isinstance(model.embed, NormalizedEmbedding):
        tensors["embed.weight"] = model.embed.table().cpu().contiguous()
    return tensors


def tensor_digest(tensor: Tensor) -> str:
    """sha256 over a tensor's bytes."""
    flat = tensor.cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()
