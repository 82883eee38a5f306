"""The onnxruntime engine on a graph made by hand, with the inputs and outputs of our exports."""

import json

import numpy as np
import pytest

from minigpt.errors import PackageError
from minigpt.generation.backends import OnnxEngine
from minigpt.generation.config import SamplingConfig

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

VOCAB, WIDTH, CONTEXT = 20, 6, 8
GREEDY = SamplingConfig(temperature=0)
RANDOM = np.random.default_rng(0)
TABLE = RANDOM.normal(size=(VOCAB, WIDTH)).astype(np.float32)
HEAD = RANDOM.normal(size=(WIDTH, VOCAB)).astype(np.float32)


def expected_next(seen):
    """What the graph below finds likeliest: the head of the sum of all keys."""
    return int(np.argmax(TABLE[seen].sum(0) @ HEAD))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of one layer whose keys and values are embedded ids."""
    helper, floats, ids = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    past, present = (["B", 1, name, WIDTH] for name in ("past", "all"))
    parts = ("key", "value")
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Unsqueeze", ["embedded", "one"], ["new"]),
        *(
            helper.make_node(
                "Concat", [f"past_key_values.0.{p}", "new"], [f"present.0.{p}"], axis=2
            )
            for p in parts
        ),
        helper.make_node("ReduceSum", ["present.0.key", "two"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [
            helper.make_tensor_value_info("input_ids", ids, ["B", "T"]),
            helper.make_tensor_value_info("attention_mask", ids, ["B", "all"]),
            *(helper.make_tensor_value_info(f"past_key_values.0.{p}", floats, past) for p in parts),
        ],
        [
            helper.make_tensor_value_info("logits", floats, ["B", 1, VOCAB]),
            *(helper.make_tensor_value_info(f"present.0.{p}", floats, present) for p in parts),
        ],
        [
            onnx.numpy_helper.from_array(array, name)
            for name, array in (
                ("table", TABLE),
                ("head", HEAD),
                ("one", np.array([1])),
                ("two", np.array([2])),
            )
        ],
    )
    folder = tmp_path_factory.mktemp("onnx")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    decoder = {"num_key_value_heads": 1, "head_size": WIDTH}
    config = {"model": {"context_length": CONTEXT, "decoder": decoder}}
    (folder / "genai_config.json").write_text(json.dumps(config))
    return folder


def test_each_id_follows_from_all_before_it(folder):
    written = list(OnnxEngine(folder).generate([3, 1, 4], GREEDY, 5, seed=0))
    seen = [3, 1, 4]
    for token in written:
        assert token == expected_next(seen)
        seen.append(token)


def test_past_the_context_the_newer_half_is_read_again(folder):
    written = list(OnnxEngine(folder).generate([3], GREEDY, 9, seed=0))
    seen = [3, *written]
    assert written[CONTEXT - 1] == expected_next(seen[:CONTEXT])
    assert written[CONTEXT] == expected_next(seen[CONTEXT + 1 - CONTEXT // 2 : CONTEXT + 1])


def test_an_engine_can_be_used_again(folder):
    engine = OnnxEngine(folder)
    first, again = (list(engine.generate([3], SamplingConfig(), 5, seed=0)) for _ in range(2))
    assert first == again


def test_a_missing_model_is_refused(folder, tmp_path):
    (tmp_path / "genai_config.json").write_text((folder / "genai_config.json").read_text())
    with pytest.raises(PackageError, match=r"model\.onnx: not an ONNX export"):
        OnnxEngine(tmp_path)


@pytest.mark.parametrize("config", [None, "{}", "[]", "not json"])
def test_a_folder_that_is_no_export_is_refused(tmp_path, config):
    if config is not None:
        (tmp_path / "genai_config.json").write_text(config)
    with pytest.raises(PackageError, match="not an ONNX export"):
        OnnxEngine(tmp_path)


def test_a_damaged_model_is_refused(folder, tmp_path):
    (tmp_path / "genai_config.json").write_text((folder / "genai_config.json").read_text())
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(PackageError, match=r"model\.onnx: not an ONNX export"):
        OnnxEngine(tmp_path)
