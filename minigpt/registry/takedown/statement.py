"""What came of a takedown, with its proof: kept with the version that was built without the text.

Three things are shown, each from what the new version is made of: its document index has none of
the digests, no document among its token shards is one of the texts, and its loss on the text beside
that of the version before, and beside documents that neither of the two learned from.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from minigpt.data.document import Document, read_documents
from minigpt.data.shards import open_tokens, read_manifest
from minigpt.errors import PackageError, RegistryError
from minigpt.files import rounded, to_json
from minigpt.machine import Machine
from minigpt.registry.artifacts import read_artifact, write_artifact
from minigpt.registry.contents import model_of
from minigpt.registry.lineage.index import file_of, index_of
from minigpt.registry.registry import Registry
from minigpt.registry.takedown.plan import Takedown
from minigpt.registry.versions import Version, champion_of
from minigpt.release.document_index import INDEX, learned
from minigpt.release.text import shortened
from minigpt.roles import ROLES
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tracking.origin import user

FOLDER = "takedown"
DOCUMENTS, TOKENS, TOKENIZER = Path("data/documents"), Path("data/tokens"), Path("models/tokenizer")
COMPARED = 60_000  # bytes of held-out text that the loss is held against, at least
REMAINS = (
    "The text itself is not deleted: sources, data/archives, data/raw, DVC's cache and remotes may "
    "hold it, the weights of versions that learned from it what they kept of it, and the "
    "evaluation sets of versions that held it out its text."
)


@dataclass(frozen=True)
class Statement:
    """A takedown, stated."""

    values: Mapping[str, Any]
    """As it is kept: takedown/NAME.json among the files of the new version."""
    champion: Version | None
    champion_has_it: bool
    """The gate refused the new version, and champion still is one that learned from the text."""

    @property
    def text(self) -> str:
        """For people."""
        return in_words(self.values)


def state(
    registry: Registry,
    new: Version,
    before: Version | None,
    takedown: Takedown,
    reason: str,
) -> Statement:
    """State what came of it and keep that with the version `new`.

    Raises:
        RegistryError: `new` still has one of the texts, or the store cannot be written.
    """
    champion = champion_of(registry, new.name)
    values: dict[str, Any] = {
        "format": 1,
        "name": new.name,
        "asked": takedown.asked,
        "reason": reason,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": user(),
        "documents": [
            {"doc_id": d.doc_id, "sha256": d.sha256, "bytes": d.n_bytes if d.text else None}
            for d in takedown.documents
        ],
        "trained": [_version(v, [h.sha256 for h in hs]) for v, hs in takedown.trained],
        "held_out": [_version(v, [h.sha256 for h in hs]) for v, hs in takedown.held_out],
        "unknown": [_version(v) for v in takedown.unknown],
        "now": _version(new),
        "near": [
            {"doc_id": n.document.doc_id, "sha256": n.document.sha256, "share": round(n.share, 3)}
            for n in takedown.near
        ],
        "index": _index_lacks(registry, new, takedown),
        "tokens": _tokens_lack(registry.root, takedown.documents),
        "loss": _losses(registry, new, before, takedown.documents),
        "champion": champion and champion.version,
        "remains": REMAINS,
    }
    values = rounded(json.loads(json.dumps(values)))
    _keep(registry, new, values)
    had = {v.version for v, _ in takedown.trained if v.name == new.name}
    return Statement(values, champion, champion is not None and champion.version in had)


def in_words(values: Mapping[str, Any]) -> str:
    """The statement for people."""
    documents, index, tokens, now = (values[k] for k in ("documents", "index", "tokens", "now"))
    first = documents[0]
    count = f" and {len(documents) - 1} more" if len(documents) > 1 else ""
    lines = [f"taken down: {first['doc_id']}{count} · {values['reason']}"]
    lines += [
        f"  document      {d['sha256']}  {d['doc_id']}"
        + (f"  {d['bytes']:,} bytes" if d["bytes"] else "")
        for d in documents[:10]
    ]
    if len(documents) > 10:
        lines.append(f"  …             {len(documents) - 10} more (all of them: --json)")
    facts = [
        ("trained on it", _listed(values["trained"], values["name"]) or "no version"),
        ("held it out", _listed(values["held_out"], values["name"]) or "no version"),
        ("cannot tell", _listed(values["unknown"], values["name"])),
        *(("stays", _near_in_words(near)) for near in values["near"][:10]),
        ("without it", f"version {now['version']} · manifest {now['digest'][:12]}"),
        ("  index", f"{index['documents']:,} documents, none with this sha256 ({index['file']})"),
        ("  tokens", _tokens_in_words(tokens)),
    ]
    if values["loss"]:
        facts += _loss_in_words(values["loss"])
    else:
        facts.append(("  loss", "not measured: the text, or the files of a version, are not here"))
    facts.append(("champion", f"version {values['champion']}" if values["champion"] else "none"))
    lines += [f"  {name:<14}{text}" for name, text in facts if text]
    return "\n".join([*lines, values["remains"]])


def _index_lacks(registry: Registry, new: Version, takedown: Takedown) -> dict[str, Any]:
    digests, files = {d.sha256 for d in takedown.documents}, takedown.files
    documents, file = index_of(registry, new), read_artifact(registry, new, INDEX)
    if documents is None or file is None:
        raise RegistryError(f"{new.name} {new.version}: its {INDEX} is gone; nothing can be stated")
    if holds := [d.doc_id for d in documents if d.sha256 in digests or file_of(d) in files]:
        raise RegistryError(
            f"{new.name} {new.version} was built with {', '.join(holds[:3])} all the same. "
            "Is validate.exclude in params.yaml what this command wrote? Then run it again"
        )
    return {"file": INDEX, "sha256": sha256(file).hexdigest(), "documents": len(documents)}


def _tokens_lack(root: Path, documents: Sequence[Document]) -> dict[str, Any]:
    """Every stored document of tokens, compared with those of the texts."""
    tokenizer = Tokenizer.load(root / TOKENIZER)
    wanted = [tokenizer.encode_array(d.text) for d in documents if d.text]
    tokenized, equal = 0, 0
    for role in ROLES:
        folder = root / TOKENS / role
        for split, about in read_manifest(folder)["splits"].items():
            tokenized += about["docs"]
            if not about["shards"]:
                continue
            stored = open_tokens(folder, split, tokenizer.digest)
            for start, end in zip(stored.docs[:-1], stored.docs[1:], strict=True):
                # The first token of each is <|endoftext|>.
                for ids in wanted:
                    if end - start - 1 == len(ids):
                        row = stored.rows(np.array([start + 1]), len(ids))[0]
                        equal += bool(np.array_equal(row, ids))
    expected = len(read_documents(root / DOCUMENTS, ("doc_id",)))
    if equal or tokenized != expected:
        raise RegistryError(
            f"{root / TOKENS} holds {tokenized} documents of the {expected} that were kept, "
            f"{equal} of them taken down. Run: dvc repro tokenize"
        )
    return {"documents": tokenized, "compared": len(wanted)}


def _losses(
    registry: Registry,
    new: Version,
    before: Version | None,
    documents: Sequence[Document],
) -> dict[str, Any] | None:
    """Bits per byte on the texts, and on held-out documents: of their sources, if there are any."""
    read = [d for d in documents if d.text]
    beside = _never_seen(registry, before, {d.source for d in read})
    if not read or not beside:
        return None
    beside = shortened(beside, max(COMPARED, sum(d.n_bytes for d in read)))
    Machine.load().prepare_torch()
    losses: dict[str, Any] = {"unit": "bits per byte", "compared": [d.doc_id for d in beside]}
    for when, version in (("before", before), ("after", new)):
        if version is None:
            continue
        try:
            package = model_of(registry, version)
            on = {"text": _bits(package, read), "never_seen": _bits(package, beside)}
        except (RegistryError, PackageError):
            return None
        losses[when] = {"version": version.version, **on}
    return losses


def _never_seen(registry: Registry, before: Version | None, sources: set[str]) -> list[Document]:
    """Test documents, of these sources where they have any, that `before` did not learn from."""
    documents = read_documents(registry.root / DOCUMENTS, split="test")
    trained = learned((before and index_of(registry, before)) or ())
    unseen = [d for d in documents if d.sha256 not in trained]
    return [d for d in unseen if d.source in sources] or unseen


def _bits(package: Path, documents: Sequence[Document]) -> float:
    from minigpt.evaluation.perplexity import measure_package, window_over
    from minigpt.package import load_package

    loaded = load_package(package, Machine.load().torch_device)
    return measure_package(loaded, documents, window_over(loaded.config)).bits_per_byte


def _keep(registry: Registry, new: Version, values: Mapping[str, Any]) -> None:
    """Under the first digits of its first text's sha256: a second takedown is another file."""
    name = values["documents"][0]["sha256"][:12]
    write_artifact(registry, new, f"{FOLDER}/{name}.json", to_json(values).encode())
    write_artifact(registry, new, f"{FOLDER}/{name}.txt", f"{in_words(values)}\n".encode())


