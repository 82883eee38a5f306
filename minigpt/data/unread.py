"""What lies in data/local and is read by no source, such as the text of another preset.

DVC watches the folder as a whole. So that the same params give the same dvc.lock, whatever else
lies there, our commands list the rest in a .dvcignore of that folder, before DVC is asked.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt.data.copies import LOCAL
from minigpt.files import write_text

if TYPE_CHECKING:
    from minigpt.data.source import BaseSource

IGNORE = ".dvcignore"
HEAD = "# Written by minigpt: what no source of params.yaml reads.\n/.dvcignore\n"
PLAIN = re.compile(r"[\w.-]+")
"""Names that a pattern reads as they are, those of `preset local` among them; DVC sees others."""


def hide_unread(root: Path, sources: Mapping[str, "BaseSource"]) -> None:
    """Tell DVC to look at what the sources read, of all that is in data/local.

    A person's own .dvcignore there is left as it is.
    """
    local = root / LOCAL
    file = local / IGNORE
    before = file.read_bytes() if file.is_file() else None
    if before is not None and not before.startswith(HEAD.encode()):
        return
    places = [source.folder(root) for source in sources.values() if source.local]
    names = sorted(path.name for path in local.iterdir()) if local.is_dir() else []
    unread = [
        f"/{name}\n"
        for name in names
        if PLAIN.fullmatch(name) and name[0] != "." and not _is_read(local / name, places)
    ]
    text = HEAD + "".join(unread)
    if not unread:
        file.unlink(missing_ok=True)
    elif before != text.encode():
        write_text(file, text)


def is_hidden(local: Path, folder: Path) -> bool:
    """Whether DVC was told, before params.yaml was changed by hand, that nobody reads a folder."""
    try:
        lines = (local / IGNORE).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return False
    place, top = folder.resolve(), local.resolve()
    inside = place.relative_to(top).parts[:1] if place.is_relative_to(top) else ()
    return any(f"/{part}" in lines for part in inside)


def _is_read(entry: Path, places: list[Path]) -> bool:
    """Whether a source has its files there: in the entry, or in a folder that holds it."""
    return any(
        place.is_relative_to(path) or path.is_relative_to(place)
        for place in (place.resolve() for place in places)
        for path in (entry.resolve(), entry.parent.resolve() / entry.name)
    )
