import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from minigpt.digest import digest
from minigpt.errors import PackageError
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.package import load_package, save_package
from minigpt.quantization.swap import int8_scheme, quantize
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.patterns import PATTERNS, SPECIALS

CONFIG = ModelConfig(n_layer=2, n_embd=32, n_head=4, n_kv_head=2, mlp_dim=48, context_length=32)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A tokenizer of bytes alone."""
    folder = tmp_path_factory.mktemp("tokenizer")
    specials = {text: 256 + i for i, text in enumerate(SPECIALS)}
    Tokenizer({bytes([i]): i for i in range(256)}, next(iter(PATTERNS.values())), specials).save(
        folder / "it"
    )
    return folder / "it"


@pytest.fixture
def model(tokenizer):
    model = build_model(CONFIG, Tokenizer.load(tokenizer).vocab_size, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture
def package(model, tokenizer, tmp_path):
    save_package(tmp_path / "package", model, tokenizer, stage="pretrain")
    return tmp_path / "package"


def edit(package, **changes):
    file = package / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_package_gives_back_the_model(model, package):
    loaded = load_package(package, verify=True)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(ids), model(ids), atol=1e-5, rtol=1e-5)
    assert loaded.config == CONFIG
    assert loaded.meta == {"stage": "pretrain"}
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("Ægir")) == "Ægir"


def test_the_same_model_gives_the_same_bytes_and_so_does_its_copy(
    model, tokenizer, package, tmp_path
):
    save_package(tmp_path / "again", model, tokenizer, stage="pretrain")
    assert digest(tmp_path / "again") == digest(package)
    save_package(tmp_path / "copy", load_package(package).model, tokenizer, stage="pretrain")
    a, b = (load_package(path).model.state_dict() for path in (package, tmp_path / "copy"))
    # What eps takes from a row is taken once: a second pass changes about 1e-6 of it.
    assert all(torch.allclose(a[name], b[name], atol=1e-5, rtol=0) for name in a)


def test_a_package_holds_the_table_already_normalised(package):
    table = load_package(package).model.embed.weight
    torch.testing.assert_close(table.square().mean(-1), torch.ones(len(table)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("quantized", [False, True])
def test_a_table_that_is_said_to_be_tied_and_is_not_there_ends_in_no_traceback(
    model, tokenizer, tmp_path, quantized
):
    scheme = int8_scheme(model)
    kind = scheme.model_dump(mode="json") if quantized else None
    made = quantize(model, scheme) if quantized else model
    save_package(tmp_path / "package", made, tokenizer, quantization=kind)
    described = json.loads((tmp_path / "package/model.json").read_text())
    config = described["model"] | {"tied": True, "embedding_norm": False}
    edit(tmp_path / "package", model=config)
    assert load_package(tmp_path / "package").config.tied


def test_a_tied_table_is_stored_once_and_stays_tied(tokenizer, tmp_path):
    tied = CONFIG.replace(tied=True, embedding_norm=False)
    save_package(
        tmp_path / "tied",
        build_model(tied, Tokenizer.load(tokenizer).vocab_size, seed=0),
        tokenizer,
    )
    loaded = load_package(tmp_path / "tied").model
    assert loaded.head.weight is loaded.embed.weight


@pytest.mark.parametrize("tied", [False, True])
def test_a_quantized_package_gives_back_the_quantized_model(model, tokenizer, tmp_path, tied):
    if tied:
        config = CONFIG.replace(tied=True, embedding_norm=False)
        model = build_model(config, model.vocab_size, seed=0)
    scheme = int8_scheme(model.fold())
    quantized = quantize(model, scheme)
    save_package(
        tmp_path / "int8", quantized, tokenizer, quantization=scheme.model_dump(mode="json")
    )
    loaded = load_package(tmp_path / "int8", verify=True)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(loaded.model(ids), quantized(ids))
    assert loaded.quantization == scheme.model_dump(mode="json")
    stored = load_file(tmp_path / "int8" / "model.safetensors")
    assert ("head.codes" in stored) != tied  # a tied table is stored once


def test_loading_leaves_the_random_state_alone(package):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_package(package)
    assert torch.equal(torch.rand(1), expected)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(PackageError, match=r"nowhere: not a package: model\.json is missing"):
        load_package(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format 99, but this program reads format 1"),
        ({"model": {"n_layer": 0}}, "cannot be read as a package's description"),
        ({"vocab_size": 7}, "does not fit model.json"),
        ({"vocab_size": "x"}, "model.json: vocab_size: Input should be a valid integer"),
        ({"vocab_size": -1}, "model.json: vocab_size: Input should be greater than 0"),
        ({"vocab_size": 10**30}, "model.json: vocab_size: Input should be less than or equal"),
        ({"model": {"n_layer": 10**9}}, "model.json: model.n_layer: Input should be less than"),
        ({"model": {"n_layer": 4096}}, "parameters, more than the"),
        ({"model": {"n_embd": 2**20, "n_head": 2}}, "parameters, more than the"),
        ({"model": {"context_length": 2**20, "head_dim": 512}}, "rope has a table of"),
        ({"quantization": 3}, "model.json: quantization: expected a section"),
        ({"tensors": []}, "model.json: tensors: expected a section"),
        ({"meta": None}, "model.json: meta: expected a section"),
        ({"format": ["x" * 10**6]}, "but this program reads format 1"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_in_one_line(package, changes, message):
    edit(package, **changes)
    with pytest.raises(PackageError) as error:
        load_package(package)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 800


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", "[" * 10**5])
def test_a_description_that_is_none_is_refused(package, text):
    (package / "model.json").write_text(text)
    with pytest.raises(PackageError, match="cannot be read as a package's description"):
        load_package(package)


def test_torn_weights_are_refused(package):
    file = package / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(PackageError, match=r"model\.safetensors: damaged"):
        load_package(package)


def test_a_flipped_bit_is_found_by_verify_and_named(package):
    file = package / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    load_package(package)
    with pytest.raises(PackageError, match=r"weight is not what was written: sha256"):
        load_package(package, verify=True)


def test_a_model_for_another_tokenizer_is_not_saved(tokenizer, tmp_path):
    with pytest.raises(PackageError, match="285 tokens, but the model was built for 300"):
        save_package(tmp_path / "out", build_model(CONFIG, 300, seed=0), tokenizer)
    assert not any(tmp_path.iterdir())


def test_a_failed_save_leaves_nothing(model, tokenizer, tmp_path):
    broken = tmp_path / "tokenizer"
    shutil.copytree(tokenizer, broken)
    (broken / "tokenizer.json").unlink()
    with pytest.raises(PackageError, match=r"tokenizer\.json"):
        save_package(tmp_path / "out", model, broken)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer"]
