"""What a bits-per-byte figure is read against, from knowing nothing to the best of compressors.

Every baseline is primed with the training split of the same source: its documents one after the
other in the order of `read_documents` (work, then doc_id), nothing between them. A compressor's
bits are what the test split, in that order, adds to the compressed training split. zstd and PPMd
compress both in one pass, and what comes out after the border is counted (zstd is told to end its
block there; PPMd holds back under 8 bytes). xz offers no such border: train + test less train.
"""

import lzma
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyppmd
import zstandard

from minigpt.data.document import Document
from minigpt.evaluation.config import EvaluateConfig
from minigpt.evaluation.ngram import ByteNgram
from minigpt.evaluation.passages import Row, byte_rows, source_row

MIB = 1 << 20
NAMES = ("uniform", "unigram", "ngram", "xz", "zstd", "ppmd")


@dataclass(frozen=True)
class Splits:
    """One source's documents by split."""

    train: Sequence[Document]
    val: Sequence[Document]
    test: Sequence[Document]

    @property
    def works(self) -> set[str]:
        """Of the test documents."""
        return {document.work for document in self.test}


@dataclass(frozen=True)
class Baselines:
    """What the baselines of one source need for its test split."""

    rows: list[Row]
    order: int
    """The n-gram's, in bytes."""


def measure_baselines(
    sources: Mapping[str, Splits], config: EvaluateConfig, threads: int
) -> dict[str, Baselines]:
    """Every baseline of every source, on `threads` threads (the codecs release the GIL).

    xz needs about 0.7 GB while it works with a dictionary of 64 MiB.
    """
    jobs: list[tuple[str, str, Callable[[], float]]] = []
    for source, splits in sources.items():
        train, test = joined(splits.train), joined(splits.test)
        jobs += [
            (source, "xz+", partial(xz_size, train + test, config)),
            (source, "xz-", partial(xz_size, train, config)),
            (source, "zstd", partial(zstd_size, train, test, config)),
            (source, "ppmd", partial(ppmd_size, train, test, config)),
        ]
    with ThreadPoolExecutor(threads) as pool:
        sizes: dict[tuple[str, str], Future[float]] = {
            (source, name): pool.submit(job) for source, name, job in jobs
        }
        by_source = {source: _counted(splits, config) for source, splits in sources.items()}
    for source, baselines in by_source.items():
        size = {name: future.result() for (of, name), future in sizes.items() if of == source}
        size["xz"] = size.pop("xz+") - size.pop("xz-")
        n_bytes = len(joined(sources[source].test))
        baselines.rows.extend(
            source_row(name, source, n_bytes, 8.0 * size[name]) for name in ("xz", "zstd", "ppmd")
        )
    return by_source


def _counted(splits: Splits, config: EvaluateConfig) -> Baselines:
    """uniform, unigram and n-gram: those that have bits for every byte."""
    test = [document.text.encode() for document in splits.test]
    model = ByteNgram(joined(splits.train), config.ngram.max_order, config.ngram.discount)
    order = 1  # with no validation text there is nothing to choose by
    if any(document.text for document in splits.val):
        val = model.bits([document.text.encode() for document in splits.val])
        order = int(np.argmin(val.sum(axis=1))) + 1
    bits = model.bits(test)
    by_name = {"uniform": np.full(bits.shape[1], 8.0), "unigram": bits[0], "ngram": bits[order - 1]}
    rows = [
        row
        for name, of_bytes in by_name.items()
        for row in byte_rows(name, splits.test, of_bytes, config.passage_bytes)
    ]
    return Baselines(rows, order)


def joined(documents: Sequence[Document]) -> bytes:
    """The documents' text, UTF-8, end to end."""
    return b"".join(document.text.encode() for document in documents)


def xz_size(text: bytes, config: EvaluateConfig) -> float:
    """Bytes of `text` as an .xz file."""
    preset, dictionary = config.xz.preset | lzma.PRESET_EXTREME, config.xz.dict_mb * MIB
    filters = [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": dictionary}]
    return len(lzma.compress(text, format=lzma.FORMAT_XZ, filters=filters))


def zstd_size(train: bytes, test: bytes, config: EvaluateConfig) -> float:
    """Bytes that `test` adds behind `train`."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        config.zstd.level, window_log=config.zstd.window_log
    )
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj(
        size=len(train) + len(test)
    )
    stream.compress(train)
    stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return len(stream.compress(test)) + len(stream.flush())


def ppmd_size(train: bytes, test: bytes, config: EvaluateConfig) -> float:
    """Bytes that `test` adds behind `train`."""
    encoder = pyppmd.Ppmd8Encoder(config.ppmd.order, config.ppmd.memory_mb * MIB)
    encoder.encode(train)
    return len(encoder.encode(test)) + len(encoder.flush())
