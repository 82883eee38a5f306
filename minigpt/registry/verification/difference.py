"""Where two files differ: the tensor, its index and both values; elsewhere the first byte."""

import hashlib
import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TENSORS = ".safetensors"
DESCRIPTION = "model.json"
BLOCK = 1 << 20
KINDS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "u1", "BF16": "<u2",
}  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """A tensor inside a safetensors file."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def describe(
    now: Path, name: str, original: Path | None, tensors: Mapping[str, str] | None = None
) -> str:
    """Where the file `name`, which lies at `now`, differs, in words.

    Without the original a tensor is named by the sha256 that was written of it (`tensors`), and of
    another file nothing is known.
    """
    slots = read_slots(now) if name.endswith(TENSORS) else []
    if original is not None:
        before = read_slots(original) if slots else []
        if slots and before:
            return _tensors(now, slots, original, before) or _bytes(now, original)
        return _bytes(now, original)
    for slot in slots:
        if tensors and slot.name in tensors and _digest(now, slot) != tensors[slot.name]:
            return f"first in {slot.name} (its sha256 is not that of {DESCRIPTION})"
    if slots and tensors and tensors.keys() != {slot.name for slot in slots}:
        return f"its tensors are not those of {DESCRIPTION}"
    return "not what was written; the original is nowhere to compare with"


def tensor_digests(package: Path | None) -> dict[str, str] | None:
    """The sha256 of each tensor, as model.json of a package says; None where it does not."""
    try:
        described = json.loads((package / DESCRIPTION).read_bytes()) if package else {}
        return dict(described["tensors"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_slots(path: Path) -> list[Slot]:
    """The tensors of a safetensors file in the order of their bytes; none where it is damaged."""
    try:
        length = path.stat().st_size
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > length:
                return []
            header: dict[str, Any] = json.loads(file.read(size))
        header.pop("__metadata__", None)
        slots = [
            Slot(name, e["dtype"], tuple(e["shape"]), *(8 + size + at for at in e["data_offsets"]))
            for name, e in header.items()
        ]
        whole = all(_fits(slot, 8 + size, length) for slot in slots)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return sorted(slots, key=lambda slot: slot.start) if whole else []


def _fits(slot: Slot, first: int, length: int) -> bool:
    """Whether a tensor lies inside its file and is as long as its shape says."""
    if not all(isinstance(number, int) for number in (*slot.shape, slot.start, slot.end)):
        return False
    if slot.kind in KINDS:
        size = math.prod(slot.shape) * np.dtype(KINDS[slot.kind]).itemsize
        if slot.end - slot.start != size:
            return False
    return first <= slot.start <= slot.end <= length


def values(path: Path, slot: Slot) -> Any:
    """A tensor as numbers; bfloat16 as the float32 of the same value."""
    kind = np.dtype(KINDS[slot.kind])
    flat = np.fromfile(path, kind, count=math.prod(slot.shape), offset=slot.start)
    if slot.kind == "BF16":
        flat = (flat.astype("<u4") << 16).view("<f4")
    return flat.reshape(slot.shape)


def _tensors(now: Path, slots: list[Slot], original: Path, before: list[Slot]) -> str | None:
    """The first tensor that differs; None where all are equal (then the header is not)."""
    known = {slot.name: slot for slot in slots}
    for old in before:
        new = known.get(old.name)
        if new is None:
            return f"{old.name} is not in it"
        if (new.kind, new.shape) != (old.kind, old.shape):
            return f"{old.name} was {old.kind}{list(old.shape)}, is {new.kind}{list(new.shape)}"
        if old.kind not in KINDS:
            if _digest(now, new) != _digest(original, old):
                return f"first in {old.name}"
            continue
        # By bits: NaN differs from itself, and 0.0 equals -0.0.
        a, b = values(original, old), values(now, new)
        width = f"u{a.dtype.itemsize}" if a.dtype.kind == "f" else a.dtype
        unequal = np.flatnonzero(a.reshape(-1).view(width) != b.reshape(-1).view(width))
        if len(unequal):
            index = np.unravel_index(unequal[0], old.shape) if old.shape else ()
            where = f"{old.name}[{', '.join(str(int(i)) for i in index)}]"
            was, is_now = both(a.reshape(-1)[unequal[0]], b.reshape(-1)[unequal[0]])
            more = f" ({len(unequal):,} values of this tensor differ)" if len(unequal) > 1 else ""
            return f"first at {where}: {was} became {is_now}{more}"
    if extra := sorted(known.keys() - {slot.name for slot in before}):
        return f"{extra[0]} was not in it"
    return None


def both(old: Any, new: Any) -> tuple[str, str]:
    """Two numbers, with as many digits as it takes to tell them apart."""
    for digits in (3, 6, 9, 17):
        was, is_now = f"{old:.{digits}g}", f"{new:.{digits}g}"
        if was != is_now:
            return was, is_now
    return repr(old), repr(new)


def _bytes(now: Path, original: Path) -> str:
    """The first byte that differs."""
    position = 0
    with original.open("rb") as first, now.open("rb") as second:
        while True:
            a, b = first.read(BLOCK), second.read(BLOCK)
            if a != b:
                short = min(len(a), len(b))
                at = next((i for i in range(short) if a[i] != b[i]), short)
                sizes = f"{original.stat().st_size:,} bytes became {now.stat().st_size:,}"
                if at == short:
                    return f"{sizes}; equal up to byte {position + at:,}"
                more = "" if original.stat().st_size == now.stat().st_size else f" ({sizes})"
                return f"first at byte {position + at:,}: {a[at]:#04x} became {b[at]:#04x}{more}"
            if not a:
                return "equal now: it changed while it was read"
            position += len(a)


def _digest(path: Path, slot: Slot) -> str:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return hashlib.sha256(data[slot.start : slot.end]).hexdigest()
