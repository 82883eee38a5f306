"""The proof of an exported model, and the manifest beside it: what is wrong is noticed."""

import contextlib
import errno
import json
import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.digest import digest, file_digest
from minigpt.errors import ExportError, ParamsError
from minigpt.export.config import ExportConfig
from minigpt.export.exporters import EXPORTERS
from minigpt.export.manifest import MANIFEST, check, is_exported, write_manifest
from minigpt.export.verify import continuation, same_text, torch_decoder
from minigpt.model.config import POSITIONS

from .conftest import GPT2, SIZES, TEXT
from .test_exporters import MODELS

STEPS = 20


@pytest.fixture(scope="session")
def prompts(package):
    ids = package.tokenizer.encode(TEXT)
    return [[package.tokenizer.eot_id, *ids[i : i + n]] for i, n in enumerate((1, 4, 9, 20))]


def proof(package, decoder, prompts):
    return continuation(torch_decoder(package.model), decoder, prompts, STEPS, pad=7)


@pytest.mark.parametrize("name", MODELS)
def test_a_padded_batch_writes_what_its_rows_write_alone(package, prompts, name, tmp_path):
    exporter, model = MODELS[name]
    exporter.export(package, tmp_path, ExportConfig())
    text = proof(package, model.decode(tmp_path / model.file, 1), prompts)
    if model.exact:
        # The same fp32 sums in another order; logits are near 1.
        assert max(text.alone, text.whole) < 1e-5
        assert text.equal == 1
        assert text.behind < 2e-5
    else:
        assert 0.5 < text.equal <= 1
    assert [len(row) for row in text.tokens] == [STEPS] * 4
    assert same_text(tmp_path, package.tokenizer, text.tokens)


def without_a_mask(decoder):
    return lambda ids, past=None, mask=None: decoder(ids, past, None)


def one_scale_for_all(decoder):
    """As rounding with one scale for a whole batch is: a row depends on its neighbours."""

    def decode(ids, past=None, mask=None):
        logits, past = decoder(ids, past, mask)
        scale = logits.abs().max() / 127
        return (logits / scale).round() * scale, past

    return decode


def without_a_cache(decoder):
    return lambda ids, past=None, mask=None: decoder(ids, None, None)


@pytest.mark.parametrize("broken", [without_a_mask, one_scale_for_all, without_a_cache])
def test_what_a_batch_or_a_cache_spoils_is_noticed(make_package, prompts, broken):
    package = make_package(GPT2 if broken is without_a_mask else SIZES)
    text = proof(package, broken(torch_decoder(package.model)), prompts)
    assert max(text.alone, text.whole) > 1e-3


def test_a_tie_may_fall_either_way_and_another_token_may_not(package, prompts):
    def nudged(ids, past=None, mask=None):
        logits, past = torch_decoder(package.model)(ids, past, mask)
        return logits + torch.arange(logits.size(-1)) * amount, past

    amount = 0.0
    assert proof(package, nudged, prompts).behind == 0
    amount = 0.01
    text = proof(package, nudged, prompts)
    assert text.behind > 0.01
    assert text.equal < 1