def _version(version: Version, documents: Sequence[str] = ()) -> dict[str, Any]:
    facts = {"name": version.name, "version": version.version, "digest": version.digest}
    return facts | ({"documents": sorted(documents)} if documents else {})


def _listed(versions: Sequence[Mapping[str, Any]], name: str) -> str:
    own = [v["version"] for v in versions if v["name"] == name]
    parts = [f"version{'s' if len(own) > 1 else ''} {', '.join(own)}"] if own else []
    return ", ".join(
        [*parts, *(f"{v['name']} {v['version']}" for v in versions if v["name"] != name)]
    )


def _near_in_words(near: Mapping[str, Any]) -> str:
    return (
        f"{near['doc_id']} ({near['sha256'][:12]}…), which repeats {near['share']:.0%} of the "
        "shorter one; --include-near takes it out too"
    )


def _tokens_in_words(tokens: Mapping[str, Any]) -> str:
    if not tokens["compared"]:
        return f"{tokens['documents']:,} documents, as many as the index names"
    return f"{tokens['documents']:,} documents, none with these tokens"


def _loss_in_words(loss: Mapping[str, Any]) -> list[tuple[str, str]]:
    after, before = loss["after"], loss.get("before")
    rows = []
    for key, name in (("text", "  loss on it"), ("never_seen", "  on unseen")):
        change = f"{before[key]:.3f} (version {before['version']}) to " if before else ""
        rows.append((name, f"{change}{after[key]:.3f} bits per byte (version {after['version']})"))
    count = len(loss["compared"])
    what = "document" if count == 1 else "documents"
    rows[1] = (rows[1][0], f"{rows[1][1]} · {count} held-out {what}")
    return rows
