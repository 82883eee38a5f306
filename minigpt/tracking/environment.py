"""Which packages a stage ran with: a digest of what is installed, and of the lock files beside it.

It is a fact about a run, and enters neither an output nor a resume key: that has torch's version.
"""

import os
import re
import sys
from pathlib import Path

from pydantic import ValidationError

from minigpt.config import Config
from minigpt.digest import file_digest, text_digest

TAG = "minigpt.environment"
LOCKS = "requirements"
OWN = "minigpt"  # its code is known by commit and patch
INFO = re.compile(r"(.+?)-([^-]+)\.dist-info")


class Environment(Config):
    """The packages of one run."""

    packages: str
    """sha256 over the installed distributions, a line `name==version` each, sorted."""
    locks: dict[str, str]
    """requirements/NAME.txt -> its sha256."""


def environment(root: Path) -> Environment:
    """What is installed for this Python, and the lock files of the checkout `root`."""
    locks = sorted((root / LOCKS).glob("*.txt"))
    return Environment(
        packages=text_digest(distributions()),
        locks={f"{LOCKS}/{path.name}": file_digest(path) for path in locks},
    )


def distributions() -> list[str]:
    """`name==version` of every installed distribution, sorted.

    From the names of their folders: to read their metadata takes twenty times as long.
    """
    versions: dict[str, str] = {}
    for place in sys.path:
        try:
            names = sorted(os.listdir(place or "."))  # noqa: PTH208 (names alone)
        except OSError:
            continue
        for match in filter(None, map(INFO.fullmatch, names)):
            # The first on the path is the one that is imported.
            versions.setdefault(re.sub(r"[-_.]+", "-", match[1]).lower(), match[2])
    versions.pop(OWN, None)
    return sorted(f"{name}=={version}" for name, version in versions.items())


def from_tag(value: str | None) -> Environment | None:
    """What a run was tagged with; None where it was not, or the tag is damaged."""
    try:
        return Environment.model_validate_json(value or "")
    except ValidationError:
        return None
