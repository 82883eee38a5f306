"""Text that a model writes at fixed seeds: what the figures sound like."""

from minigpt.evaluation.config import SamplesConfig
from minigpt.generation.config import SamplingConfig
from minigpt.generation.engine import TorchEngine
from minigpt.package import Package

Sample = dict[str, str | int]


def write_samples(model: str, package: Package, config: SamplesConfig, seed: int) -> list[Sample]:
    """One continuation of each prompt; prompt i is sampled with seed + i."""
    engine, tokenizer = TorchEngine(package.model), package.tokenizer
    sampling = SamplingConfig(
        temperature=config.temperature, top_k=config.top_k, top_p=config.top_p
    )
    samples: list[Sample] = []
    for i, prompt in enumerate(config.prompts):
        ids = [tokenizer.eot_id, *tokenizer.encode(prompt)]
        written = list(engine.generate(ids, sampling, config.max_tokens, seed + i))
        text = tokenizer.decode([token for token in written if token != tokenizer.eot_id])
        samples.append({"model": model, "prompt": prompt, "seed": seed + i, "text": text})
    return samples
