"""Fetch the sources and read their documents. DVC runs this: `dvc repro download`."""

from pathlib import Path

from minigpt.data.corpora import DownloadParams
from minigpt.data.download import download
from minigpt.params import load_params
from minigpt.run import open_run, stage_main


def main(local: Path, archives: Path, raw: Path) -> None:
    """Own text from `local`; archives byte for byte to `archives`, documents to `raw`."""
    params = load_params(DownloadParams)
    with open_run("download", params) as run:
        download(local, archives, raw, params, run)


if __name__ == "__main__":
    stage_main(main)
