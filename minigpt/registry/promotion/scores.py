"""A version on another's evaluation set: stored figures where the sets agree, else it is run."""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minigpt import log
from minigpt.data.document import Document
from minigpt.evaluation.config import EvaluateConfig
from minigpt.machine import Machine
from minigpt.registry.contents import contents_of, damaged
from minigpt.registry.promotion.evaluation_set import (
    EvaluationSet,
    Passages,
    cut_alike,
    passages_of,
)
from minigpt.registry.registry import Registry
from minigpt.registry.versions import MODEL, Version

PACKAGES = {"finetuned": MODEL, "base": "models/base", "int8": "models/int8", "int4": "models/int4"}
"""The packages of a version, and where they lay in its checkout."""
PACKAGE_FILES = ("model.json", "model.safetensors", "tokenizer.json", "tokenizer.tiktoken")
PROMPT_TOKENS, TIMED_TOKENS, TRIES = 16, 32, 5


def results_of(registry: Registry, version: Version, stage: str) -> dict[str, Any]:
    """What a stage measured of a version, by its results/STAGE.json.

    Raises:
        RegistryError: it is gone, or is not what the version is made of.
    """
    path = f"results/{stage}.json"
    try:
        return dict(json.loads(contents_of(registry, version).read(path)))
    except (ValueError, TypeError) as error:
        raise damaged(version, path, "it is no JSON") from error


def passages_on(
    registry: Registry, own: EvaluationSet, reference: EvaluationSet, package: str = "finetuned"
) -> Passages:
    """What `base` or `finetuned` of the version with the set `own` needs for `reference`.

    `finetuned` is the version's model, which may be its base (`EvaluationSet.passages`).

    Raises:
        RegistryError: its files are gone.
    """
    if own.same_text(reference):
        stored = own.passages(package)
        if cut_alike(stored, reference.passages(package)):
            return stored
    return run_on(registry, own.version, package, reference.documents, reference.config)


def both_on(
    registry: Registry,
    sets: tuple[EvaluationSet, EvaluationSet],
    reference: EvaluationSet,
    package: str = "finetuned",
) -> tuple[Passages, Passages]:
    """As `passages_on` of two versions, so that passage i of both is the same text.

    Raises:
        RegistryError: files of one are gone.
    """
    first, second = (passages_on(registry, own, reference, package) for own in sets)
    if not cut_alike(first, second):  # another MiniGPT cut those that are stored
        first, second = (
            run_on(registry, own.version, package, reference.documents, reference.config)
            for own in sets
        )
    return first, second


def run_on(
    registry: Registry,
    version: Version,
    package: str,
    documents: Sequence[Document],
    config: EvaluateConfig,
) -> Passages:
    """What a package of `version` needs for each passage of `documents`, measured now.

    A window longer than the model's context is cut to that.

    Raises:
        RegistryError: its files are gone.
    """
    from minigpt.evaluation.passages import model_rows
    from minigpt.evaluation.perplexity import bits_of_documents, model_score, window_over
    from minigpt.package import load_package

    machine = Machine.load()
    machine.prepare_torch()
    size = sum(document.n_bytes for document in documents)
    log.say(f"running {package} of version {version.version} on {size / 1e6:.2f} MB of test text")
    with tempfile.TemporaryDirectory() as name:
        path = package_folder(registry, version, package, Path(name))
        device = "cpu" if package in ("int8", "int4") else machine.torch_device
        loaded = load_package(path, device=device)
    context = loaded.config.context_length
    length = min(config.window or context, context)
    stride = config.stride and min(config.stride, length)
    bits = bits_of_documents(
        model_score(loaded.model),
        loaded.tokenizer,
        documents,
        window_over(loaded.config, length, stride, config.batch),
        progress=log.every(10.0),
    )
    return passages_of(model_rows(package, bits, config.passage_bytes))


def package_folder(registry: Registry, version: Version, package: str, folder: Path) -> Path:
    """Where a package of `version` lies; a server's is fetched, all but `finetuned` into `folder`.

    Raises:
        RegistryError: its files are gone, or are not what the version is made of.
    """
    contents = contents_of(registry, version)
    if package == "finetuned":
        return contents.package()
    files = [contents.find(f"{PACKAGES[package]}/{name}", folder) for name in PACKAGE_FILES]
    return files[0].parent


def ms_per_token(registry: Registry, version: Version) -> float:
    """Milliseconds of one more token of the model here, batch 1: the best of several.

    Raises:
        RegistryError: its files are gone.
    """
    from minigpt.generation.torch_engine import TorchEngine
    from minigpt.package import load_package

    machine = Machine.load()
    machine.prepare_torch()
    loaded = load_package(contents_of(registry, version).package(), device=machine.torch_device)
    engine, token = TorchEngine(loaded.model), loaded.tokenizer.eot_id
    context = engine.context_length
    prompt = [token] * max(1, min(PROMPT_TOKENS, context // 2))
    steps = max(1, min(TIMED_TOKENS, context - len(prompt)))
    best = float("inf")
    for _ in range(TRIES):
        engine.cut(0, 0)
        engine.read(0, prompt)
        start = time.perf_counter()
        for _ in range(steps):
            engine.step({0: token})
        best = min(best, (time.perf_counter() - start) / steps)
    return best * 1000
