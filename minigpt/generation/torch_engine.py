"""Slots over torch: any architecture, in the model's own dtype and on its own device.

Keys and values of all slots are allocated once. Texts of one length go on as a batch of that
length; of different lengths, each row has its own position and a mask of its own. On a GPU such a
step is recorded once a size (CUDA graphs) and played again: launching its kernels one by one from
Python takes longer than they do (128 tokens a second of a 124M model).
Shapes: B rows, T new tokens, S positions seen, M context_length, K kv heads, D head width, V
vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.generation.engine import Engine, Logits
from minigpt.log import excerpt, say
from minigpt.model.cache import causal_mask
from minigpt.model.gpt import GPT

SHORTEST = 128
"""Positions of the shortest recorded step; longer ones have a power of two times as many."""
WARM_UPS = 3
"""Passes before one is recorded: libraries choose and allocate in the first ones."""
Pass = Callable[[int, int, int], Tensor]
"""TorchEngine._pass."""


@dataclass(frozen=True)
class SlotLayer:
    """One layer's keys and values: (slots, K, M + 1, D); the last place belongs to no text."""

    k: Tensor
    v: Tensor


class EvenLayer:
    """Rows of a layer that all hold the same number of positions."""

    def __init__(self, layer: SlotLayer, rows: slice, length: int) -> None:
        self.k, self.v, self.length = layer.k[rows], layer.v[rows], length

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write behind what is there; the views returned end at the newest position."""
        end = self.length + k.size(2)
        self.k[:, :, self.length : end] = k
        self.v[:, :, self.length : end] = v
        return self.k[:, :, :end], self.v[:, :, :end]


class EvenRows:
    """A ModelCache over neighbouring slots of the same length."""

    def __init__(self, layers: Sequence[SlotLayer], rows: slice, length: int) -> None:
        self.length, self._device = length, layers[0].k.device
        self.layers = [EvenLayer(layer, rows, length) for layer in layers]

    def positions(self, T: int) -> tuple[Tensor, Tensor]:
        """(T) and (S): places are positions."""
        places = torch.arange(self.length + T, device=self._device)
        return places[self.length :], places

    def mask(self, T: int) -> Tensor | None:
        """Needed only where several new positions follow old ones."""
        if T == 1 or self.length == 0:
            return None
        return causal_mask(T, self.length + T, self._device)

    def advance(self, T: int) -> None:
        """The engine counts."""


class UnevenLayer:
    """Rows of a layer, each with a place of its own for the new position."""

    def __init__(self, layer: SlotLayer, rows: slice, places: Tensor, seen: int) -> None:
        self.k, self.v, self.seen = layer.k[rows], layer.v[rows], seen
        self.places = places[:, None, None, None]  # (B, 1, 1, 1)

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write (B, K, 1, D) at each row's place; views of the first S places."""
        places = self.places.expand_as(k)
        self.k.scatter_(2, places, k)
        self.v.scatter_(2, places, v)
        return self.k[:, :, : self.seen], self.v[:, :, : self.seen]


class UnevenRows:
    """A ModelCache over neighbouring slots, one new position each. No shape depends on a length."""

    def __init__(
        self, layers: Sequence[SlotLayer], rows: slice, places: Tensor, seen: int, most: int
    ) -> None:
        """`places`: (B,) where each row goes on, M for a row that takes no part; `seen`: S."""
        self.length, self._places, self._most = seen - 1, places[:, None], most
        self._columns = torch.arange(seen, device=places.device).expand(len(places), seen)
        self.layers = [UnevenLayer(layer, rows, places, seen) for layer in layers]

    def positions(self, T: int) -> tuple[Tensor, Tensor]:
        """(B, 1) and (B, S)."""
        del T
        return self._places.clamp(max=self._most - 1), self._columns

    def mask(self, T: int) -> Tensor:
        """(B, 1, 1, S): each row sees up to its own place."""
        del T
        return (self._columns <= self._places)[:, None, None]

    def advance(self, T: int) -> None:
        """The engine counts."""


