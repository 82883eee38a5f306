"""Train the base model. DVC runs this: `dvc repro pretrain`."""

from pathlib import Path

from minigpt.params import load_params
from minigpt.run import open_run, stage_main
from minigpt.training.config import PretrainParams
from minigpt.training.pretrain import pretrain


def main(tokens: Path, tokenizer: Path, out: Path, metrics: Path, plots: Path) -> None:
    """Token shards and tokenizer in; the base package, its metrics and curves out."""
    params = load_params(PretrainParams)
    with open_run("pretrain", params) as run:
        run.summary(metrics, pretrain(tokens, tokenizer, out, plots, params, run))


if __name__ == "__main__":
    stage_main(main)
