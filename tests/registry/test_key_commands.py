import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.errors import MissingExtraError, RegistryError
from minigpt.registry.provenance import keys, provenance
from minigpt.registry.refs import find_version

NAME = "minigpt-test"


@pytest.fixture
def run(changed, tmp_path, monkeypatch):
    """`minigpt …` in a registered checkout, with a home of its own."""
    for variable in (keys.KEY, keys.PASSPHRASE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(changed.root)
    monkeypatch.setattr("minigpt.cli.shared.model_name", lambda: NAME)

    def invoke(*arguments):
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    return invoke


def test_key_new_then_registry_sign_signs_and_says_what_next(run, changed, tmp_path):
    with pytest.raises(RegistryError, match="Run: minigpt key new"):
        run("key", "show")
    made = run("key", "new")
    public = tmp_path / ".config" / "minigpt" / "key.pub"
    assert made.stdout == f"{public}\n"
    assert made.stderr.splitlines()[-1] == "Next: minigpt registry sign champion"
    assert "PRIVATE" not in made.output
    shown = run("key", "show")
    assert shown.stdout == public.read_text()
    done = run("registry", "sign", "1")
    assert "1 of minigpt-test is signed by key" in done.stdout
    assert done.stderr.splitlines()[-1] == "Next: minigpt verify 1 --signature"
    registry, version = changed.registry, find_version(changed.registry, "1")
    assert provenance.check(registry, version) == []
    assert json.loads(run("key", "show", "--json").stdout)["id"].startswith(
        json.loads(run("registry", "sign", "1", "--json").stdout)["key"]
    )


def test_a_key_that_was_copied_alone_is_shown(run, tmp_path):
    public = run("key", "new").stdout.strip()
    Path(public).rename(tmp_path / "moved.pub")
    assert run("key", "show").stdout == (tmp_path / "moved.pub").read_text()
    assert json.loads(run("key", "show", "--json").stdout)["public"] is None


def test_what_is_signed_is_named_by_its_own_model(run, changed, monkeypatch):
    run("key", "new")
    done = run("registry", "sign", "models/finetuned")
    assert "1 of minigpt-test is signed by key" in done.stdout
    monkeypatch.setattr("minigpt.cli.shared.model_name", lambda: "minigpt")
    done = run("registry", "sign", f"{NAME}@challenger")
    assert "1 of minigpt-test is signed by key" in done.stdout
    assert done.stderr.splitlines()[-1] == f"Next: minigpt verify models:/{NAME}/1 --signature"


def test_an_extra_that_is_missing_is_named(run, monkeypatch):
    for module in ("model_signing", "model_signing.signing", "cyclonedx_py"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'minigpt\[sign\]'"):
        run("registry", "sign", "1", "--openssf")
    with pytest.raises(MissingExtraError, match=r"pip install 'minigpt\[sbom\]'"):
        run("registry", "sbom", "1")


def test_openssf_signs_the_package_and_its_own_tool_agrees(run, changed):
    verifying = pytest.importorskip("model_signing.verifying", reason="needs minigpt[sign]")
    with pytest.raises(RegistryError, match="Run: minigpt key new --openssf"):
        run("registry", "sign", "1", "--openssf")
    public = run("key", "new", "--openssf").stdout.strip()
    package = json.loads(run("registry", "sign", "1", "--openssf", "--json").stdout)["package"]
    [signature] = changed.root.glob("mlruns/**/release/model.sig")
    check = verifying.Config().use_elliptic_key_verifier(public_key=public)
    check.verify(package, signature)
    [weights] = changed.root.glob("mlruns/**/artifacts/finetuned/model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        check.verify(package, signature)


@pytest.mark.prove
def test_a_bill_of_materials_lists_packages_model_and_data(run, changed):
    pytest.importorskip("cyclonedx_py", reason="needs minigpt[sbom]")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    first, second = run("registry", "sbom", "1", "--json"), run("registry", "sbom", "1", "--json")
    assert first.stdout == second.stdout
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first.stdout) is None
    bom = json.loads(first.stdout)
    assert bom["metadata"]["component"]["type"] == "machine-learning-model"
    assert {"torch", "mlflow"} <= {component["name"] for component in bom["components"]}
    assert str(changed.root) not in first.stdout
    assert [json.loads(p.read_text()) for p in changed.root.glob("mlruns/**/bom.cdx.json")] == [bom]
