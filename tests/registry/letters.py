"""Documents, a letter to take out among them, and what stands for the pipeline."""

from hashlib import sha256

from minigpt.data.checks import drop
from minigpt.data.config import Bounds, Validation
from minigpt.data.document import Document, write_documents
from minigpt.data.shards import ShardWriter
from minigpt.registry.register import register
from minigpt.registry.registry import Registry
from minigpt.registry.takedown.exclude import excluded
from minigpt.registry.versions import CHAMPION
from minigpt.tokenizer.bpe import Tokenizer

NAME = "minigpt-test"
BOUNDS = Validation(
    pretrain_bytes=Bounds(min=0, max=10**6), finetune_bytes=Bounds(min=0, max=10**6)
)

LETTER = " ".join(f"of the {n} letters that he sent to his sister" for n in range(30)) + "\n"
COPY = "printed in 1901 with a foreword\n" + LETTER
HELD = " ".join(f"the speech number {n} that was held out" for n in range(30)) + "\n"


def document(doc_id, text, role="finetune", split="train", origin="0" * 64):
    source = doc_id.partition("/")[0]
    return Document(
        doc_id, text, source, role, doc_id, "en", "public domain", split,
        sha256(text.encode()).hexdigest(), f"{origin}:{doc_id}",
    )  # fmt: skip


RAW = [
    document(f"plays/{split}", f"a play of the {split} split\n", "pretrain", split)
    for split in ("train", "val", "test")
] + [
    document("speeches/letter.txt", LETTER),
    document("speeches/copy.txt", COPY),
    document("speeches/other.txt", "another speech that stays in the training\n", origin="1" * 64),
    document("speeches/val.txt", "a speech of the validation\n", split="val"),
    document("speeches/test.txt", HELD, split="test"),
    document("speeches/test2.txt", "a second speech that was held out\n", split="test"),
]
LETTER_SHA = RAW[3].sha256


def build(checkout, tuned=1.7, champion=False):
    """A function that does what the pipeline does where something was excluded."""

    def run(root, _wait):
        documents, _ = drop(RAW, replace_exclude(root))
        write_documents(root / "data/documents/documents.parquet", documents)
        tokenizer = Tokenizer.load(root / "models/tokenizer")
        for role in ("pretrain", "finetune"):
            folder = root / "data/tokens" / role
            for file in folder.glob("*"):
                file.unlink()
            writer = ShardWriter(
                folder, vocab_size=tokenizer.vocab_size, eot_id=tokenizer.eot_id,
                tokenizer=tokenizer.digest, shard_tokens=10**6,
            )  # fmt: skip
            for doc in (doc for doc in documents if doc.role == role):
                ids = tokenizer.encode_array(doc.text)
                writer.add(doc.split, doc.source, ids, doc.n_bytes)
            writer.close()
        checkout.build(tuned=tuned)
        version = register(Registry(root, NAME))
        if champion:
            client = Registry(root, NAME).store.client
            client.set_registered_model_alias(version.name, CHAMPION, version.version)
        return 0

    return run


def replace_exclude(root):
    return BOUNDS.replace(exclude=excluded(root))
