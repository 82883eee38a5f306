"""Text that a model writes at fixed seeds: what the figures sound like."""

from minigpt.evaluation.config import SamplesConfig
from minigpt.generation.engine import TorchEngine
from minigpt.package import Package

Sample = dict[str, str | int]


def write_samples(model: str, package: Package, config: SamplesConfig, seed: int) -> list[Sample]:
    """One continuation of each prompt, up to the document's end; prompt i has seed + i."""
    engine, tokenizer = TorchEngine(package.model), package.tokenizer
    end = tokenizer.eot_id
    banned = [token for token in tokenizer.specials.values() if token != end]
    samples: list[Sample] = []
    for i, prompt in enumerate(config.prompts):
        written = engine.generate(
            [end, *tokenizer.encode(prompt)],
            config.sampling,
            config.max_tokens,
            seed + i,
            stop=(end,),
            banned=banned,
        )
        text = tokenizer.decode(list(written))
        samples.append({"model": model, "prompt": prompt, "seed": seed + i, "text": text})
    return samples
