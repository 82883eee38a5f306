"""Every format there is: the model itself, the same bytes each time, or a clear refusal."""

import pytest
import tokenizers

from minigpt.digest import digest
from minigpt.errors import DataError, ExportError
from minigpt.export.config import ExportConfig
from minigpt.export.exporters import EXPORTERS
from minigpt.export.verify import parity, same_ids, torch_decoder
from minigpt.files import new_folder
from minigpt.model.config import POSITIONS
from minigpt.package import load_package, save_package
from minigpt.quantization.swap import int8_scheme, quantize

from .conftest import SIZES, TEXT

MODELS = {
    model.name: (exporter, model) for exporter in EXPORTERS.values() for model in exporter.models
}


@pytest.fixture(scope="session")
def written(package, tmp_path_factory):
    """A function that gives the folder of a format, written once."""
    folders = {}

    def folder_of(exporter):
        if exporter.name not in folders:
            folders[exporter.name] = tmp_path_factory.mktemp(exporter.name)
            exporter.export(package, folders[exporter.name], ExportConfig())
        return folders[exporter.name]

    return folder_of


@pytest.mark.parametrize("name", MODELS)
def test_an_exported_model_is_ours_in_its_own_program(written, package, ids, name):
    exporter, model = MODELS[name]
    folder, count = written(exporter), sum(weight.numel() for weight in package.model.parameters())
    decoder = model.decode(folder / model.file, 1)
    distance = parity(torch_decoder(package.model), decoder, ids, cached_steps=8)
    if model.exact:
        # The same fp32 sums in another order; logits are near 1.
        assert max(distance.prompt, distance.cached) < 1e-5
    else:
        # The weights of a random model are all as wide; 4 bits round them by about 8 %.
        bits = 8 * (folder / model.file).stat().st_size / count
        assert 0 < distance.relative < (0.1 if bits > 8 else 0.3)


@pytest.mark.parametrize("kind", POSITIONS)
@pytest.mark.parametrize("name", EXPORTERS)
def test_a_format_holds_any_kind_of_position_or_names_it(make_package, ids, name, kind, tmp_path):
    exporter = EXPORTERS[name]
    package = make_package(SIZES.replace(n_layer=1, position=POSITIONS[kind]()))
    if exporter.refuses(package):
        with pytest.raises(ExportError, match=rf"{name}: .*position: {kind}.* Leave {name} out"):
            exporter.export(package, tmp_path, ExportConfig())
        assert not list(tmp_path.iterdir())
        return
    exporter.export(package, tmp_path, ExportConfig())
    for model in (model for model in exporter.models if model.exact):
        decoder = model.decode(tmp_path / model.file, 1)
        distance = parity(torch_decoder(package.model), decoder, ids, cached_steps=3)
        assert max(distance.prompt, distance.cached) < 1e-5


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_format_carries_our_tokenizer_and_opens_each_text(written, package, name):
    folder = written(EXPORTERS[name])
    assert same_ids(folder, package.tokenizer, [TEXT])
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert theirs.encode(TEXT).ids == [package.tokenizer.eot_id, *package.tokenizer.encode(TEXT)]


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_second_export_has_the_same_bytes(written, package, name, tmp_path):
    EXPORTERS[name].export(package, tmp_path, ExportConfig())
    assert digest(tmp_path) == digest(written(EXPORTERS[name]))


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_full_disk_is_said_and_leaves_nothing(package, name, tmp_path):
    resource = pytest.importorskip("resource")  # not on Windows
    usual, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, most))  # no file may be longer
    try:
        with (
            pytest.raises(DataError, match=r"cannot write: .* Make room"),
            new_folder(tmp_path / name) as folder,
        ):
            EXPORTERS[name].export(package, folder, ExportConfig())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (usual, most))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_quantized_package_is_refused(package, name, tmp_path):
    scheme = int8_scheme(package.model)
    model = quantize(package.model, scheme)
    save_package(tmp_path / "int8", model, package.path, quantization=scheme.model_dump())
    with pytest.raises(ExportError, match=f"{name}: .* is quantized"):
        EXPORTERS[name].export(load_package(tmp_path / "int8"), tmp_path / "out", ExportConfig())
    assert not (tmp_path / "out").exists()


def test_the_names_of_exported_models_are_their_own():
    assert len(MODELS) == sum(len(exporter.models) for exporter in EXPORTERS.values())
