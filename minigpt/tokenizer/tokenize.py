"""The stage tokenize."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minigpt.data.document import read_documents
from minigpt.data.shards import MANIFEST, SPLITS, ShardWriter
from minigpt.errors import DataError
from minigpt.files import new_folder
from minigpt.log import short
from minigpt.roles import ROLES
from minigpt.run import Run
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizeParams

FEW_BYTES = 1.3
"""Bytes a token; below, the tokenizer spells a text almost byte by byte."""
AT_ONCE = 256
"""Documents encoded between two lines of progress; bounds the memory for their ids."""

HEADLINES = ("*.train.tokens",)


def tokenize(
    documents: Path,
    tokenizer: Path,
    pretrain_out: Path,
    finetune_out: Path,
    params: TokenizeParams,
    run: Run,
    windows: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Encode every document into the shards of its role and split.

    `windows`: role → tokens that one window of its training takes.

    Returns:
        role → split → tokens, bytes, docs and the same by source.

    Raises:
        DataError: a role has no training document, or too few tokens for one window.
    """
    encoder = Tokenizer.load(tokenizer)
    outs = dict(zip(ROLES, (pretrain_out, finetune_out), strict=True))
    manifests = {
        role: write_role(documents, role, encoder, params.tokenize.shard_tokens, run)
        for role in outs
    }
    for role, window in (windows or {}).items():
        refuse_too_few(role, manifests[role], window)
    for role, out in outs.items():
        publish(run.workdir / role, manifests[role], out)
    results = {role: counts(manifest) for role, manifest in manifests.items()}
    totals = {s: sum(results[role][s]["tokens"] for role in outs) for s in SPLITS}
    parts = ", ".join(f"{split} {short(totals[split])}" for split in SPLITS)
    lengths = bytes_a_token(results)
    for source, length in lengths.items():
        if length < FEW_BYTES:
            run.say(
                f"{source}: the tokenizer does not know this text, {length:.2f} bytes a token: the "
                "model sees little of it at once. Take text of its language or script to pretrain "
                "on (params.yaml: sources.NAME.role)"
            )
    by_source = ", ".join(f"{source} {length:.2f}" for source, length in lengths.items())
    run.say(f"{short(sum(totals.values()))} tokens · {parts} · bytes a token: {by_source}")
    return results


def bytes_a_token(results: Mapping[str, Any]) -> dict[str, float]:
    """The mean of each source, over all roles and splits."""
    sums: dict[str, list[int]] = {}
    for splits in results.values():
        for split in splits.values():
            for source, part in split["sources"].items():
                total = sums.setdefault(source, [0, 0])
                total[0] += part["bytes"]
                total[1] += part["tokens"] - part["docs"]  # <|endoftext|> stands for no byte
    return {source: n / max(1, tokens) for source, (n, tokens) in sorted(sums.items())}


def refuse_too_few(role: str, manifest: Mapping[str, Any], window: int) -> None:
    """Refuse what training would refuse after most of its steps: its longest windows come last.

    Raises:
        DataError: names the sources, their tokens and the keys.
    """
    for split, needed in (("train", window), ("val", 2)):
        entry = manifest["splits"][split]
        if entry["tokens"] < needed:
            sources = ", ".join(
                f"{name} {part['tokens']:,}" for name, part in sorted(entry["sources"].items())
            )
            raise DataError(
                f"the sources of role {role} have {entry['tokens']:,} tokens in {split} "
                f"({sources or 'none'}), and one window of its training takes {needed:,}. Add text "
                f"(params.yaml: sources), or lower model.context_length or {role}.phases"
            )


def write_role(
    documents: Path, role: str, encoder: Tokenizer, shard_tokens: int, run: Run
) -> dict[str, Any]:
    """The manifest of one role's shards in run.workdir, where a killed attempt's files count."""
    writer = ShardWriter(
        run.workdir / role,
        vocab_size=encoder.vocab_size,
        eot_id=encoder.eot_id,
        tokenizer=encoder.digest,
        shard_tokens=shard_tokens,
    )
    for split in SPLITS:
        split_documents = read_documents(documents, role=role, split=split)
        if split == "train" and not split_documents:
            raise DataError(
                f"{documents}: no document has role {role} and split train. "
                "Look at `sources` in params.yaml, then run: dvc repro"
            )
        if done := writer.done(split):
            run.say(
                f"{role} {split}: resumed behind {done:,} of {len(split_documents):,} documents"
            )
        for first in range(done, len(split_documents), AT_ONCE):
            part = split_documents[first : first + AT_ONCE]
            encoded = encoder.encode_batch([d.text for d in part], run.machine.threads)
            for document, ids in zip(part, encoded, strict=True):
                writer.add(split, document.source, ids, document.n_bytes)
            run.progress(
                f"{role} {split}: {first + len(part):,} of {len(split_documents):,} documents"
            )
        writer.finish(split)
    return writer.close()


def publish(made: Path, manifest: dict[str, Any], out: Path) -> None:
    """Move the files of a finished role to its output, which appears whole or not at all."""
    shards = [shard for split in manifest["splits"].values() for shard in split["shards"]]
    names = [f"{shard['name']}.{suffix}" for shard in shards for suffix in shard["sha256"]]
    with new_folder(out) as folder:
        for name in (MANIFEST, *names):  # the manifest first: without it nothing is resumed
            shutil.move(made / name, folder / name)


def counts(manifest: dict[str, Any]) -> dict[str, Any]:
    """Counts by split, without the files."""
    return {
        split: {key: value for key, value in entry.items() if key != "shards"}
        for split, entry in manifest["splits"].items()
    }
