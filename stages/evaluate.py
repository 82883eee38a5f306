"""Judge both models beside baselines. DVC runs this: `dvc repro evaluate`."""

from pathlib import Path

from minigpt.evaluation.config import EvaluateParams
from minigpt.evaluation.evaluate import HEADLINES, evaluate
from minigpt.params import load_params
from minigpt.run import open_run, stage_main


def main(
    base: Path, finetuned: Path, documents: Path, out: Path, results: Path, metrics: Path
) -> None:
    """Packages and documents in; every passage's bits and the figures out."""
    params = load_params(EvaluateParams)
    with open_run("evaluate", params) as run:
        measured = evaluate(base, finetuned, documents, out, params, run)
        run.summary(results, metrics, measured, HEADLINES)


if __name__ == "__main__":
    stage_main(main)
