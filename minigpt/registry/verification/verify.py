"""Proof of a version: built again from its sources in a clean folder and compared file by file.

Nothing is registered and nothing is left behind; the one trace is a tag of the version that says
when it was proven.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from minigpt.dvc_lock import LOCK, outputs_of, stages_of
from minigpt.errors import RegistryError, UntrustedError
from minigpt.graph import read_graph
from minigpt.machine import Machine
from minigpt.registry.artifacts import VersionFiles, version_files
from minigpt.registry.contents import contents_of
from minigpt.registry.dvc_settings import use_cache
from minigpt.registry.lineage.record import read_record
from minigpt.registry.refs import find_version, shortest_ref
from minigpt.registry.registry import Registry
from minigpt.registry.verification.compare_files import MEASURED, compare, trained_on
from minigpt.registry.verification.integrity import (
    check_cache,
    check_stored,
    combine,
)
from minigpt.registry.verification.materials import ARCHIVES, FETCHED, Places, bring, fetch_archives
from minigpt.registry.verification.rebuild import (
    check_out,
    clean_folder,
    own_environment,
    rebuild,
    refuse_lost_commit,
    refuse_other_code,
)
from minigpt.registry.verification.reference_files import ReferenceFiles, cache_folder
from minigpt.registry.verification.trust import Voucher, code_of, vouch, vouch_for_list
from minigpt.registry.verification.verdict import Outcome, Report
from minigpt.registry.versions import VERIFIED, Version
from minigpt.tracking.store_errors import clear_errors
from minigpt.yaml12 import read_yaml

LOCKS = ("requirements/base.txt", "requirements/torch-cpu.txt")
PIN = re.compile(r"(?m)^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)")
Tell = Callable[[str], None]


def verify_from_cache(registry: Registry, ref: str, key: Path | None = None) -> Report:
    """Hash again what the registry and DVC's cache hold of a version.

    What the cache lacks is not here, which is not the same as different.

    Raises:
        RegistryError: there is no such version, or its list of files is gone or was changed.
        ParamsError: `key` is no public key.
    """
    started = time.monotonic()
    version, root = find_version(registry, ref), registry.root
    version.refuse_unnamed()
    with version_files(registry, version) as files:
        voucher = vouch_for_list(files, key)
        contents_of(registry, version).check_list()
        cache = cache_folder(root)
        originals = ReferenceFiles(files, root, cache)
        verdicts = combine(
            files, check_stored(files, originals), check_cache(files, cache, originals)
        )
        absent = {verdict.out for verdict in verdicts if verdict.outcome is Outcome.ABSENT}
        brought_by = brings(root, files, absent) if absent else ""
    return Report(
        version=version.version,
        name=version.name,
        ref=shortest_ref(version.name, version.version, registry.name),
        commit=version.commit,
        mode="from-cache",
        verdicts=verdicts,
        seconds=time.monotonic() - started,
        vouched_by=voucher.by,
        vouched=voucher.words,
        brought_by=brought_by,
    )


def brings(root: Path, files: VersionFiles, outs: Collection[str]) -> str:
    """The command that brings outputs of a version to DVC's cache, from where they were pushed."""
    lock = root / LOCK
    here = outputs_of(stages_of(lock.read_bytes() if lock.is_file() else None))
    there = outputs_of(files.lock)
    of_this_commit = all(here.get(out) == there.get(out) for out in outs)
    return "dvc pull" if of_this_commit else "dvc fetch --all-commits"


def verify(
    registry: Registry,
    ref: str,
    tell: Tell,
    key: Path | None = None,
    trust: Callable[[str], bool] = lambda _: False,
) -> Report:
    """Build a version again from its sources and compare every file; `tell` gets lines for people.

    Nothing out of the store is applied or run before somebody vouches for it: a signature made with
    `key` (else the user's own), the user's git, or `trust`, which is asked with the reasons.

    Raises:
        UntrustedError: nobody vouches for its code.
        RegistryError: there is no such version; its commit, its sources or its list of files are
            gone; or a stage failed.
        ParamsError: `key` is no public key.
    """
    started = time.monotonic()
    version, root = find_version(registry, ref), registry.root
    version.refuse_unnamed()
    ref = shortest_ref(version.name, version.version, registry.name)
    with version_files(registry, version) as files, clean_folder(root) as folder:
        code = code_of(files)
        refuse_lost_commit(root, version, code.commit)
        try:
            voucher = vouch(root, files, code, ref, key)
        except UntrustedError as error:
            if not trust(str(error)):
                raise
            voucher = Voucher("you", f"{code.words}: you trust them, nothing else vouches")
        tell(f"vouched for: {voucher.words}")
        contents_of(registry, version).check_list()
        tree = check_out(root, code, folder)
        tell(
            f"checking out {version.commit[:7]}{' with its patch' if code.patch else ''} · "
            f"rebuilding {len(read_graph(tree))} stages from their sources in a clean folder"
            f"{expected_time(registry, version)}"
        )
        cache, machines = cache_folder(root), machines_of(files)
        with own_environment(root, folder, tree, machines[-1] if machines else {}) as env:
            report = _rebuilt(root, files, ref, folder, tree, cache, machines, env, tell)
    warning = [f"its own statement does not vouch for it: {voucher.problem}"]
    report = replace(
        report,
        seconds=time.monotonic() - started,
        notes=[*report.notes, *(warning if voucher.problem else [])],
        vouched_by=voucher.by,
        vouched=voucher.words,
    )
    report = _noted(registry, version, report)
    for line in report.notes:
        tell(f"note: {line}")
    return report


