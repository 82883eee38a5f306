"""A person's letters, and a project that they are to be copied into."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
LETTER = "".join(f"On day {n} we went further up the river than before.\n\n" for n in range(60))


def letter(number):
    """One that is like no other."""
    return LETTER.replace("day", f"day {number} of the year")


def project_in(folder):
    """A folder with the presets of this checkout; no params.yaml yet."""
    shutil.copytree(ROOT / "presets", folder / "project" / "presets")
    return folder / "project"


def letters_in(folder):
    """A folder of twenty letters."""
    letters = folder / "letters"
    letters.mkdir()
    for number in range(20):
        (letters / f"{number:02}.txt").write_text(letter(number))
    return letters


def tree(folder):
    """Every file under a folder with its bytes."""
    return {p.relative_to(folder).as_posix(): p.read_bytes()
            for p in sorted(folder.rglob("*")) if p.is_file()}  # fmt: skip


def read(own):
    """The files that were taken."""
    return list(own.folder.files)
