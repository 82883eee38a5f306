"""manifest.json of an exported folder: what it was made of, how it was proven, what it can hold.

Who has only the folder can tell by it whether a file was changed since: `minigpt verify FOLDER`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pydantic import ValidationError

from minigpt.config import Config, Count, Size
from minigpt.data.pin import Sha256
from minigpt.digest import file_digest, files_of
from minigpt.errors import ExportError
from minigpt.files import rounded, write_json
from minigpt.log import excerpt
from minigpt.model.count import parameters
from minigpt.params_errors import explain

if TYPE_CHECKING:
    from minigpt.package import Package

MANIFEST, EXAMPLE = "manifest.json", "example.py"
VERSION = 1


class ExportedPackage(Config):
    """What was exported."""

    digest: Sha256
    parameters: Count
    vocab_size: Size
    config: dict[str, Any]
    """`ModelConfig`, in JSON."""


class ExportManifest(Config):
    """manifest.json."""

    version: Literal[1]
    format: str
    """The word in `export.formats`."""
    model: ExportedPackage
    files: dict[str, Sha256]
    """All others in the folder, by relative path."""
    proof: dict[str, dict[str, Any]]
    """By exported model, what results/export.json says of it."""
    limits: dict[str, Any]
    """`context_length`, and what is `beyond` it."""
    licences: dict[str, str]
    """Of the sources whose text the model was trained on."""


def write_manifest(
    folder: Path,
    format: str,
    package: "Package",
    digest: str,
    proof: Mapping[str, dict[str, Any]],
    beyond: str,
    licences: Mapping[str, str],
) -> None:
    """Describe the files that lie in `folder` by now; `digest` is the package's."""
    manifest = ExportManifest(
        version=VERSION,
        format=format,
        model=ExportedPackage(
            digest=digest,
            parameters=parameters(package.config, package.tokenizer.vocab_size),
            vocab_size=package.tokenizer.vocab_size,
            config=package.config.model_dump(mode="json"),
        ),
        files=digests_of(folder),
        proof=rounded(dict(proof)),
        limits={"context_length": package.config.context_length, "beyond": beyond},
        licences=dict(licences),
    )
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))


def digests_of(folder: Path) -> dict[str, str]:
    """sha256 by relative path of all files but the manifest itself."""
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in files_of(folder)
        if path != folder / MANIFEST
    }


def is_exported(folder: Path) -> bool:
    """Whether a manifest lies there.

    Raises:
        ExportError: nobody lets us look.
    """
    try:
        return (folder / MANIFEST).is_file()
    except PermissionError as error:
        raise ExportError(f"{folder} cannot be read: {error.strerror}") from error
    except OSError:  # too long for a name of a file
        return False


def others_in(folder: Path) -> list[str]:
    """Relative paths of what is neither a file nor a folder of its own: links elsewhere, pipes."""
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_file() and (path.is_symlink() or not path.is_dir())
    ]


def check(folder: Path) -> ExportManifest:
    """The manifest of a folder whose files are those that it names.

    Raises:
        ExportError: a file was changed, is missing or was added; there is no manifest.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_json)
        manifest = ExportManifest.model_validate(values)
        stated, found = manifest.files, digests_of(folder)
    except FileNotFoundError:
        raise ExportError(f"{folder} holds no {MANIFEST}: it is no exported folder") from None
    except ValidationError as error:
        (first, *_) = explain(error, ExportManifest, MANIFEST)
        raise ExportError(f"{folder}: {first}") from error
    except OSError as error:
        raise ExportError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8; lists in lists in lists
        raise ExportError(f"{path} cannot be read: {excerpt(str(error))}") from error
    wrong = [f"{name} is missing" for name in sorted(stated.keys() - found.keys())]
    wrong += [f"{name} was added" for name in sorted({*found, *others_in(folder)} - stated.keys())]
    shared = sorted(stated.keys() & found.keys())
    wrong += [f"{name} was changed" for name in shared if stated[name] != found[name]]
    if wrong:
        raise ExportError(
            f"{folder} is not what was exported: {'; '.join(wrong)}. Write it again: "
            "dvc repro --force export (or, as it was: dvc checkout --force exports)"
        )
    return manifest


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
