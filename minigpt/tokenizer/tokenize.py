"""The stage tokenize."""

from pathlib import Path
from typing import Any

from minigpt.data.document import read_documents
from minigpt.data.shards import SPLITS, ShardWriter
from minigpt.errors import DataError
from minigpt.files import new_folder
from minigpt.run import Run
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizeParams

AT_ONCE = 256
"""Documents encoded between two lines of progress; bounds the memory for their ids."""


def tokenize(
    documents: Path,
    tokenizer: Path,
    pretrain_out: Path,
    finetune_out: Path,
    params: TokenizeParams,
    run: Run,
) -> dict[str, Any]:
    """Encode every document into the shards of its role and split.

    Returns:
        role → split → tokens, bytes, docs and the same by source.

    Raises:
        DataError: a role has no training document.
    """
    encoder = Tokenizer.load(tokenizer)
    outs = {"pretrain": pretrain_out, "finetune": finetune_out}
    metrics = {
        role: write_role(documents, role, out, encoder, params.tokenize.shard_tokens, run)
        for role, out in outs.items()
    }
    totals = {s: sum(metrics[role][s]["tokens"] for role in outs) for s in SPLITS}
    parts = ", ".join(f"{split} {short(totals[split])}" for split in SPLITS)
    run.say(f"{short(sum(totals.values()))} tokens · {parts}")
    return metrics


def write_role(
    documents: Path, role: str, out: Path, encoder: Tokenizer, shard_tokens: int, run: Run
) -> dict[str, Any]:
    """Write one folder of shards; returns split → counts."""
    with new_folder(out) as folder:
        writer = ShardWriter(
            folder,
            vocab_size=encoder.vocab_size,
            eot_id=encoder.eot_id,
            tokenizer=encoder.digest,
            shard_tokens=shard_tokens,
        )
        for split in SPLITS:
            found = read_documents(documents, role=role, split=split)
            if split == "train" and not found:
                raise DataError(
                    f"{documents}: no document has role {role} and split train. "
                    "Look at `sources` in params.yaml, then run: dvc repro"
                )
            for first in range(0, len(found), AT_ONCE):
                part = found[first : first + AT_ONCE]
                encoded = encoder.encode_batch([d.text for d in part], run.machine.threads)
                for document, ids in zip(part, encoded, strict=True):
                    writer.add(split, document.source, ids, document.n_bytes)
                run.progress(f"{role} {split}: {first + len(part):,} of {len(found):,} documents")
        splits = writer.close()["splits"]
    return {
        split: {key: value for key, value in counts.items() if key != "shards"}
        for split, counts in splits.items()
    }


def short(count: int) -> str:
    """4,900,000 → 4.9M; 246,691 → 0.2M; 96,000 → 96.0k."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size / 10:
            return f"{count / size:.1f}{letter}"
    return str(count)
