"""What a version is made of: a digest of every output, and beside it every file by name."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, StringConstraints, ValidationError

from minigpt.config import Config
from minigpt.digest import digest, file_digest, files_of
from minigpt.errors import DataError, RegistryError
from minigpt.files import write_json
from minigpt.run import Run

MANIFEST = Path("release/manifest.json")
MADE_OF = (
    "data/documents", "data/evaluation", "exports/", "metrics/", "models/", "plots/", "release/",
    "results/",
)  # fmt: skip
"""What a version is made of; outputs on the way there are listed, but are no part of its name."""


def _inside(path: str) -> str:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f"{path!r} is outside of the project")
    return path


BUILD_AGAIN = "Run: dvc repro manifest"
Inside = Annotated[str, AfterValidator(_inside)]
"""Relative to the project's root, POSIX style; whoever wrote the list, it leads nowhere else."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Manifest(Config):
    """release/manifest.json. Its file's digest names a version."""

    format: Literal[1] = 1
    digests: dict[Inside, Sha256]
    """Path of an output -> its digest."""


class FileEntry(Config):
    """One file of an output."""

    path: Inside
    size: int
    """Bytes."""
    sha256: Sha256


class FileList(Config):
    """release/files.json: what a difference is named by; no part of a version's identity."""

    format: Literal[1] = 1
    files: list[FileEntry]
    """Sorted by path."""


Read = TypeVar("Read", Manifest, FileList)


def manifest(root: Path, inputs: list[Path], manifest: Path, files: Path, run: Run) -> None:
    """Write the digests of what a version is made of to `manifest`, every input's files to `files`.

    An input that holds nothing but folders (exports, a folder a format) is listed folder by folder.

    Raises:
        DataError: an input is missing, empty or outside `root`.
    """
    digests, entries = {}, []
    for path in (part for whole in inputs for part in parts(root, whole)):
        listed = files_of(root / path) if (root / path).exists() else []
        if not listed:
            raise DataError(f"{path}: there is nothing to list. Run: dvc repro")
        sha256 = {file: file_digest(file) for file in listed}
        if (name := relative(root, path)).startswith(MADE_OF):
            digests[name] = digest(root / path, sha256.__getitem__)
        entries += [
            FileEntry(path=relative(root, file), size=file.stat().st_size, sha256=sha256[file])
            for file in listed
        ]
    entries.sort(key=lambda entry: entry.path)
    write_json(files, FileList(files=entries).model_dump())
    write_json(manifest, Manifest(digests=digests).model_dump())
    run.say("to register it as a version: minigpt registry sync")
    megabytes = sum(entry.size for entry in entries) / 1e6
    run.say(
        f"{len(digests)} outputs · {len(entries)} files · {megabytes:.1f} MB · "
        f"version {manifest_digest(manifest)[:12]}"
    )


def parts(root: Path, path: Path) -> list[Path]:
    """What an input is listed as: its folders, where it holds nothing else, or itself."""
    if not (root / path).is_dir():
        return [path]
    inside = [file.relative_to(root / path).parts for file in files_of(root / path)]
    folders = sorted({names[0] for names in inside})
    return [path / name for name in folders] if inside and min(map(len, inside)) > 1 else [path]


def load_manifest(path: Path, mend: str = BUILD_AGAIN) -> Manifest:
    """Read release/manifest.json; `mend` is what helps where it cannot be read.

    Raises:
        RegistryError: it is missing or damaged, or of a format that this code does not know.
    """
    return _read(path, Manifest, mend)


def load_files(path: Path, mend: str = BUILD_AGAIN) -> FileList:
    """Read release/files.json; as `load_manifest`."""
    return _read(path, FileList, mend)


def manifest_digest(path: Path) -> str:
    """The digest that names a version: that of its manifest file."""
    return file_digest(path)


def relative(root: Path, path: Path) -> str:
    """`path` as a manifest writes it."""
    try:
        return (root / path).absolute().relative_to(root.absolute()).as_posix()
    except ValueError as error:
        raise DataError(f"{path} lies outside of {root}; a manifest names what is in it") from error


def _read(path: Path, kind: type[Read], mend: str) -> Read:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise RegistryError(f"{path} is not there. {mend}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = "a format that this minigpt does not know" if where == "format" else first["msg"]
        problem = (
            "is cut off or damaged: it holds no JSON"
            if first["type"] == "json_invalid"
            else f"is not as minigpt writes it: {where}: {what}"
        )
        raise RegistryError(f"{path} {problem}. {mend}") from error
