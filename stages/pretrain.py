"""Train the base model. DVC runs this: `dvc repro pretrain`."""

from pathlib import Path

from minigpt.params import load_params
from minigpt.run import open_run, stage_main
from minigpt.training.config import PretrainParams
from minigpt.training.pretrain import HEADLINES, pretrain


def main(
    tokens: Path, tokenizer: Path, out: Path, results: Path, metrics: Path, plots: Path
) -> None:
    """Token shards and tokenizer in; the base package, its metrics and curves out."""
    params = load_params(PretrainParams)
    with open_run("pretrain", params) as run:
        measured = pretrain(tokens, tokenizer, out, plots, params, run)
        run.summary(results, metrics, measured, HEADLINES)


if __name__ == "__main__":
    stage_main(main)
