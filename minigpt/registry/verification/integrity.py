"""Integrity without a rebuild: every file that a version holds and every object of DVC's cache.

DVC takes a read-only object at its word and never hashes it again; so does nothing else.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from minigpt.digest import file_digest
from minigpt.dvc_lock import outputs_of
from minigpt.registry.artifacts import (
    FILES,
    STORED,
    VALIDATION,
    VersionFiles,
)
from minigpt.registry.verification.difference import describe, tensor_digests
from minigpt.registry.verification.reference_files import (
    ReferenceFiles,
    folder_list,
    object_path,
)
from minigpt.registry.verification.verdict import Outcome, Verdict

COMMITTED = ("metrics/", "plots/", "results/")
FOLDER = ".dir"  # how the md5 of a folder's list ends
BLOCK = 1 << 20


@dataclass(frozen=True)
class CacheObject:
    """An object of DVC's cache, and which file of an output it stands for."""

    path: str
    """The file's path; the folder's where the object is a folder's list."""
    out: str
    md5: str
    """As its name says; a folder's ends in .dir."""


def objects_of(cache: Path, out: str, md5: str) -> Iterator[CacheObject]:
    """The objects of an output: for a folder its list first, then each file that it names.

    A list that is missing or damaged stands alone: what it names is not known.
    """
    yield CacheObject(out, out, md5)
    if md5.endswith(FOLDER):
        for path, part in folder_list(object_path(cache, md5)).items():
            yield CacheObject(f"{out}/{path}", out, part)


def check_stored(files: VersionFiles, originals: ReferenceFiles) -> list[Verdict]:
    """Hash what the registry holds of a version against its list of files."""
    verdicts = []
    for name, entry in files.listed.items():
        if not name.startswith((*STORED, VALIDATION)):
            continue
        path, out = files.path(name), files.out_of(name)
        if path is None:
            verdicts.append(Verdict(name, out, Outcome.MISSING, "no longer in the registry"))
        elif file_digest(path) == entry.sha256:
            verdicts.append(Verdict(name, out, Outcome.IDENTICAL))
        else:
            detail = describe(path, name, originals.find(name), tensor_digests(path.parent))
            verdicts.append(Verdict(name, out, Outcome.DIFFERENT, f"in the registry: {detail}"))
    return verdicts


def check_cache(files: VersionFiles, cache: Path, originals: ReferenceFiles) -> list[Verdict]:
    """Hash every object of DVC's cache that the version's dvc.lock names against its own name.

    Results, metrics and plots have none: git holds them.
    """
    return [
        verdict
        for out, md5 in outputs_of(files.lock).items()
        if not out.startswith(COMMITTED)
        for cached in objects_of(cache, out, md5)
        if (verdict := check_object(cached, cache, files, originals)) is not None
    ]


def check_object(
    cached: CacheObject, cache: Path, files: VersionFiles, originals: ReferenceFiles
) -> Verdict | None:
    """The verdict on one object; None for a folder's list that is as it should be."""
    path, entry = object_path(cache, cached.md5), files.listed.get(cached.path)
    if not path.is_file():
        detail = f"not in DVC's cache ({cached.md5})"
        return Verdict(cached.path, cached.out, Outcome.ABSENT, detail)
    hashed, sha256 = md5_and_sha256(path)
    if cached.md5.endswith(FOLDER):
        if hashed == cached.md5.removesuffix(FOLDER):
            return None
        detail = "in DVC's cache: the list of its files is not what was written"
    elif hashed == cached.md5 and (entry is None or sha256 == entry.sha256):
        return Verdict(cached.path, cached.out, Outcome.IDENTICAL)
    elif hashed == cached.md5:
        detail = f"in DVC's cache: whole, but not the file that {FILES} lists"
    else:
        original = originals.find(cached.path)
        tensors = tensor_digests((files.path(cached.path) or path).parent)
        detail = f"in DVC's cache: {describe(path, cached.path, original, tensors)}"
    return Verdict(cached.path, cached.out, Outcome.DIFFERENT, f"{detail} ({path})")


def combine(files: VersionFiles, registry: list[Verdict], cache: list[Verdict]) -> list[Verdict]:
    """One verdict a file: bad bytes anywhere count; the cache may lack what the registry holds.

    A folder whose list is not in the cache stands for each of its files.
    """
    first = {verdict.path: verdict for verdict in registry}
    second = {verdict.path: verdict for verdict in cache}
    absent = {path for path, verdict in second.items() if verdict.outcome is Outcome.ABSENT}
    lost = {path for path, verdict in second.items() if verdict.outcome.bad}
    verdicts = {}
    for path in [*files.listed, *(path for path in second if path not in files.listed)]:
        both = [v for v in (first.get(path), second.get(path)) if v is not None]
        different = [v for v in both if v.outcome is Outcome.DIFFERENT]
        if different:
            details = "; ".join(v.detail for v in different)
            verdicts[path] = Verdict(path, both[0].out, Outcome.DIFFERENT, details)
        elif path in files.listed and both:
            verdicts[path] = both[0] if path in first else both[-1]
        elif path in files.listed and (out := files.out_of(path)) in absent:
            verdicts[path] = replace(second[out], path=path)  # nor is what its folder's list names
        elif path in files.listed and out not in lost:
            detail = "its dvc.lock names no object of DVC's cache for it"
            verdicts[path] = Verdict(path, out, Outcome.MISSING, detail)
        elif path not in (*files.listed, *absent) and any(
            p.startswith(f"{path}/") and p not in first for p in files.listed
        ):  # the list of a folder, of which the registry does not hold every file
            verdicts[path] = both[0]
    return list(verdicts.values())


def md5_and_sha256(path: Path) -> tuple[str, str]:
    """md5 and sha256 of a file, read once."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            md5.update(block)
            sha256.update(block)
    return md5.hexdigest(), sha256.hexdigest()
