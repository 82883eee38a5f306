"""Text that a model writes at fixed seeds: what the figures sound like."""

from minigpt.evaluation.config import SamplesConfig
from minigpt.generation.stream import generate
from minigpt.generation.torch_engine import TorchEngine
from minigpt.package import Package

Sample = dict[str, str | int]


def write_samples(model: str, package: Package, config: SamplesConfig, seed: int) -> list[Sample]:
    """One continuation of each prompt, up to the document's end; prompt i has seed + i."""
    engine, samples = TorchEngine(package.model), list[Sample]()
    for i, prompt in enumerate(config.prompts, start=seed):
        written = generate(
            engine, package.tokenizer, prompt, config.sampling, config.max_tokens, seed=i
        )
        samples.append({"model": model, "prompt": prompt, "seed": i, "text": "".join(written)})
    return samples