def _rebuilt(
    root: Path,
    files: VersionFiles,
    ref: str,
    folder: Path,
    tree: Path,
    cache: Path,
    machines: Sequence[Mapping[str, Any]],
    env: Mapping[str, str],
    tell: Tell,
) -> Report:
    """Build, then compare; inside of the environment that belongs to it."""
    refuse_other_code(tree, env)
    other = {name: words for made_on in machines for name, words in other_machine(made_on).items()}
    notes = other_packages(tree)
    if not machines:
        notes.append("the version does not say on which kind of machine it was made")
    for line in notes:  # again at the end: here they may explain why a stage fails
        tell(f"note: {line}")
    sources = _bring(root, files, folder, tree, cache, env)
    for source, place in sources.items():
        tell(f"  {source}: from {place}")
    use_cache(tree, folder / "cache")
    try:
        rebuild(tree, env, tell)
    except RegistryError as error:
        raise explained(error, sources) from error
    originals = ReferenceFiles(files, root, cache, tree)
    built = compare(files, tree, originals, same_machine=not other)
    spoilt = [verdict for verdict in check_stored(files, originals) if verdict.outcome.bad]
    return Report(
        version=files.version.version,
        name=files.version.name,
        ref=ref,
        commit=files.version.commit,
        mode="rebuild",
        verdicts=list({verdict.path: verdict for verdict in [*built, *spoilt]}.values()),
        seconds=0.0,
        sources=sources,
        notes=notes + other_inputs(files, tree),
        machine=other,
    )


def _bring(
    root: Path, files: VersionFiles, folder: Path, tree: Path, cache: Path, env: Mapping[str, str]
) -> dict[str, str]:
    """Put the sources where the tree's download looks; see `materials.bring`."""
    places = Places(root, Machine.load().cache, cache, files)
    params = read_yaml((tree / "params.yaml").read_text(encoding="utf-8")) or {}

    def fetch() -> Path | None:
        return fetch_archives(root, tree, folder / "fetched", places.md5, env)

    return bring(files, params, places, tree, folder / "downloads", fetch)


def explained(error: RegistryError, sources: Mapping[str, str]) -> RegistryError:
    """A failed download with what would help: nobody but the index was there to ask."""
    alone = [name for name, place in sources.items() if place == FETCHED]
    if "failed at download" not in str(error) or not alone:
        return error
    return RegistryError(
        f"{str(error).rstrip('.')}. Besides, {', '.join(alone)} is in none of: the cache of "
        f"downloads, {ARCHIVES}, DVC's cache, the DVC remote. Where it was pushed to: "
        "dvc remote add -d NAME PLACE; or put the file into .cache/archives, named by its sha256"
    )


def expected_time(registry: Registry, version: Version) -> str:
    """How long the stages took when they ran, in words; nothing where the store does not know."""
    stages = read_record(registry, version).stages
    runs = [stage.run for stage in stages if stage.run]
    if not runs or len(runs) < len(stages):
        return ""
    try:
        with clear_errors(registry.store.uri):
            infos = [registry.store.client.get_run(run).info for run in runs]
    except RegistryError:  # the runs are in another store
        return ""
    seconds = sum((info.end_time or info.start_time) - info.start_time for info in infos) / 1000
    return f" (about {max(1, round(seconds / 60))} min)"


def machines_of(files: VersionFiles) -> list[dict[str, Any]]:
    """The platform fingerprints that a version's trainings recorded, pretraining's last."""
    names = sorted(name for name in files.listed if name.startswith(MEASURED))
    return [machine for name in names if (machine := trained_on(files, name))]


def other_machine(made_on: Mapping[str, Any]) -> dict[str, str]:
    """What differs between the machine that made a version and this one, in words by name."""
    here = Machine.load().fingerprint()
    return {
        name: f"{value} there, {here[name]} here"
        for name, value in sorted(made_on.items())
        if name in here and here[name] != value
    }


def other_packages(tree: Path) -> list[str]:
    """What is installed here in another version than the commit locked, as one line or none."""
    pins: dict[str, list[str]] = {}
    for name in LOCKS:
        path = tree / name
        for package, pinned in PIN.findall(path.read_text("utf-8")) if path.is_file() else []:
            pins.setdefault(package, []).append(pinned)
    changed = []
    for package, versions in pins.items():
        try:
            installed = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # of another system, or another build of torch
        if installed.partition("+")[0] not in [pinned.partition("+")[0] for pinned in versions]:
            changed.append(f"{package} {versions[0]} then, {installed} now")
    if not changed:
        return []
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return [
        f"the environment has changed since that commit's lock files: {' · '.join(changed[:3])}"
        f"{more}"
    ]


def other_inputs(files: VersionFiles, tree: Path) -> list[str]:
    """Inputs that were others when the version was built than when it was registered."""
    then, now = files.lock, stages_of((tree / LOCK).read_bytes()) if (tree / LOCK).is_file() else {}
    made = outputs_of(now).keys()
    changed = {
        dep["path"]
        for name, stage in then.items()
        for dep in stage.get("deps", [])
        for other in now.get(name, {}).get("deps", [])
        if dep["path"] == other["path"] and dep["path"] not in made and dep["md5"] != other["md5"]
    }
    if not changed:
        return []
    return [
        f"{', '.join(sorted(changed)[:3])}: not what the version was built from; they changed "
        "between its build and its registration"
    ]


def _noted(registry: Registry, version: Version, report: Report) -> Report:
    """Tag the version with the proof, or take an earlier one back."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        with clear_errors(registry.store.uri):
            if report.holds:
                value = json.dumps({"at": at, "verdict": report.verdict})
                registry.store.client.set_model_version_tag(
                    version.name, version.version, VERIFIED, value
                )
            elif version.verified is not None:
                registry.store.client.delete_model_version_tag(
                    version.name, version.version, VERIFIED
                )
    except RegistryError as error:
        return replace(report, notes=[*report.notes, f"not noted: {error}"])
    return report
