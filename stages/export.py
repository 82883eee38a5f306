"""Write the model in the formats other programs load. DVC runs this: `dvc repro export`."""

from pathlib import Path

from minigpt.export.config import ExportParams
from minigpt.params import load_params
from minigpt.release.export import HEADLINES, export
from minigpt.run import open_run, stage_main


def main(finetuned: Path, documents: Path, out: Path, results: Path, metrics: Path) -> None:
    """The fine-tuned package in; a folder a format, with parity figures, out."""
    params = load_params(ExportParams)
    with open_run("export", params) as run:
        measured = export(finetuned, documents, out, params, run)
        run.summary(results, metrics, measured, HEADLINES)


if __name__ == "__main__":
    stage_main(main)
