"""A dataset of the Hugging Face hub as one .jsonl file, streamed through `datasets`."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from minigpt.data.document import import_datasets
from minigpt.data.fetch import Web, shown, why
from minigpt.digest import file_digest
from minigpt.errors import DataError
from minigpt.files import new_file, temporary

if TYPE_CHECKING:
    from minigpt.data.sources.hf import HubSource
    from minigpt.run import Run


def cached_dataset(name: str, source: "HubSource", run: "Run") -> Path:
    """The file streamed from the hub, stored under its digest; says which digest to pin."""
    folder = run.machine.cache / "archives"
    if source.sha256 and (archive := folder / source.sha256).is_file():
        return archive
    fresh = temporary(folder / name)  # projects that share the cache may share the name
    fetch_dataset(name, source, fresh, run.progress)
    digest = file_digest(fresh)
    archive = folder / digest
    fresh.replace(archive)
    if source.sha256 is None:
        run.say(f"{name}: pin it with sources.{name}.sha256: {digest}")
    elif source.sha256 != digest:
        raise DataError(
            f"sources.{name}: wrong sha256: {source.dataset} gave {digest}, params.yaml pins "
            f"{source.sha256}"
        )
    return archive


def fetch_dataset(
    name: str, source: "HubSource", target: Path, progress: Callable[[str], None]
) -> None:
    """Write the first `max_documents` records of the pinned revision, a JSON object a line.

    Raises:
        DataError: the hub cannot be reached, or the dataset, its revision or column is not there.
    """
    what = f"sources.{name}: {source.dataset}"
    refuse_offline(what)
    with new_file(target) as file:
        for number, record in enumerate(stream(what, source), start=1):
            if not isinstance(text := record.get(source.text), str):
                raise DataError(
                    f"{what}: record {number} has no text in the column {source.text!r}; columns: "
                    f"{', '.join(sorted(record))}. Set sources.{name}.text in params.yaml."
                )
            line = json.dumps({"text": text, "work": f"{number:07d}"}, ensure_ascii=False)
            file.write(line.encode("utf-8", errors="replace") + b"\n")
            progress(f"{name} {number:,} of {source.max_documents:,} records")


def refuse_offline(what: str) -> None:
    """Ask the hub once: `datasets` would try for half a minute before it says no."""
    advice = "Use a source of another kind (params.yaml: sources), or run where the hub answers."
    if os.environ.get("HF_HUB_OFFLINE") or os.environ.get("HF_DATASETS_OFFLINE"):
        raise DataError(
            f"{what}: needs the Hugging Face hub, and HF_HUB_OFFLINE forbids asking it. {advice}"
        )
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        Web().get(f"{endpoint}/api/datasets?limit=1", {}).close()
    except requests.RequestException as error:
        raise DataError(
            f"{what}: the Hugging Face hub cannot be reached: {shown(endpoint)} ({why(error)}). "
            f"{advice}"
        ) from error


def stream(what: str, source: "HubSource") -> Iterator[dict[str, Any]]:
    """The records, read as they arrive."""
    datasets = import_datasets()
    try:
        yield from datasets.load_dataset(
            source.dataset,
            source.subset,
            split=source.split,
            revision=source.revision,
            streaming=True,
        ).take(source.max_documents)
    except (
        ValueError,
        OSError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{what} at {source.revision[:7]} cannot be read: {reason}") from error
