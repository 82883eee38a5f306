"""What torch's engine adds: any architecture, dtype and device; a step that a GPU can record."""

import numpy as np
import pytest
import torch

from minigpt.generation import torch_engine
from minigpt.generation.torch_engine import Recorder, TorchEngine
from minigpt.model.build import build_model
from minigpt.model.config import POSITIONS, GeluMlp, LayerNorm

from .conftest import SIZES, in_use
from .test_engines import CONTEXT, NEAR, VOCAB, ids_of


def test_torch_steps_over_a_slot_that_is_full(make_engine):
    engine, full = make_engine("torch", 3), ids_of(CONTEXT)
    expected = engine.read(1, full, every=True)[-1]
    engine.read(0, [1, 2])
    engine.read(2, [3])
    engine.step({0: 1, 2: 1})
    engine.cut(1, CONTEXT - 1)
    np.testing.assert_allclose(engine.read(1, full[-1:]), expected, **NEAR)


def test_torch_refuses_a_step_beyond_the_context(make_engine):
    engine = make_engine("torch", 2)
    engine.read(0, ids_of(CONTEXT))
    for tokens in ({0: 1}, {0: 1, 1: 1}):
        with pytest.raises(ValueError, match="64"):
            engine.step(tokens)


KINDS = {
    "learned": {"position": POSITIONS["learned"](), "norm": LayerNorm(), "mlp": GeluMlp()},
    "alibi": {"position": POSITIONS["alibi"]()},
    "none": {"position": POSITIONS["none"]()},
    "no groups": {"n_kv_head": 4, "bias": True, "qk_norm": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_torch_runs_any_architecture_in_rows_of_different_lengths(kind):
    model = in_use(build_model(SIZES.replace(**KINDS[kind]), VOCAB, seed=0))
    engine, texts = TorchEngine(model, 4), [ids_of(length, length) for length in (3, 11, 7, 30)]
    for slot, text in enumerate(texts):
        engine.read(slot, text[:2])
        engine.read(slot, text[2:])
    logits = engine.step(dict.fromkeys(range(4), 9))
    for slot, text in enumerate(texts):
        with torch.inference_mode():
            expected = model(torch.tensor([[*text, 9]]))[0, -1].numpy()
        np.testing.assert_allclose(logits[slot], expected, **NEAR)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_of_a_model_in_16_bits_are_fp32(package, dtype):
    model = in_use(build_model(SIZES, VOCAB, seed=0)).to(dtype)
    engine = TorchEngine(model, 3)
    for slot in range(3):
        engine.read(slot, ids_of(4 + slot))
    logits = engine.step({0: 1, 2: 1})
    assert all(row.dtype == np.float32 for row in logits.values())
    expected = model(torch.tensor([[*ids_of(6), 1]]))[0, -1].float().detach().numpy()
    # A step of 16 bits is 2^-8 of the largest numbers on the way; two ways there differ in some.
    np.testing.assert_allclose(logits[2], expected, atol=0.1)


class OfADeviceWithoutDoubles(torch.Tensor):
    """As MPS: no float64 there, but on the CPU."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        dtypes = (*args, *(kwargs or {}).values())
        if func is torch.Tensor.double or any(argument is torch.float64 for argument in dtypes):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        result = super().__torch_function__(func, types, args, kwargs or {})
        return result.as_subclass(torch.Tensor) if func is torch.Tensor.cpu else result


def test_logits_come_from_a_device_that_has_no_doubles(package, make_engine, monkeypatch):
    engine, honest = make_engine("torch", 2), package.model.logits
    expected = engine.read(0, [1, 2])
    monkeypatch.setattr(
        package.model, "logits", lambda x: honest(x).as_subclass(OfADeviceWithoutDoubles)
    )
    assert (engine.read(1, [1, 2]) == expected).all()
    assert engine.step({0: 3, 1: 3}).keys() == {0, 1}


class Played:
    """A recorder that records nothing: sizes are those of a GPU, passes are made one by one."""

    def __init__(self):
        self.sizes = []

    def play(self, one_pass, *sizes):
        self.sizes.append(sizes)
        return one_pass(*sizes)


@pytest.mark.parametrize("rows", [(0,), (0, 1, 2), (4,), (1, 6), tuple(range(10))])
def test_the_step_that_a_gpu_records_gives_the_same_logits(package, rows, monkeypatch):
    monkeypatch.setattr(torch_engine, "SHORTEST", 16)
    plain, recorded = TorchEngine(package.model, 10), TorchEngine(package.model, 10)
    recorded._recorder = played = Played()
    texts = {slot: ids_of(4 + 5 * slot, slot) for slot in range(10)}
    for engine in (plain, recorded):
        for slot, text in texts.items():
            engine.read(slot, text)
    for token in (1, 2, 3):
        tokens = {slot: token + slot for slot in rows}
        expected, logits = plain.step(tokens), recorded.step(tokens)
        for slot in rows:
            np.testing.assert_allclose(logits[slot], expected[slot], **NEAR)
    for slot in set(texts) - set(rows):  # what other rows hold is as it was
        np.testing.assert_array_equal(recorded.read(slot, [5, 6]), plain.read(slot, [5, 6]))
    # As few sizes as lengths and rows need: each is recorded once.
    longest = max(len(texts[slot]) + 1 for slot in rows)
    assert played.sizes[0] == (
        0,
        min(2 ** max(rows).bit_length(), 10),
        max(16, 1 << (longest - 1).bit_length()),
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it can be recorded")
def test_a_step_that_cannot_be_recorded_is_made_and_that_is_said_once(package, capsys):
    engine = TorchEngine(package.model, 2)
    expected = engine.step({0: 1})[0]
    engine.cut(0, 0)
    engine._recorder = Recorder()
    np.testing.assert_allclose(engine.step({0: 1})[0], expected, **NEAR)
    engine.step({0: 1, 1: 2})
    assert not engine._recorder.works
    assert capsys.readouterr().err.count("no CUDA graph of a step") == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_recorded_step_is_the_step_on_a_gpu(dtype):
    model = in_use(build_model(SIZES, VOCAB, seed=0)).to("cuda", dtype)
    plain, recorded = TorchEngine(model, 5), TorchEngine(model, 5)
    plain._recorder.works = False
    for engine in (plain, recorded):
        for slot in range(5):
            engine.read(slot, ids_of(3 + 7 * slot, slot))
    for slots in ((0,), (0, 1, 2, 3, 4), (3,), (1, 4), (0,)):
        tokens = dict.fromkeys(slots, 9)
        expected, logits = plain.step(tokens), recorded.step(tokens)
        assert recorded._recorder.works
        for slot in slots:
            np.testing.assert_array_equal(logits[slot], expected[slot])
