"""prefect.toml: where Prefect's own commands find, in this folder, the server of `make up`.

Prefect reads the file in the folder in which a command is typed, after PREFECT_API_URL and before
the user's profile. It is written while the server is up and removed by `make down`; one that the
user wrote is left alone. A run that finds one left behind by a kill passes it over.
"""

import re
from pathlib import Path

from minigpt.files import write_text

FILE = Path("prefect.toml")
OURS = '# Written by `make up`, removed by `make down`.\n[api]\nurl = "{}"\n'


def publish(root: Path, url: str) -> None:
    """Have Prefect's commands in `root` speak to the API at `url`."""
    path = root / FILE
    if published(root) != url and (not path.exists() or published(root) is not None):
        write_text(path, OURS.format(url))


def published(root: Path) -> str | None:
    """The API that the file names, if it is ours."""
    path = root / FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    ours = re.fullmatch(re.escape(OURS).replace(r"\{\}", r'([^"\\]+)'), text)
    return ours[1] if ours else None


def withdraw(root: Path) -> None:
    """Remove the file, if it is ours."""
    if published(root) is not None:
        (root / FILE).unlink(missing_ok=True)
