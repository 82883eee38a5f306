"""What a message tells a person to install exists."""

import re
import tomllib
from pathlib import Path

import pytest

from minigpt.errors import MissingExtraError
from minigpt.extras import require

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("minigpt", "pipelines", "stages", "docs", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
NAMED = re.compile(r"""minigpt\[(\w+)\]|require\([^)]*extra=["'](\w+)["']""")


def test_every_extra_that_is_named_anywhere_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set()
    for place in PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else [*path.rglob("*.py"), *path.rglob("*.md")]:
            named |= {one or two for one, two in NAMED.findall(file.read_text(encoding="utf-8"))}
    assert named
    assert named <= project["optional-dependencies"].keys()


def test_what_minigpt_itself_brings_is_advised_without_an_extra():
    with pytest.raises(MissingExtraError, match=r"nowhere is not installed. Run: python bootstrap"):
        require("nowhere.at.all")
