"""The 4-bit package trained further with its rounding in place, where params.yaml asks for it."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minigpt.data.batches import TokenStream
from minigpt.data.document import read_documents
from minigpt.data.shards import Tokens
from minigpt.errors import DataError
from minigpt.model.gpt import GPT
from minigpt.quantization import aware
from minigpt.release.config import AwareTrainingConfig
from minigpt.run import Run
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.training.loop import train
from minigpt.training.memory import refuse_beyond_memory
from minigpt.training.validation import CURVE_WINDOWS, mean_loss

SECTION = "quantize.finetune"


def train_aware(
    quantized: GPT,
    documents: Path,
    tokenizer: Tokenizer,
    config: AwareTrainingConfig,
    seed: int,
    run: Run,
) -> dict[str, Any]:
    """Train `quantized` in place on the training text of all sources; what a training reports.

    Resumes from run.workdir, as every training does.

    Raises:
        ParamsError: it needs more memory than there is.
        DataError: there is no text to train or to validate on.
    """
    machine = run.machine
    refuse_beyond_memory(
        quantized.config,
        tokenizer.vocab_size,
        {SECTION: config},
        machine.memory,
        machine.micro_batch,
    )
    tokens = {
        split: tokens_of(documents, split, tokenizer, machine.threads) for split in ("train", "val")
    }
    stream = TokenStream(tokens["train"], seed)
    validate = partial(mean_loss, tokens=tokens["val"], max_windows=CURVE_WINDOWS)
    model = aware.trainable(quantized)
    steps = config.steps(len(stream.tokens))
    result = train(model, stream, config, steps, run, validate, section=SECTION)
    if advice := result.advice(SECTION):
        run.say(advice)
    aware.take(quantized, model)
    return result.metrics()


def tokens_of(documents: Path, split: str, tokenizer: Tokenizer, threads: int) -> Tokens:
    """A split of all sources as shards would hold it, in memory.

    Raises:
        DataError: no document has that split.
    """
    texts = [document.text for document in read_documents(documents, ("text",), split=split)]
    if not texts:
        raise DataError(f"{documents}: no document has split {split}. Run: dvc repro validate")
    eot = np.array([tokenizer.eot_id], np.uint32)
    encoded = [np.concatenate((eot, ids)) for ids in tokenizer.encode_batch(texts, threads)]
    return Tokens(
        shards=(np.concatenate(encoded),),
        docs=np.cumsum([0, *map(len, encoded)]),
        n_bytes=sum(len(text.encode()) for text in texts),
        vocab_size=tokenizer.vocab_size,
        eot_id=tokenizer.eot_id,
    )
