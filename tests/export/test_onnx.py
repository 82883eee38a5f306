"""ONNX folders, in onnxruntime and in onnxruntime-genai."""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F

from minigpt.digest import digest
from minigpt.errors import ExportError, PackageError
from minigpt.export import onnx_graph
from minigpt.export.config import ExportConfig
from minigpt.export.formats.onnx import BUILDER, ENTRY, FP32, ROUNDED, decode
from minigpt.export.onnx_graph import in_blocks
from minigpt.export.verify import parity, same_ids, torch_decoder
from minigpt.generation.onnx_engine import OnnxEngine
from minigpt.generation.torch_engine import TorchEngine
from minigpt.model.config import POSITIONS, GeluMlp, LayerNorm
from tests.greedy import decoded, greedy_ids

from .conftest import SIZES, TEXT

FILES = [FP32, *ROUNDED.values()]
TIED = {"tied": True, "embedding_norm": False}
KINDS = {
    "built": SIZES,
    # 72 wide: the last block of a row is not full.
    "built, tied": SIZES.replace(n_layer=1, n_embd=72, head_dim=16, **TIED),
    "alibi": SIZES.replace(
        n_layer=1, position=POSITIONS["alibi"](), mlp=GeluMlp(), norm=LayerNorm()
    ),
    "learned, tied": SIZES.replace(
        n_layer=1, position=POSITIONS["learned"](), n_embd=72, head_dim=16, **TIED
    ),
    "none": SIZES.replace(n_layer=1, position=POSITIONS["none"]()),
    # Heads of a width that onnxruntime's fused attention does not take.
    "rope, traced": SIZES.replace(n_layer=1, head_dim=12),
}
GENAI = """
import json, sys
import onnxruntime_genai as og

folder, *values = sys.argv[1:]
files, prompts = map(json.loads, values)
pad = json.load(open(folder + "/genai_config.json"))["model"]["pad_token_id"]

def written(model, prompts):
    width = max(map(len, prompts))
    params = og.GeneratorParams(model)
    params.set_search_options(batch_size=len(prompts), max_length=width + 20)
    generator = og.Generator(model, params)
    generator.append_tokens([ids + [pad] * (width - len(ids)) for ids in prompts])
    while not generator.is_done():
        generator.generate_next_token()
    return [generator.get_sequence(row).tolist()[width:] for row in range(len(prompts))]

rows = {}
for file in files:
    config = og.Config(folder)
    config.overlay(json.dumps({"model": {"decoder": {"filename": file}}}))
    model = og.Model(config)
    rows[file] = [written(model, prompts[:1]), written(model, prompts)]
tokenizer = og.Tokenizer(og.Model(folder))
tokenizer.update_options(add_special_tokens="true")
text = tokenizer.decode(prompts[0])
assert not {"minigpt", "torch"} & sys.modules.keys()
print(json.dumps([rows, text, tokenizer.encode(text).tolist()]))
"""

RUNTIME = """
import json, sys
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder, prompt, count = sys.argv[1:]
session = onnxruntime.InferenceSession(folder + "/model.onnx", providers=["CPUExecutionProvider"])
names = [node.name for node in session.get_inputs()[2:]]
tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
sizes = json.load(open(folder + "/genai_config.json"))["model"]["decoder"]
shape = 1, sizes["num_key_value_heads"], 0, sizes["head_size"]
past = [np.zeros(shape, np.float32) for _ in names]
ids, new = tokenizer.encode(prompt).ids, None
written = []
for _ in range(int(count)):
    step = ids if new is None else [new]
    mask = np.ones((1, len(ids) + len(written)), np.int64)
    feeds = {"input_ids": np.array([step]), "attention_mask": mask, **dict(zip(names, past))}
    logits, *past = session.run(None, feeds)
    new = int(logits[0, -1].argmax())
    written.append(new)
assert not {"minigpt", "torch", "transformers"} & sys.modules.keys()
print(json.dumps(written))
"""


@pytest.fixture(scope="session")
def export(make_package, tmp_path_factory):
    """A function that gives package and folder of a kind, written once."""
    exports = {}

    def get(kind):
        if kind not in exports:
            package, out = make_package(KINDS[kind]), tmp_path_factory.mktemp("onnx")
            ENTRY.export(package, out, ExportConfig())
            exports[kind] = package, out
        return exports[kind]

    return get


@pytest.fixture(scope="session")
def folder(export):
    return export("built")[1]


def padded(rows, side):
    """Ids of another text in the padding, so that what reads it is noticed; and the mask."""
    width = max(map(len, rows))
    ids, mask = [], []
    for row in rows:
        n = width - len(row)
        pad = (n, 0) if side == "left" else (0, n)
        ids.append(F.pad(row, pad, value=7))
        mask.append(F.pad(torch.ones_like(row), pad))
    return torch.stack(ids), torch.stack(mask)


