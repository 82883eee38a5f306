"""Archives read as data: nothing is extracted to disk, nothing in them runs.

Any archive with a name that points outside it is refused, wanted or not; a link is refused where
it is wanted or points outside. Sizes are capped by what is read, not by what headers promise; the
headers themselves are too.
"""

import bz2
import gzip
import io
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from minigpt.errors import DataError

MAX_MEMBER = 256 * 2**20
MAX_TOTAL = 2 * 2**30
"""Bytes that all members together may unpack to."""
MAX_HEADERS = 2**20
"""Bytes that a tar may say of one member: its name, long or not, links, attributes, holes."""
Unpacker = type[gzip.GzipFile] | type[bz2.BZ2File] | type[lzma.LZMAFile]
Unpacked = BinaryIO | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
UNPACKERS: dict[bytes, Unpacker] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""How a packed tar begins → what unpacks it."""
DRIVE = re.compile(r"[A-Za-z]:[/\\]")
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What the standard library raises when bytes are no archive, or one that it cannot read."""


@dataclass(frozen=True)
class Member:
    """A file: its path inside, without the folder that all paths share, and its bytes."""

    path: str
    data: bytes


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked (or is itself the text)."""
    return name.endswith((".tar.gz", ".tgz", ".tar", ".zip", ".whl"))


def members(file: Path, wanted: Callable[[str], bool], *, shared: bool = True) -> list[Member]:
    """The files of an archive whose path is `wanted`, sorted by path.

    `shared`: leave out the one top folder that all paths share (sdists, npm), before asking.

    Raises:
        DataError: the archive is corrupted, unpacks to more than the caps, or holds an entry that
            points outside it.
    """
    entries = _zip if file.name.endswith((".zip", ".whl")) else _tar
    try:
        files = list(entries(file, wanted, shared))
    except BROKEN as error:
        raise DataError(
            f"{file.name}: corrupted archive ({error}). Delete {file}, then run the same command."
        ) from error
    return sorted(files, key=lambda member: member.path)


def pack_folder(folder: Path, files: list[Path]) -> bytes:
    """A tar of `files` under their paths in `folder`: same contents, same bytes, whoever packs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files, key=lambda p: p.relative_to(folder).as_posix()):
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            data = path.read_bytes()
            info.size, info.mode = len(data), 0o644  # owner and time stay 0
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def match(globs: tuple[str, ...], path: str) -> bool:
    """Whether a path matches one of the globs: `*` stays in one folder, `**/` is any folders."""
    return any(_pattern(glob).fullmatch(path) for glob in globs)


def _pattern(glob: str) -> re.Pattern[str]:
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return re.compile("".join(words.get(part, re.escape(part)) for part in parts), re.DOTALL)


def _zip(file: Path, wanted: Callable[[str], bool], shared: bool) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        for info in infos:
            _refuse_outside(file, info.orig_filename)
        top, left = _top([info.filename for info in infos]) if shared else "", MAX_TOTAL
        for info in infos:
            if not wanted(path := info.filename.removeprefix(top)):
                continue
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise DataError(f"{file.name}: {info.filename} is a link; refused. {_ADVICE}")
            with archive.open(info) as stream:
                data = stream.read(min(MAX_MEMBER, left) + 1)
            left -= _counted(file, path, len(data), left)
            yield Member(path, data)


def _tar(file: Path, wanted: Callable[[str], bool], shared: bool) -> Iterator[Member]:
    with (
        _unpacked(file) as unpacked,
        tarfile.open(
            fileobj=cast(BinaryIO, stream := _Bounded(file, unpacked)), mode="r:"
        ) as archive,
    ):
        infos, left, offset = [], MAX_TOTAL, -1
        for info in archive:
            if info.offset <= offset:  # a negative size: it would go round for ever
                raise tarfile.ReadError("its members overlap")
            stream.left, offset = MAX_HEADERS, info.offset
            archive.pax_headers = {}  # what holds of all that follow would be copied into each
            _refuse_outside(file, info.name)
            left -= _counted(file, info.name, info.size if info.isfile() else 0, left)
            if info.issym() or info.islnk():
                base = PurePosixPath(info.name).parent if info.issym() else PurePosixPath()
                _refuse_outside(file, _normal(base, info.linkname))
            if not info.isdir():
                infos.append(info)
        stream.left = None
        while stream.read(2**20):
            pass  # to the end, where gzip keeps its checksum
        top = _top([info.name for info in infos]) if shared else ""
        for info in infos:
            if not wanted(path := info.name.removeprefix(top)):
                continue
            content = archive.extractfile(info) if info.isfile() else None
            if content is None:
                raise DataError(
                    f"{file.name}: {info.name} is a link or a device; refused. {_ADVICE}"
                )
            data = content.read()
            if len(data) != info.size:
                raise EOFError(f"{info.name} is cut off")
            yield Member(path, data)


def _unpacked(file: Path) -> Unpacked:
    with file.open("rb") as packed:
        start = packed.read(5)
    unpack = next((unpack for magic, unpack in UNPACKERS.items() if start.startswith(magic)), None)
    return unpack(file) if unpack else file.open("rb")


class _Bounded:
    """What `tarfile` reads a tar from: it would believe any size that a header states."""

    def __init__(self, file: Path, stream: Unpacked) -> None:
        self._file, self._stream = file, stream
        self.left: int | None = MAX_HEADERS
        """Bytes that the headers of a member may still have; None: no header is read any more."""

    def read(self, size: int) -> bytes:
        if size < 0:
            raise tarfile.ReadError("a size is negative")
        self._refuse_beyond(self.tell() + size)
        if self.left is not None and (left := self.left - size) >= 0:
            self.left = left
        elif self.left is not None:
            raise DataError(
                f"{self._file.name}: it says more than {MAX_HEADERS / 1e6:,.0f} MB of one member "
                f"(its name, links, attributes or holes); refused. {_ADVICE}"
            )
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        self._refuse_beyond(position)
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    def _refuse_beyond(self, position: int) -> None:
        """Headers and padding too, at most as much again as all members may have."""
        if position > 2 * MAX_TOTAL:
            _counted(self._file, "what is in it", position, 0)


_ADVICE = "This is no archive of texts: take another version of the source (params.yaml: sources)."


def _refuse_outside(file: Path, path: str) -> None:
    parts = path.replace("\\", "/").split("/")
    if path.startswith(("/", "\\")) or ".." in parts or DRIVE.match(path) or "\0" in path:
        raise DataError(
            f"{file.name}: entry {path!r} points outside the archive; refused. {_ADVICE}"
        )


def _normal(base: PurePosixPath, link: str) -> str:
    """Where a link leads, with inner `..` resolved; one that leaves the archive keeps its `..`."""
    if link.startswith("/"):
        return link
    parts: list[str] = []
    for part in (*base.parts, *link.split("/")):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _counted(file: Path, path: str, size: int, left: int) -> int:
    if size > MAX_MEMBER or size > left:
        raise DataError(
            f"{file.name}: {path} is too large to unpack: {size / 1e6:,.0f} MB or more, and "
            f"{MAX_MEMBER / 1e6:,.0f} MB in one file or {MAX_TOTAL / 1e6:,.0f} MB in all is the "
            "most. Cut it into several files at line ends, or take another version of the source "
            "(params.yaml: sources)."
        )
    return size


def _top(paths: list[str]) -> str:
    """The one folder that all paths lie in, with its slash, or nothing."""
    tops = {path.split("/", 1)[0] for path in paths}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in path for path in paths) else ""
