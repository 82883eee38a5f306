"""What a version was made from and what came out, as one signed statement in the field's words.

An in-toto statement (v1) with a SLSA provenance predicate (v1) in a DSSE envelope. It is written
by hand, as JSON, because protobuf turns 1 into 1.0; the tests hold it against in-toto's library.
"""

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from minigpt import __version__
from minigpt.digest import file_digest
from minigpt.errors import MiniGPTError, RegistryError
from minigpt.files import to_json, write_json
from minigpt.git import run_git
from minigpt.registry.artifacts import (
    STORED,
    VALIDATION,
    read_artifact,
    version_files,
    write_artifact,
)
from minigpt.registry.lineage.record import Record
from minigpt.registry.provenance import dsse
from minigpt.registry.provenance.keys import (
    key_id,
    key_path,
    no_key,
    public_key,
    public_path,
    signing_key,
)
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version
from minigpt.release.manifest import Manifest, load_files
from minigpt.tracking.address import shown
from minigpt.tracking.environment import environment
from minigpt.yaml12 import read_yaml

ENVELOPE = "release/provenance.dsse.json"
SLSA = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:minigpt:build:dvc-repro:v1"
BUILDER = "urn:minigpt:builder:own-machine"  # no hosted builder vouches for it: SLSA build level 1
RECIPE = ("params.yaml", "dvc.yaml", "dvc.lock")
MUTABLE = ("README.md", ENVELOPE)  # the card gains a note when a document is taken down


def write_envelope(
    folder: Path, record: Record, manifest: Manifest, root: Path, key: Ed25519PrivateKey | None
) -> None:
    """Write release/provenance.dsse.json into `folder`, signed if the user has a key.

    `folder` holds what the version keeps beside its outputs: each file of it is named too.
    """
    envelope = dsse.seal(statement(folder, record, manifest, root), key)
    write_json(folder / ENVELOPE, envelope)


def statement(folder: Path, record: Record, manifest: Manifest, root: Path) -> dict[str, Any]:
    """The in-toto statement: products, materials, recipe, machine."""
    params = read_yaml((root / "params.yaml").read_text(encoding="utf-8"))
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    beside = {p.relative_to(folder).as_posix(): p for p in paths}
    patch = beside.pop("source.patch", None)
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": products(manifest, root),
        "predicateType": SLSA,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"command": "dvc repro", "params": params},
                "internalParameters": {
                    "machine": dict(record.machine),
                    "packages": {
                        stage.name: stage.environment.packages
                        for stage in record.stages
                        if stage.environment
                    },
                },
                "resolvedDependencies": [
                    _code(record, root),
                    *([_file("source.patch", patch)] if patch else []),
                    *(_file(name, root / name) for name in RECIPE),
                    *lock_files(record, root),
                    *archives(record),
                ],
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": {"minigpt": __version__, "python": platform.python_version()},
                },
                "byproducts": [
                    _file(name, path) for name, path in beside.items() if name not in MUTABLE
                ],
            },
        },
    }


def products(manifest: Manifest, root: Path) -> list[dict[str, Any]]:
    """The files that a version is: its manifest, the list of every file, every file it keeps."""
    outputs = [*(path for path in manifest.digests if path.startswith(STORED)), VALIDATION]
    lists = ("release/manifest.json", "release/files.json")
    return [_file(name, root / name) for name in lists] + [
        {"name": entry.path, "digest": {"sha256": entry.sha256}}
        for entry in load_files(root / "release/files.json").files
        if any(entry.path == out or entry.path.startswith(f"{out}/") for out in outputs)
    ]


def lock_files(record: Record, root: Path) -> Iterator[dict[str, Any]]:
    """The lock files that the stages ran with, each with its stages; named twice where they differ.

    Of a stage whose run recorded none, those that lie here as the version is registered.
    """
    here = environment(root).locks
    stages: dict[tuple[str, str, str], list[str]] = {}
    for stage in record.stages:
        recorded = "with the run" if stage.environment else "at registration"
        for name, sha256 in (stage.environment.locks if stage.environment else here).items():
            stages.setdefault((name, sha256, recorded), []).append(stage.name)
    if not record.stages:
        stages = {(name, sha256, "at registration"): [] for name, sha256 in here.items()}
    for (name, sha256, recorded), names in sorted(stages.items()):
        yield {
            "name": name,
            "digest": {"sha256": sha256},
            "annotations": {"recorded": recorded, "stages": names},
        }


def archives(record: Record) -> list[dict[str, Any]]:
    """What was fetched, or packed from a local folder, by sha256."""
    return [
        {
            "name": f"data/archives/{name}",
            "digest": {"sha256": sha256},
            **uri_of(source.kind, source.place),
            "annotations": {
                "source": source.name,
                "place": source.place,
                "licence": source.licence,
                "role": source.role,
            },
        }
        for source in record.sources
        for name, sha256 in sorted(source.archives.items())
    ]


def uri_of(kind: str, place: str) -> dict[str, str]:
    """Where an archive came from, as a package URL or an address; nothing for a local folder."""
    name, _, version = place.partition(" ")
    if kind in ("package", "npm") and version:
        return {"uri": f"pkg:{'pypi' if kind == 'package' else 'npm'}/{name}@{version}"}
    return {"uri": place} if "://" in place and kind != "local" else {}


def check(registry: Registry, version: Version, key: Path | None = None) -> list[str]:
    """What does not hold, a line each; nothing: the signature is `key`'s and every file is as told.

    Without `key`, the user's own public key is expected.

    Raises:
        ParamsError: `key` is no public key.
        RegistryError: the store cannot be read.
    """
    expected = public_key(key)
    try:
        envelope, said = read_envelope(registry, version)
    except RegistryError as error:
        return [str(error)]
    problem = signature_problem(envelope, version, expected)
    return ([problem] if problem else []) + differences(registry, version, said)