@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime_gives_our_logits_for_a_prompt_and_cached_steps(export, ids, kind):
    package, out = export(kind)
    distance = parity(torch_decoder(package.model), decode(out / FP32, 1), ids, cached_steps=8)
    # The same fp32 sums in another order; logits are near 1.
    assert max(distance.prompt, distance.cached) < 1e-5


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_a_padded_batch_is_as_if_it_were_alone(export, ids, kind, side, file):
    decoder = decode(export(kind)[1] / file, 1)
    rows, steps = [ids[0, :3], ids[1, :11], ids[0, 20:27]], ids[:, 30:33].repeat(2, 1)[:3]
    batch, mask = padded(rows, side)
    logits, past = decoder(batch, mask=mask)
    alone = [decoder(row[None]) for row in rows]
    # Rounding follows a row's own numbers; fp32 sums may have another order.
    for row, (single, _), seen in zip(logits, alone, mask, strict=True):
        torch.testing.assert_close(row[seen.bool()], single[0], atol=1e-5, rtol=1e-5)
    for step in steps.split(1, dim=1):
        mask = torch.cat((mask, torch.ones_like(step)), 1)
        logits, past = decoder(step, past, mask)
        alone = [decoder(one[None], past) for one, (_, past) in zip(step, alone, strict=True)]
        singles = torch.cat([single for single, _ in alone])
        torch.testing.assert_close(logits, singles, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("file", ROUNDED.values())
@pytest.mark.parametrize("kind", ["built", "alibi"])
def test_what_a_row_becomes_does_not_depend_on_its_neighbours(export, ids, kind, file):
    decoder = decode(export(kind)[1] / file, 1)
    together, _ = decoder(ids)
    with_others, _ = decoder(torch.stack((ids[0], ids[0].flip(0))))
    torch.testing.assert_close(together[0], with_others[0], atol=0, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_rounded_graphs_are_smaller_and_near(export, ids, kind):
    package, out = export(kind)
    relative = {}
    for bits, file in ROUNDED.items():
        ours = torch_decoder(package.model)
        relative[bits] = parity(ours, decode(out / file, 1), ids, cached_steps=8).relative
        graph = onnx.load(out / file).graph
        weights = {tensor.name for tensor in graph.initializer}
        assert not any(n.op_type == "MatMul" and n.input[1] in weights for n in graph.node)
        assert not any(n.op_type == "Gather" and n.input[1] == "input_ids" for n in graph.node)
        assert (out / file).stat().st_size < 0.5 * (out / FP32).stat().st_size
    # Weights of a random model are hard to round: they have no structure.
    assert relative[8] < 0.05
    assert relative[8] < relative[4] < 0.5


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_passes_the_checker_in_full(export, kind, file):
    onnx.checker.check_model(str(export(kind)[1] / file), full_check=True)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_inputs_and_outputs_have_the_names_of_the_ecosystem(export, kind, file):
    package, out = export(kind)
    graph = onnx.load(out / file).graph
    layers = range(package.config.n_layer)
    past = {f"past_key_values.{i}.{part}" for i in layers for part in ("key", "value")}
    present = {f"present.{i}.{part}" for i in layers for part in ("key", "value")}
    names = [node.name for node in graph.input]
    assert names[:2] == ["input_ids", "attention_mask"]
    assert set(names[2:]) == past
    assert graph.output[0].name == "logits"
    assert {node.name for node in graph.output[1:]} == present


def test_the_builder_makes_what_it_knows_and_torch_the_rest(export):
    producers = {k: onnx.load(export(k)[1] / FP32).producer_name == BUILDER for k in KINDS}
    assert producers == {kind: kind.startswith("built") for kind in KINDS}


def test_a_model_that_sees_too_little_to_be_traced_is_refused(make_package, tmp_path):
    short = SIZES.replace(n_layer=1, context_length=4)
    ENTRY.check(make_package(short))
    with pytest.raises(ExportError, match="traced over 5 tokens, but sees at most 4"):
        ENTRY.check(make_package(short.replace(position=POSITIONS["learned"]())))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", ["built", "alibi"])
def test_nothing_names_this_machine_or_this_checkout(export, kind, file):
    model = onnx.load(export(kind)[1] / file)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert not model.producer_version  # the builder puts the commit of the folder around here
    assert b".py" not in model.SerializeToString()


@pytest.mark.parametrize("kind", ["built", "alibi"])
def test_another_process_folder_zone_and_order_of_sets_give_the_same_bytes(export, kind, tmp_path):
    package, out = export(kind)
    code = (
        "import sys; from pathlib import Path; from minigpt.package import load_package\n"
        "from minigpt.export.config import ExportConfig\n"
        "from minigpt.export.formats.onnx import ENTRY\n"
        "ENTRY.export(load_package(Path(sys.argv[1])), Path('.'), ExportConfig())\n"
    )
    changed = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "HF_HUB_OFFLINE": "1"}
    environment = os.environ | changed | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, package.path]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert digest(tmp_path) == digest(out)


