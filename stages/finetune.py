"""Go on training the base model on the new domain. DVC runs this: `dvc repro finetune`."""

from pathlib import Path

from minigpt.params import load_params
from minigpt.run import open_run, stage_main
from minigpt.training.config import FinetuneParams
from minigpt.training.finetune import HEADLINES, finetune


def main(
    base: Path, tokens: Path, old_tokens: Path, out: Path, results: Path, metrics: Path, plots: Path
) -> None:
    """Base package and both roles' shards in; the fine-tuned package, metrics and curves out."""
    params = load_params(FinetuneParams)
    with open_run("finetune", params) as run:
        measured = finetune(base, tokens, old_tokens, out, plots, params, run)
        run.summary(results, metrics, measured, HEADLINES)


if __name__ == "__main__":
    stage_main(main)
