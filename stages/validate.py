"""Drop what must go, check what is kept. DVC runs this: `dvc repro validate`."""

from pathlib import Path

from minigpt.data.config import ValidateParams
from minigpt.data.validation import HEADLINES, validate
from minigpt.params import load_params
from minigpt.run import open_run, stage_main


def main(
    raw: Path, documents: Path, dropped: Path, report: Path, results: Path, metrics: Path
) -> None:
    """Raw documents in; kept and dropped ones and the suite's result out."""
    params = load_params(ValidateParams)
    with open_run("validate", params) as run:
        measured = validate(raw, documents, dropped, report, params, run)
        run.summary(results, metrics, measured, HEADLINES)


if __name__ == "__main__":
    stage_main(main)
