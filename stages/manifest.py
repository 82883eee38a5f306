"""Digest everything a version is made of. DVC runs this: `dvc repro manifest`."""

from pathlib import Path

from minigpt.params import ManifestParams, load_params
from minigpt.release.document_index import write_index
from minigpt.release.manifest import manifest
from minigpt.run import open_run, stage_main


def main(documents: Path, out: Path, files: Path, index: Path, runs: Path) -> None:
    """Every output of the stages before in; their digests, their files, their documents out."""
    params = load_params(ManifestParams)
    with open_run("manifest", params) as run:
        write_index(documents, index, runs)
        manifest(Path(), [*run.inputs, index, runs], out, files, run)


if __name__ == "__main__":
    stage_main(main)
