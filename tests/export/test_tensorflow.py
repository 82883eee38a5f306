"""SavedModels in TensorFlow; test_extra_tensorflow.py runs these where it is not installed."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from minigpt.digest import digest
from minigpt.errors import ExportError, MissingExtraError
from minigpt.export.config import ExportConfig
from minigpt.export.formats import tensorflow
from minigpt.export.formats.tensorflow import ENTRY, FOLDER, UNIQUE
from minigpt.export.verify import parity, torch_decoder
from minigpt.model.config import GeluMlp

from .conftest import SHAPES, SIZES

installed = pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs minigpt[tensorflow]")


@pytest.fixture(scope="session")
def folder(package, tmp_path_factory):
    out = tmp_path_factory.mktemp("tensorflow")
    ENTRY.export(package, out, ExportConfig())
    return out


def test_a_missing_tensorflow_is_said_with_the_line_that_installs_it(
    package, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingExtraError, match=r"Run: pip install 'minigpt\[tensorflow\]'"):
        ENTRY.export(package, tmp_path, ExportConfig())
    assert not list(tmp_path.iterdir())


def test_parts_that_are_not_written_in_tensorflow_are_named(make_package, monkeypatch, tmp_path):
    monkeypatch.setattr(tensorflow, "POSITIONS", ())
    monkeypatch.setattr(tensorflow, "MLPS", ())
    package = make_package(SIZES.replace(n_layer=1, mlp=GeluMlp()))
    named = r"tensorflow: .*: position: rope, mlp: gelu. Leave tensorflow out of export.formats"
    with pytest.raises(ExportError, match=named):
        ENTRY.export(package, tmp_path, ExportConfig())
    assert not list(tmp_path.iterdir())


@installed
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_our_logits(make_package, ids, shape, tmp_path):
    package = make_package(SHAPES[shape])
    ENTRY.export(package, tmp_path, ExportConfig())
    decoder = ENTRY.models[0].decode(tmp_path / FOLDER, 1)
    distance = parity(torch_decoder(package.model), decoder, ids, cached_steps=8)
    # The same fp32 sums in another order; logits are near 1.
    assert max(distance.prompt, distance.cached) < 1e-5


@installed
def test_another_process_folder_zone_and_order_of_sets_give_the_same_bytes(
    folder, package, tmp_path
):
    code = (
        "import sys; from pathlib import Path; from minigpt.package import load_package\n"
        "from minigpt.export.config import ExportConfig\n"
        "from minigpt.export.formats.tensorflow import ENTRY\n"
        "for name in ('first', 'second'):\n"  # with other counts of functions
        "    Path(name).mkdir()\n"
        "    ENTRY.export(load_package(Path(sys.argv[1])), Path(name), ExportConfig())\n"
    )
    changed = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    environment = os.environ | changed | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, package.path]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert digest(tmp_path / "first") == digest(tmp_path / "second") == digest(folder)


@installed
def test_no_id_and_no_path_is_left(folder):
    assert not list(folder.rglob(UNIQUE))
    graph = (folder / FOLDER / "saved_model.pb").read_bytes()
    assert b".py" not in graph
    assert os.fsencode(os.getcwd()) not in graph  # noqa: PTH109


@installed
def test_the_signatures_have_their_names(folder, ids, package):
    tf = tensorflow.tensorflow()
    signatures = tf.saved_model.load(str(folder / FOLDER)).signatures
    assert set(signatures) == {"prefill", "decode"}
    mask = torch.ones_like(ids)
    first = signatures["prefill"](
        input_ids=tf.constant(ids[:, :5].numpy()), attention_mask=tf.constant(mask[:, :5].numpy())
    )
    second = signatures["decode"](
        input_ids=tf.constant(ids[:, 5:12].numpy()),
        attention_mask=tf.constant(mask[:, :12].numpy()),
        past=first["present"],
    )
    logits = torch.from_numpy(second["logits"].numpy())
    torch.testing.assert_close(logits, package.model(ids[:, :12])[:, 5:], atol=1e-5, rtol=0)


@installed
def test_a_text_longer_than_the_context_is_refused(folder):
    decoder = ENTRY.models[0].decode(folder / FOLDER, 1)
    longest = torch.zeros(1, SIZES.context_length, dtype=torch.long)
    _, past = decoder(longest)
    error = tensorflow.tensorflow().errors.InvalidArgumentError
    with pytest.raises(error, match="more positions than context_length"):
        decoder(longest[:, :1], past)
    with pytest.raises(error, match="more positions than context_length"):
        decoder(torch.zeros(1, SIZES.context_length + 1, dtype=torch.long))
