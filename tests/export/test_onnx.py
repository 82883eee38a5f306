"""ONNX folders."""

import json

import onnx
import pytest
import torch

from minigpt.errors import ExportError
from minigpt.export.config import ExportConfig
from minigpt.export.formats import onnx as onnx_format
from minigpt.export.formats.onnx import ENTRY, FP32, INT8, decode
from minigpt.export.verify import parity, same_ids, torch_decoder
from minigpt.generation.backends import OnnxEngine
from minigpt.model.config import GeluMlp, LayerNorm
from minigpt.model.positions.alibi import AlibiPosition

from .conftest import SIZES, TEXT


@pytest.fixture(scope="session")
def folder(package, tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx")
    ENTRY.export(package, out, ExportConfig())
    return out


def test_the_cache_takes_more_than_one_token_at_a_time(folder, package, ids):
    decoder = decode(folder / FP32, threads=1)
    _, past = decoder(ids[:, :5])
    logits, _ = decoder(ids[:, 5:12], past)
    torch.testing.assert_close(logits, package.model(ids[:, :12])[:, 5:], atol=1e-5, rtol=0)


def test_int8_is_smaller_and_near(folder, package, ids):
    assert (folder / INT8).stat().st_size < 0.5 * (folder / FP32).stat().st_size
    decoder = decode(folder / INT8, threads=1)
    distance = parity(torch_decoder(package.model), decoder, ids, cached_steps=8)
    assert 0 < distance.relative < 0.1  # activations of a random model have a wide range


def test_inputs_and_outputs_have_the_names_of_the_ecosystem(folder):
    graph = onnx.load(folder / FP32).graph
    past = [f"past_key_values.{i}.{part}" for i in range(2) for part in ("key", "value")]
    present = [f"present.{i}.{part}" for i in range(2) for part in ("key", "value")]
    assert [node.name for node in graph.input] == ["input_ids", *past]
    assert [node.name for node in graph.output] == ["logits", *present]


@pytest.mark.parametrize("file", [FP32, INT8])
def test_nothing_names_this_machine(folder, file):
    model = onnx.load(folder / file)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert b".py" not in model.SerializeToString()


def test_our_own_engine_reads_the_folder(folder, package, ids):
    engine = OnnxEngine(folder)
    assert engine.context_length == package.config.context_length
    logits = torch.from_numpy(engine.start(ids[0].tolist()))
    expected = package.model(ids[:1])[0, -1].double()
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


def test_the_tokenizer_and_a_description_are_beside_it(folder, package):
    assert same_ids(folder, package.tokenizer, [TEXT])
    description = json.loads((folder / "config.json").read_text())
    assert description["eot_id"] == package.tokenizer.eot_id
    assert description["head_dim"] == package.config.head_width


def test_other_dialects_can_be_written_too(make_package, ids, tmp_path):
    study = SIZES.replace(n_layer=1, position=AlibiPosition(), mlp=GeluMlp(), norm=LayerNorm())
    package = make_package(study)
    ENTRY.export(package, tmp_path, ExportConfig())
    decoder = decode(tmp_path / FP32, threads=1)
    distance = parity(torch_decoder(package.model), decoder, ids, cached_steps=3)
    assert max(distance.prompt, distance.cached) < 1e-5


def test_more_weights_than_a_file_can_hold_are_refused(package, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_format, "LARGEST", 1000)
    with pytest.raises(ExportError, match="do not fit in one file"):
        ENTRY.export(package, tmp_path, ExportConfig())
