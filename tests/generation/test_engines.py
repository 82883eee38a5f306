"""What both engines promise: slots that know nothing of each other, however they are filled."""

import json
import shutil

import numpy as np
import pytest
import torch

from minigpt.errors import PackageError
from minigpt.generation.onnx_engine import OnnxEngine
from tests.greedy import greedy_ids

from .conftest import SIZES

VOCAB, CONTEXT = 300, SIZES.context_length
NAMES = ["torch", "onnx", "onnx-int8"]
EXACT = ["onnx", "onnx-int8"]
NEAR = {"atol": 1e-5, "rtol": 1e-5}
"""The same fp32 sums in another order; logits are near 1."""


def ids_of(length, seed=0):
    return np.random.default_rng(seed).integers(0, VOCAB, length).tolist()


def same(engine, found, expected):
    """Of an exact engine the same bits."""
    if engine.exact:
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, **NEAR)


def alone(engine, slot, ids):
    """Logits behind all of `ids`, read at once."""
    engine.cut(slot, 0)
    return engine.read(slot, ids).copy()


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_says_what_it_is(make_engine, name):
    engine = make_engine(name, 3)
    assert (engine.slots, engine.context_length, engine.vocab_size) == (3, CONTEXT, VOCAB)
    assert engine.read(0, [1, 2]).dtype == np.float32
    assert engine.read(0, [1, 2], every=True).shape == (2, VOCAB)
    assert engine.step({0: 5, 2: 7})[2].shape == (VOCAB,)
    assert [engine.length(slot) for slot in range(3)] == [5, 0, 1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cuts", [(2,), (17,), (2, 4, 38), (20, 25, 30, 35)])
def test_a_prompt_in_pieces_is_a_prompt_at_once(make_engine, name, cuts):
    engine, ids = make_engine(name), ids_of(40)
    expected = alone(engine, 0, ids)
    engine.cut(0, 0)
    for start, end in zip((0, *cuts), (*cuts, 40), strict=True):
        logits = engine.read(0, ids[start:end])
    same(engine, logits, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_a_read_of_one_token(make_engine, name):
    engine, ids = make_engine(name), ids_of(CONTEXT)
    engine.read(0, ids[:5])
    for place in range(5, CONTEXT):  # up to a full context
        stepped = engine.step({0: ids[place]})[0].copy()
        engine.cut(0, place)
        np.testing.assert_allclose(engine.read(0, ids[place : place + 1]), stepped, **NEAR)
    assert engine.length(0) == CONTEXT


@pytest.mark.parametrize("name", NAMES)
def test_each_token_read_has_the_logits_of_what_follows_it(make_engine, name):
    engine, ids = make_engine(name), ids_of(20)
    every = engine.read(0, ids, every=True)
    for end in (2, 7, 20):
        same(engine, every[end - 1], alone(engine, 0, ids[:end]))


def test_torch_gives_the_logits_of_a_full_pass_and_onnx_those_of_torch(make_engine, package):
    ids = ids_of(30)
    with torch.inference_mode():
        full = package.model(torch.tensor([ids]))[0].numpy()
    for name in ("torch", "onnx"):
        np.testing.assert_allclose(make_engine(name).read(0, ids, every=True), full, **NEAR)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("even", [True, False])
def test_a_row_steps_as_if_it_were_alone(make_engine, name, rows, even):
    engine, single = make_engine(name, 16), make_engine(name)
    prompts = [ids_of(8 if even else 2 + 5 * row % 31, seed=row) for row in range(rows)]
    for slot, prompt in enumerate(prompts):
        engine.read(slot, prompt)
    news = [ids_of(6, seed=100 + row) for row in range(rows)]
    together = [
        {slot: logits.copy() for slot, logits in engine.step(dict(enumerate(step))).items()}
        for step in zip(*news, strict=True)
    ]
    for slot, (prompt, new) in enumerate(zip(prompts, news, strict=True)):
        single.cut(0, 0)
        single.read(0, prompt)
        for step, token in zip(together, new, strict=True):
            same(engine, step[slot], single.step({0: token})[0])


@pytest.mark.parametrize("name", NAMES)
def test_rows_come_and_go_between_steps(make_engine, name):
    engine, single = make_engine(name, 5), make_engine(name)
    texts = {slot: ids_of(3 + 4 * slot, seed=slot) for slot in range(5)}
    for slot, text in texts.items():
        engine.read(slot, text)
    for number, slots in enumerate([(0, 4), (1, 3), (2,), (0, 1, 2, 3, 4), (4, 0), (3, 2)]):
        tokens = {slot: (7 * number + slot) % VOCAB for slot in slots}
        logits = engine.step(tokens)
        assert logits.keys() == tokens.keys()
        for slot, token in tokens.items():
            # A text's past was stepped too: rounded otherwise than what is read at once.
            np.testing.assert_allclose(
                logits[slot], alone(single, 0, [*texts[slot], token]), atol=1e-4, rtol=1e-4
            )
            texts[slot].append(token)
    assert [engine.length(slot) for slot in texts] == [len(text) for text in texts.values()]


@pytest.mark.parametrize("name", NAMES)
def test_a_pass_over_a_slot_between_does_it_no_harm(make_engine, name):
    engine, still = make_engine(name, 3), ids_of(20, seed=1)
    engine.read(1, still)
    engine.read(0, [1, 2])
    engine.read(2, [3, 4, 5])
    for token in range(6):
        engine.step({0: token, 2: token})
    logits = engine.step({1: 9})[1].copy()
    engine.cut(1, 0)
    engine.read(1, still)
    np.testing.assert_array_equal(engine.step({1: 9})[1], logits)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_cut_off_is_forgotten(make_engine, name):
    engine, ids = make_engine(name, 2), ids_of(30)
    expected = alone(engine, 0, ids)
    engine.cut(0, 12)
    engine.read(0, ids_of(9, seed=5))
    engine.step({0: 3})
    engine.cut(0, 12)
    engine.cut(0, 25)  # nothing to cut
    assert engine.length(0) == 12
    same(engine, engine.read(0, ids[12:]), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_what_was_copied_and_goes_its_own_way(make_engine, name):
    engine, ids = make_engine(name, 3), ids_of(30)
    expected = alone(engine, 0, ids)
    engine.read(2, ids_of(40, seed=7))
    engine.copy(0, 2, 20)
    assert (engine.length(2), engine.length(0)) == (20, 30)
    other = engine.read(2, ids_of(10, seed=8))
    assert np.abs(other - expected).max() > 0.01
    engine.cut(0, 20)
    same(engine, engine.read(0, ids[20:]), expected)


@pytest.mark.parametrize("name", NAMES)
def test_greedy_ids_are_those_of_full_passes(make_engine, package, name):
    engine, seen = make_engine(name, 2), [3, 1, 4]
    written = greedy_ids(engine, seen, 20, slot=1)
    for token in written:
        if name == "onnx-int8":  # it has a model of its own: full passes by itself
            logits = alone(engine, 0, seen)
        else:
            with torch.inference_mode():
                logits = package.model(torch.tensor([seen]))[0, -1].numpy()
        assert token == logits.argmax()
        seen.append(token)


def test_a_missing_model_is_refused(export, tmp_path):
    shutil.copy(export / "genai_config.json", tmp_path)
    with pytest.raises(PackageError, match=r"model\.onnx: not an ONNX export.*dvc repro export"):
        OnnxEngine(tmp_path)


@pytest.mark.parametrize("config", [None, "{}", "[]", "not json"])
def test_a_folder_that_is_no_export_is_refused(tmp_path, config):
    if config is not None:
        (tmp_path / "genai_config.json").write_text(config)
    with pytest.raises(PackageError, match="not an ONNX export"):
        OnnxEngine(tmp_path)


def test_a_damaged_model_is_refused(export, tmp_path):
    shutil.copy(export / "genai_config.json", tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(PackageError, match=r"model\.onnx: not an ONNX export"):
        OnnxEngine(tmp_path)


def test_a_graph_without_a_cache_of_its_own_is_refused_and_an_engine_named(export, tmp_path):
    config = json.loads((export / "genai_config.json").read_text())
    config["search"]["past_present_share_buffer"] = False
    (tmp_path / "genai_config.json").write_text(json.dumps(config))
    shutil.copy(export / "model.onnx", tmp_path)
    with pytest.raises(PackageError, match=r"several texts. Use another engine: --engine torch"):
        OnnxEngine(tmp_path)
