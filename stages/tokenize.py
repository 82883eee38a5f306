"""Encode every document into token shards. DVC runs this: `dvc repro tokenize`."""

from pathlib import Path

from minigpt.params import Params, load_params
from minigpt.run import open_run, stage_main
from minigpt.tokenizer.config import TokenizeParams
from minigpt.tokenizer.tokenize import HEADLINES, tokenize


def main(
    documents: Path, tokenizer: Path, pretrain: Path, finetune: Path, results: Path, metrics: Path
) -> None:
    """Documents and tokenizer in; one folder of shards a role out."""
    params = load_params(TokenizeParams)
    windows = load_params(Params).windows  # may refuse, and changes no byte
    with open_run("tokenize", params) as run:
        measured = tokenize(documents, tokenizer, pretrain, finetune, params, run, windows)
        run.summary(results, metrics, measured, HEADLINES)


if __name__ == "__main__":
    stage_main(main)