def test_another_decoding_of_ids_is_noticed(package, tmp_path):
    EXPORTERS["hf"].export(package, tmp_path, ExportConfig())
    ids = [package.tokenizer.encode(TEXT)]
    assert same_text(tmp_path, package.tokenizer, ids)
    value = json.loads((tmp_path / "tokenizer.json").read_text())
    value["decoder"] = {"type": "Fuse"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    assert not same_text(tmp_path, package.tokenizer, ids)


@pytest.fixture
def folder(package, tmp_path):
    out = tmp_path / "of two words" / "hf"
    out.mkdir(parents=True)
    EXPORTERS["hf"].export(package, out, ExportConfig())
    figures = {"hf": {"bytes": 1, "greatest_logit_difference": 1 / 3e6}}
    licences = {"speeches": "public domain"}
    write_manifest(out, "hf", package, digest(package.path), figures, "it fails", licences)
    return out


def test_a_manifest_says_what_the_folder_is(folder, package):
    manifest = check(folder)
    assert manifest.format == "hf"
    assert manifest.model.digest == digest(package.path)
    assert manifest.model.parameters == sum(w.numel() for w in package.model.parameters())
    assert manifest.files.keys() == {path.name for path in folder.iterdir()} - {MANIFEST}
    assert manifest.files["config.json"] == file_digest(folder / "config.json")
    assert manifest.proof == {"hf": {"bytes": 1, "greatest_logit_difference": 3.33333e-07}}
    assert manifest.limits == {"context_length": 48, "beyond": "it fails"}
    assert manifest.licences == {"speeches": "public domain"}


def restated(folder, **facts):
    values = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(values | facts))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").write_text("{}"), "config.json was changed"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda f: (f / "modeling.py").write_text("import os"), "modeling.py was added"),
        (lambda f: (f / MANIFEST).write_text("{"), "manifest.json cannot be read"),
        (lambda f: (f / MANIFEST).write_text("{}"), "manifest.json"),
        (lambda f: (f / MANIFEST).write_text('{"version": ' + "[" * 10**6), "cannot be read"),
        (lambda f: restated(f, proof={"hf": {"bytes": float("nan")}}), "NaN is no JSON"),
        (lambda f: restated(f, model={"digest": 7}), r"model\.digest"),
        (lambda f: restated(f, version=2), r"version"),
        (lambda f: (f / MANIFEST).unlink(), "holds no manifest.json"),
        (lambda f: (f / "weights").symlink_to(f.parent), "weights was added"),
        (lambda f: (f / "gone").symlink_to("nowhere"), "gone was added"),
    ],
)
def test_a_folder_that_was_tampered_with_is_refused(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ExportError, match=message):
        check(folder)


@pytest.mark.parametrize(
    ("name", "config", "fails"),
    [
        ("hf", SIZES, False),
        ("hf", GPT2, True),
        ("onnx", SIZES, True),
        ("onnx", SIZES.replace(n_layer=1, position=POSITIONS["learned"]()), True),
        ("onnx", SIZES.replace(n_layer=1, position=POSITIONS["alibi"]()), False),
    ],
)
def test_beyond_the_context_a_program_does_what_the_manifest_says(
    make_package, name, config, fails, tmp_path
):
    exporter = EXPORTERS[name]
    exporter.export(make_package(config), tmp_path, ExportConfig())
    decoder = exporter.models[0].decode(tmp_path / exporter.models[0].file, 1)
    _, past = decoder(torch.arange(48)[None])
    # IndexError or onnxruntime's own.
    with pytest.raises(Exception, match=r"index|cos_cache") if fails else contextlib.nullcontext():
        decoder(torch.tensor([[5]]), past)


def test_verify_says_whether_a_folder_is_what_was_exported(folder):
    def verify(*options):
        return CliRunner().invoke(app, ["verify", str(folder), *options])

    done = verify()
    assert done.exit_code == 0
    assert "files are those that were exported as hf from the package" in done.output
    assert f"python {shlex.quote(f'{folder}/example.py')} 'My fellow citizens'" in done.output
    told = json.loads(verify("--json").stdout)
    assert told["holds"]
    assert told["limits"]["context_length"] == 48
    refused = verify("--from-cache")
    assert isinstance(refused.exception, ParamsError)
    (folder / "config.json").write_text("{}")
    changed = verify()
    assert isinstance(changed.exception, ExportError)
    assert "config.json was changed" in str(changed.exception)


def test_a_folder_that_we_may_not_look_into_is_said_and_a_name_too_long_is_no_folder(
    tmp_path, monkeypatch
):
    assert not is_exported(tmp_path)
    assert not is_exported(tmp_path / ("a" * 300))

    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refused)  # root may look everywhere
    with pytest.raises(ExportError, match="cannot be read: Permission denied"):
        is_exported(tmp_path)