def test_no_room_but_that_of_the_folder_is_asked_for(export, tmp_path, monkeypatch):
    package, out = export("built")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    (tmp_path / "out").mkdir()
    ENTRY.export(package, tmp_path / "out", ExportConfig())
    assert digest(tmp_path / "out") == digest(out)


@pytest.mark.parametrize("kind", ["built", "alibi", "learned, tied"])
def test_onnxruntime_genai_writes_our_greedy_text_alone_and_in_a_batch(export, ids, kind):
    package, out = export(kind)
    prompts = [ids[0, :5].tolist(), ids[1, :12].tolist()]
    command = [sys.executable, "-c", GENAI, out, json.dumps(FILES), json.dumps(prompts)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    rows, text, encoded = json.loads(done.stdout)
    torch_engine = TorchEngine(package.model)
    for file in FILES:
        if file == FP32:
            ours = [greedy_ids(torch_engine, prompt, 20) for prompt in prompts]
        else:
            ours = [decoded(decode(out / file, 1), prompt, 20) for prompt in prompts]
        assert rows[file] == [ours[:1], ours], file
    assert text == package.tokenizer.decode(prompts[0])
    assert encoded == [package.tokenizer.eot_id, *package.tokenizer.encode(text)]


@pytest.mark.parametrize("kind", ["built", "alibi"])
def test_the_cache_takes_more_than_one_token_at_a_time(export, ids, kind):
    package, out = export(kind)
    ids = ids[:1] if kind == "built" else ids  # fused attention takes steps of one row only
    decoder = decode(out / FP32, threads=1)
    _, past = decoder(ids[:, :5])
    logits, _ = decoder(ids[:, 5:12], past)
    torch.testing.assert_close(logits, package.model(ids[:, :12])[:, 5:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("file", FILES)
def test_our_own_engine_reads_the_folder(export, ids, file):
    package, out = export("built")
    engine = OnnxEngine(out, file)
    assert engine.context_length == package.config.context_length
    engine.read(0, ids[0, :-1].tolist())
    logits = torch.from_numpy(engine.step({0: int(ids[0, -1])})[0])
    expected = decode(out / file, 1)(ids[:1])[0][0, -1]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_our_own_engine_refuses_a_traced_graph_and_names_another(export):
    with pytest.raises(PackageError, match=r"keeps no cache of its own.*--engine torch"):
        OnnxEngine(export("alibi")[1])


def test_the_tokenizer_and_a_description_are_beside_it(folder, package):
    assert same_ids(folder, package.tokenizer, [TEXT])
    description = json.loads((folder / "genai_config.json").read_text())["model"]
    assert description["eos_token_id"] == package.tokenizer.eot_id
    assert description["decoder"]["head_size"] == package.config.head_width
    assert description["context_length"] == package.config.context_length


@pytest.mark.parametrize("kind", ["built", "alibi"])
def test_weights_beyond_one_file_lie_beside_it(export, ids, kind, tmp_path, monkeypatch):
    package, out = export(kind)
    monkeypatch.setattr(onnx_graph, "LARGEST", 100_000)
    ENTRY.export(package, tmp_path, ExportConfig())
    assert (tmp_path / FP32).stat().st_size < 100_000 < (tmp_path / f"{FP32}.data").stat().st_size
    for file in FILES:
        onnx.checker.check_model(str(tmp_path / file), full_check=True)
        theirs, ours = (decode(folder / file, 1)(ids)[0] for folder in (tmp_path, out))
        torch.testing.assert_close(theirs, ours, atol=0, rtol=0)
    if kind == "built":
        assert OnnxEngine(tmp_path).read(0, [1, 2]).shape == (package.tokenizer.vocab_size,)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_rounded_weight_is_half_a_step_away_at_most(bits):
    rows = np.random.default_rng(0).normal(size=(5, 72)).astype(np.float32)
    rows[1, :32] = 0
    values, scales = in_blocks(rows, bits)
    if bits == 4:
        values = np.stack((values & 15, values >> 4), -1).reshape(5, 3, 32)
    steps = values.astype(np.float32) - 2 ** (bits - 1)
    back = (steps * scales[..., None]).reshape(5, 96)[:, :72]
    step = np.abs(scales).repeat(32, 1)[:, :72]
    # One end of the range has no counterpart: what lies there may be a whole step away.
    ends = np.abs(rows) > step * (2 ** (bits - 1) - 1)
    assert (np.abs(back - rows) <= np.where(ends, 1, 0.501) * step).all()
    assert not back[1, :32].any()


@pytest.mark.parametrize("kind", KINDS)
def test_plain_onnxruntime_writes_our_greedy_text(export, kind):
    package, out = export(kind)
    command = [sys.executable, "-c", RUNTIME, str(out), TEXT[:20], "24"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    ids = [package.tokenizer.eot_id, *package.tokenizer.encode(TEXT[:20])]
    assert json.loads(done.stdout) == greedy_ids(TorchEngine(package.model), ids, 24)
