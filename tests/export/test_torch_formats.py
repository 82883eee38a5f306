"""TorchScript and torch.export: what only these two formats must hold."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
import torch

from minigpt.digest import digest
from minigpt.export.config import ExportConfig
from minigpt.export.exporters import EXPORTERS
from minigpt.model.config import POSITIONS

from .conftest import SIZES

FORMATS = {name: EXPORTERS[name] for name in ("torchscript", "torch_export")}


def export(package, name, out):
    FORMATS[name].export(package, out, ExportConfig())
    (model,) = FORMATS[name].models
    return out / model.file


@pytest.fixture(scope="session")
def file(package, tmp_path_factory):
    """A function that gives a format's file, written once."""
    files = {}

    def file_of(name):
        if name not in files:
            files[name] = export(package, name, tmp_path_factory.mktemp(name))
        return files[name]

    return file_of


@pytest.mark.parametrize("name", FORMATS)
def test_another_process_folder_zone_and_order_of_sets_give_the_same_bytes(
    file, package, name, tmp_path
):
    code = (
        "import sys; from pathlib import Path; from minigpt.package import load_package\n"
        "from minigpt.export.config import ExportConfig\n"
        "from minigpt.export.exporters import EXPORTERS\n"
        "EXPORTERS[sys.argv[2]].export(\n"
        "    load_package(Path(sys.argv[1])), Path('.'), ExportConfig())\n"
    )
    changed = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    environment = os.environ | changed | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, package.path, name]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert digest(tmp_path) == digest(file(name).parent)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_names_this_machine_a_time_or_a_line_of_code(file, name):
    with zipfile.ZipFile(file(name)) as archive:
        for record in archive.infolist():
            assert record.date_time == (1980, 0, 0, 0, 0, 0)
            assert not record.filename.endswith("debug_pkl")
            content = archive.read(record)
            assert os.fsencode(os.getcwd()) not in content  # noqa: PTH109
            assert b".py" not in content
            assert b"mangle" not in content + record.filename.encode()


@pytest.mark.parametrize("name", FORMATS)
def test_no_weight_is_kept_twice(make_package, name, tmp_path):
    sizes = []
    for tied in (False, True):
        folder = tmp_path / str(tied)
        folder.mkdir()
        config = SIZES.replace(n_layer=1, tied=tied, embedding_norm=not tied)
        package = make_package(config)
        file = export(package, name, folder)
        weights = sum(weight.numel() for weight in package.model.parameters())
        assert file.stat().st_size < 4 * weights + 200_000
        sizes.append(file.stat().st_size)
    assert sizes[0] - sizes[1] > 4 * 299 * SIZES.n_embd


def test_an_exported_program_holds_no_pickle_of_its_example(file):
    with zipfile.ZipFile(file("torch_export")) as archive:
        (name,) = (name for name in archive.namelist() if "sample_inputs" in name)
        assert archive.read(name) == b""
        model = json.loads(archive.read("archive/models/model.json"))
        assert not any(n["metadata"] for n in model["graph_module"]["graph"]["nodes"])


@pytest.mark.parametrize(("name", "position"), [(n, p) for n in FORMATS for p in POSITIONS])
def test_what_a_text_longer_than_the_context_meets(make_package, name, position, tmp_path):
    package = make_package(SIZES.replace(n_layer=1, position=POSITIONS[position]()))
    (model,) = FORMATS[name].models
    decoder = model.decode(export(package, name, tmp_path), 1)
    longest = torch.zeros(1, SIZES.context_length, dtype=torch.long)
    _, past = decoder(longest)
    has_table = position in ("rope", "learned")
    for ids, start, fails in (
        (longest[:, :1], past, has_table),
        (torch.zeros(1, SIZES.context_length + 1, dtype=torch.long), None, has_table),
    ):
        if fails or (start is None and name == "torch_export"):
            with pytest.raises((RuntimeError, IndexError), match=r"out of bounds|to be <= 48"):
                decoder(ids, start)
        else:
            decoder(ids, start)
