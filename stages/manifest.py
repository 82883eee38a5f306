"""Digest everything a version is made of. DVC runs this: `dvc repro manifest`."""

from pathlib import Path

from minigpt.params import ManifestParams, load_params
from minigpt.release.manifest import manifest
from minigpt.run import open_run, stage_main


def main(out: Path, files: Path) -> None:
    """Every output of the stages before in; their digests and the list of their files out."""
    params = load_params(ManifestParams)
    with open_run("manifest", params) as run:
        manifest(Path(), list(run.inputs), out, files, run)


if __name__ == "__main__":
    stage_main(main)
