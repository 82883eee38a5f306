"""Make the int8 and 4-bit packages and measure them. DVC runs this: `dvc repro quantize`."""

from pathlib import Path

from minigpt.params import load_params
from minigpt.release.config import QuantizeParams
from minigpt.release.quantize import HEADLINES, quantize
from minigpt.run import open_run, stage_main


def main(
    finetuned: Path, documents: Path, int8: Path, int4: Path, results: Path, metrics: Path
) -> None:
    """The fine-tuned package in; two smaller ones and their figures out."""
    params = load_params(QuantizeParams)
    with open_run("quantize", params) as run:
        measured = quantize(finetuned, documents, int8, int4, params, run)
        run.summary(results, metrics, measured, HEADLINES)


if __name__ == "__main__":
    stage_main(main)