class TorchEngine(Engine):
    """The model itself.

    A matrix product of torch rounds by the number of its rows, so a text's logits differ in their
    last bits with what is computed beside it and with the pieces in which its prompt was read. The
    same seed gives the same text where the same passes are made on the same kind of processor:
    alone in one process, again in another, after a restart. In company it does so until a chance
    falls between two roundings: about once in 7,000 tokens at temperature 1 over all tokens (fp32,
    2.4M parameters, vocabulary 2,048, 1 row against 16; 300 greedy tokens were all the same).
    """

    exact = False

    def __init__(self, model: GPT, slots: int = 1) -> None:
        """`model` is used, not copied."""
        self.model = model.eval()
        config, like = model.config, next(model.parameters())
        self.slots, self.context_length = slots, config.context_length
        self.vocab_size, self.device = model.vocab_size, like.device
        shape = (slots, config.n_kv_head, self.context_length + 1, config.head_width)
        self._layers = [
            SlotLayer(*(torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in "kv"))
            for _ in range(config.n_layer)
        ]
        self._lengths = [0] * slots
        on_gpu = self.device.type == "cuda"
        self._feed = torch.zeros(2, slots, dtype=torch.int64, pin_memory=on_gpu)
        """What a step reads: ids, and their places."""
        self._inputs = torch.zeros(2, slots, dtype=torch.int64, device=self.device)
        self._recorder = Recorder() if on_gpu else None

    @torch.inference_mode()
    def read(self, slot: int, ids: Sequence[int], *, every: bool = False) -> Logits:
        """One pass over all of `ids`."""
        held = self._lengths[slot]
        cache = EvenRows(self._layers, slice(slot, slot + 1), held)
        x = self.model.hidden(torch.tensor([ids], device=self.device), cache)
        self._lengths[slot] = held + len(ids)
        logits = self.model.logits(x if every else x[:, -1:])[0]
        return on_cpu(logits if every else logits[0])

    @torch.inference_mode()
    def step(self, tokens: Mapping[int, int]) -> Mapping[int, Logits]:
        """One pass over the rows from the first slot named to the last.

        What other slots between them hold stays as it is.
        """
        low, high = min(tokens), max(tokens) + 1
        lengths = {self._lengths[slot] for slot in tokens}
        if self._recorder is None and len(lengths) == 1 and len(tokens) == high - low:
            cache = EvenRows(self._layers, slice(low, high), lengths.pop())
            ids = [[tokens[slot]] for slot in range(low, high)]
            logits = self.model(torch.tensor(ids, device=self.device), cache)[:, 0]
        else:
            if max(lengths) >= self.context_length:
                raise ValueError(f"a slot holds {max(lengths)} positions already, as many as fit")
            self._feed[1] = self.context_length
            for slot, token in tokens.items():
                self._feed[0, slot], self._feed[1, slot] = token, self._lengths[slot]
            self._inputs.copy_(self._feed, non_blocking=True)
            seen = max(lengths) + 1
            if self._recorder is None:
                logits = self._pass(low, high, seen)
            else:
                low, high = 0, at_least(high, 1, self.slots)
                seen = at_least(seen, SHORTEST, self.context_length)
                logits = self._recorder.play(self._pass, low, high, seen)
        for slot in tokens:
            self._lengths[slot] += 1
        rows = on_cpu(logits)
        return {slot: rows[slot - low] for slot in tokens}

    def length(self, slot: int) -> int:
        """Positions that `slot` holds."""
        return self._lengths[slot]

    def cut(self, slot: int, length: int) -> None:
        """Forget what `slot` holds from position `length` on."""
        self._lengths[slot] = min(self._lengths[slot], length)

    @torch.inference_mode()
    def copy(self, source: int, target: int, length: int) -> None:
        """Copy keys and values."""
        for layer in self._layers:
            for cache in (layer.k, layer.v):
                cache[target, :, :length] = cache[source, :, :length]
        self._lengths[target] = length

    def _pass(self, low: int, high: int, seen: int) -> Tensor:
        """(B, V) logits behind the ids of `_inputs`, in buffers that stay where they are."""
        rows = slice(low, high)
        ids, places = self._inputs[0, rows, None], self._inputs[1, rows]
        cache = UnevenRows(self._layers, rows, places, seen, self.context_length)
        logits: Tensor = self.model(ids, cache)[:, 0].float()
        return logits


class Recorder:
    """Passes recorded as CUDA graphs by their sizes; where that fails, launched from Python."""

    def __init__(self) -> None:
        self.works = True
        self._graphs: dict[tuple[int, int, int], tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def play(self, one_pass: Pass, low: int, high: int, seen: int) -> Tensor:
        """What `one_pass` of these sizes gives; valid until the next one is played."""
        sizes = low, high, seen
        if self.works and sizes not in self._graphs:
            try:
                self._graphs[sizes] = self._record(one_pass, *sizes)
            except RuntimeError as error:
                self.works = False
                say(f"no CUDA graph of a step, it is launched from Python: {excerpt(str(error))}")
        if sizes not in self._graphs:
            return one_pass(*sizes)
        graph, logits = self._graphs[sizes]
        graph.replay()
        return logits

    def _record(
        self, one_pass: Pass, low: int, high: int, seen: int
    ) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """A pass writes the same numbers at the same places however often it is made."""
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                one_pass(low, high, seen)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        pool = next((graph.pool() for graph, _ in self._graphs.values()), None)
        # Another thread may load a model meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            logits = one_pass(low, high, seen)
        return graph, logits


def at_least(count: int, first: int, most: int) -> int:
    """`first` doubled until it is no less than `count`; `most` at most."""
    while first < count:
        first *= 2
    return min(first, most)


def on_cpu(logits: Tensor) -> Logits:
    """In fp32, whatever the model's dtype: not every device has doubles, and numpy has no bf16."""
    array: Logits = logits.float().cpu().numpy()
    return array
