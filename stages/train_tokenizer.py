"""Train the byte-level BPE tokenizer. DVC runs this: `dvc repro train_tokenizer`."""

from pathlib import Path

from minigpt.params import load_params
from minigpt.run import open_run, stage_main
from minigpt.tokenizer.config import TrainTokenizerParams
from minigpt.tokenizer.train import HEADLINES, train_tokenizer


def main(documents: Path, out: Path, results: Path, metrics: Path) -> None:
    """Documents in; a tokenizer folder and its metrics out."""
    params = load_params(TrainTokenizerParams)
    with open_run("train_tokenizer", params) as run:
        measured = train_tokenizer(documents, out, params, run)
        run.summary(results, metrics, measured, HEADLINES)


if __name__ == "__main__":
    stage_main(main)
