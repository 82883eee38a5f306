import pytest
import torch

from minigpt.generation.config import SamplingConfig
from minigpt.generation.engine import TorchEngine
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig

CONFIG = ModelConfig(n_layer=2, n_embd=32, n_head=4, n_kv_head=2, mlp_dim=48, context_length=16)
VOCAB = 40
GREEDY = SamplingConfig(temperature=0, top_k=None, top_p=None)
WARM = SamplingConfig(temperature=1, top_k=None, top_p=None)


@pytest.fixture(scope="module")
def model():
    model = build_model(CONFIG, VOCAB, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture
def engine(model):
    return TorchEngine(model)


def without_cache(model, ids, n):
    """The likeliest ids, by a full pass each."""
    ids = list(ids)
    with torch.inference_mode():
        for _ in range(n):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[-n:]


def test_greedy_ids_are_those_of_full_passes(model, engine):
    prompt = [3, 1, 4]
    assert list(engine.generate(prompt, GREEDY, 12, seed=0)) == without_cache(model, prompt, 12)


def test_the_seed_decides_and_an_engine_can_be_used_again(engine):
    first, again, other = (list(engine.generate([1, 2], WARM, 12, seed=s)) for s in (1, 1, 2))
    assert first == again != other


def test_of_a_long_prompt_the_end_is_read(engine):
    prompt = [i % VOCAB for i in range(50)]
    short = list(engine.generate(prompt[-16:], GREEDY, 1, seed=0))
    assert list(engine.generate(prompt, GREEDY, 1, seed=0)) == short


def test_text_longer_than_the_context_continues_from_its_newer_half(model, engine):
    written = list(engine.generate([5], GREEDY, 40, seed=0))
    assert len(written) == 40
    seen = [5, *written]  # 16 fit; the 17th makes the newest 8 the new beginning
    assert written[:16] == without_cache(model, [5], 15 + 0) + without_cache(model, seen[:16], 1)
    assert written[16:18] == without_cache(model, seen[9:17], 2)


def test_it_stops_before_a_stop_id(engine):
    written = list(engine.generate([5], GREEDY, 10, seed=0))
    before = written[: written.index(written[3])]
    assert list(engine.generate([5], GREEDY, 10, seed=0, stop={written[3]})) == before


def test_banned_ids_are_never_written(engine):
    banned = list(range(1, VOCAB))
    assert list(engine.generate([5], WARM, 5, seed=0, banned=banned)) == [0] * 5


def test_no_tokens_wanted_gives_none(engine):
    assert list(engine.generate([5], GREEDY, 0, seed=0)) == []


def test_an_empty_prompt_is_refused(engine):
    with pytest.raises(ValueError, match="at least one token"):
        next(engine.generate([], GREEDY, 1, seed=0))


class OfADeviceWithoutDoubles(torch.Tensor):
    """As MPS: no float64 there, but on the CPU."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        dtypes = (*args, *(kwargs or {}).values())
        if func is torch.Tensor.double or any(argument is torch.float64 for argument in dtypes):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        result = super().__torch_function__(func, types, args, kwargs or {})
        return result.as_subclass(torch.Tensor) if func is torch.Tensor.cpu else result


def test_logits_come_from_a_device_that_has_no_doubles(model, engine, monkeypatch):
    expected = engine.start([1, 2])
    honest = model.logits
    monkeypatch.setattr(model, "logits", lambda x: honest(x).as_subclass(OfADeviceWithoutDoubles))
    assert (engine.start([1, 2]) == expected).all()