def signature_problem(
    envelope: dict[str, Any], version: Version, expected: Ed25519PublicKey | None
) -> str | None:
    """Why the statement in an envelope is not vouched for by the key `expected`; None: it is."""
    made_by = sorted(str(signature.get("keyid", "?"))[:12] for signature in envelope["signatures"])
    if not made_by:
        return (
            f"{ENVELOPE}: not signed: there was no key when {version.name} {version.version} was "
            "registered. To sign it now: minigpt registry sign "
            f"models:/{version.name}/{version.version}"
        )
    if expected is None:
        return (
            f"{ENVELOPE}: signed by key {', '.join(made_by)}, and there is no public key to check "
            f"it with ({public_path(key_path())}). Name one: --key FILE.pub"
        )
    if dsse.signed_by(envelope, expected):
        return None
    ours = key_id(expected)[:12]
    return (
        f"{ENVELOPE}: the signature does not hold: the statement was changed after signing"
        if ours in made_by
        else f"{ENVELOPE}: signed by key {', '.join(made_by)}, expected was {ours}; the "
        "signer's public key goes into --key FILE.pub"
    )


def differences(registry: Registry, version: Version, said: dict[str, Any]) -> list[str]:
    """Every file of the version that is not what its statement says, a line each."""
    version.refuse_unnamed()
    try:
        stated = stated_files(said)
    except (KeyError, TypeError):
        return [f"{ENVELOPE}: its statement is not of the form that minigpt writes"]
    problems = []
    with version_files(registry, version) as files:
        for name, expected in stated.items():
            path = files.path(name)
            if path is None:
                problems.append(f"{name}: is gone; its sha256 was {expected[:12]}…")
            elif (digest := file_digest(path)) != expected:
                problems.append(
                    f"{name}: DIFFERENT: sha256 {digest[:12]}…, stated was {expected[:12]}…"
                )
    if stated.get("release/manifest.json") != version.digest:
        problems.append(
            f"{ENVELOPE}: speaks of another version; {version.name} {version.version} has the "
            f"manifest {version.digest[:12]}…"
        )
    return problems


def stated_files(said: dict[str, Any]) -> dict[str, str]:
    """Path -> sha256 of every file that a statement names and its version holds."""
    entries = [*said["subject"], *said["predicate"]["runDetails"]["byproducts"]]
    recipe = {k: v for k, v in materials(said).items() if k in (*RECIPE, "source.patch")}
    return {str(entry["name"]): str(entry["digest"]["sha256"]) for entry in entries} | recipe


def commit_of(said: dict[str, Any]) -> str | None:
    """The commit that a statement says the code is of."""
    named = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    commits = (entry["digest"].get("gitCommit") for entry in named if entry["name"] == "code")
    return next(commits, None)


def materials(said: dict[str, Any]) -> dict[str, str]:
    """Path -> sha256 of every file that a version was made from; one of the lock files a name."""
    return dict(materials_listed(said))


def materials_listed(said: dict[str, Any]) -> list[tuple[str, str]]:
    """As `materials`; a lock file stands there once for each content that a stage ran with."""
    named = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    return [
        (str(entry["name"]), str(entry["digest"]["sha256"]))
        for entry in named
        if "sha256" in entry["digest"]
    ]


def signer(registry: Registry, version: Version) -> str | None:
    """Who signed the statement of a version, for people; None if nobody did.

    `your key` when the user's own key made a signature that holds; else the key's id.
    """
    try:
        envelope, _ = read_envelope(registry, version)
    except MiniGPTError:
        return None
    if not envelope["signatures"]:
        return None
    try:
        own = public_key()
    except MiniGPTError:
        own = None  # it does not open: whose signature it is stays open
    if own is not None and dsse.signed_by(envelope, own):
        return "your key"
    return f"key {str(envelope['signatures'][0].get('keyid', '?'))[:12]}, not checked"


def sign(registry: Registry, ref: str) -> str:
    """Add the user's signature to the statement of a version; returns the key's id.

    Raises:
        RegistryError: there is no key, no statement, or a file is not what the statement says.
    """
    key = signing_key()
    if key is None:
        raise no_key(key_path())
    version = find_version(registry, ref)
    envelope, said = read_envelope(registry, version)
    if problems := differences(registry, version, said):
        raise RegistryError(
            f"{version.name} {version.version} was not signed: {'; '.join(problems[:3])}"
        )
    write_artifact(registry, version, ENVELOPE, to_json(dsse.sign(envelope, key)).encode())
    return key_id(key.public_key())


def read_envelope(registry: Registry, version: Version) -> tuple[dict[str, Any], dict[str, Any]]:
    """The envelope of a version and the statement in it.

    Raises:
        RegistryError: the version has none, or it is no envelope.
    """
    data = read_artifact(registry, version, ENVELOPE)
    if data is None:
        raise RegistryError(
            f"{version.name} {version.version} has no {ENVELOPE}: its files are gone. "
            "Put the store's files back from a copy"
        )
    return dsse.opened(data, ENVELOPE)


def _code(record: Record, root: Path) -> dict[str, Any]:
    """The commit, and where others find it: never with a password, never a path of this machine."""
    asked = run_git(root, "config", "--get", "remote.origin.url").stdout.decode().strip()
    address = urlsplit(shown(asked))
    public = address.scheme in ("https", "http", "ssh", "git")
    uri = {"uri": f"git+{address._replace(query='', fragment='').geturl()}"} if public else {}
    return {"name": "code", "digest": {"gitCommit": record.commit}, **uri}


def _file(name: str, path: Path) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": file_digest(path)}}
