import base64
import copy
import json
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from minigpt.digest import file_digest
from minigpt.errors import RegistryError
from minigpt.registry.provenance import dsse, keys, provenance
from minigpt.registry.refs import find_version
from minigpt.registry.register import register
from minigpt.registry.registry import Registry
from minigpt.registry.versions import list_versions

NAME = "minigpt-test"
PASSPHRASE = "a horse that is correct"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No key of whoever runs the tests is used; what the module's versions are signed with is."""
    monkeypatch.delenv(keys.PASSPHRASE, raising=False)
    monkeypatch.delenv(keys.KEY, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def stored_file(root, path):
    """A file of the version in the store of `root`."""
    [file] = (p for p in root.glob(f"mlruns/**/{path}") if p.is_file())
    return file


def test_a_version_carries_a_statement_that_in_toto_reads(signed):
    root, public = signed
    envelope = Envelope.from_dict(json.loads(stored_file(root, provenance.ENVELOPE).read_bytes()))
    key = SSlibKey.from_crypto(keys.public_key(public))
    assert list(envelope.verify([key], 1)) == [key.keyid]
    assert envelope.payload_type == "application/vnd.in-toto+json"
    said = json.loads(envelope.payload)
    Statement.copy_from_pb(ParseDict(said, statement_pb2.Statement())).validate()
    ParseDict(said["predicate"], provenance_pb2.Provenance())  # refuses a field it does not know
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"


def test_the_statement_names_products_materials_and_recipe(signed):
    root, _ = signed
    [version] = list_versions(Registry(root, NAME))
    _, said = provenance.read_envelope(Registry(root, NAME), version)
    made = {entry["name"]: entry["digest"]["sha256"] for entry in said["subject"]}
    assert made["release/manifest.json"] == version.digest
    for name in ("models/finetuned/model.safetensors", "exports/hf/config.json"):
        assert made[name] == file_digest(root / name)
    build = said["predicate"]["buildDefinition"]
    used = {entry["name"]: entry["digest"] for entry in build["resolvedDependencies"]}
    assert used["code"] == {"gitCommit": version.commit}
    for name in ("params.yaml", "dvc.yaml", "dvc.lock", "requirements/base.txt"):
        assert used[name] == {"sha256": file_digest(root / name)}
    assert "source.patch" in used
    assert build["externalParameters"]["params"] == {"seed": 0, "model": {"n_layer": 1}}
    beside = {entry["name"] for entry in said["predicate"]["runDetails"]["byproducts"]}
    assert "lineage.json" in beside
    assert str(root) not in json.dumps(said)  # no path of this machine


def test_the_same_key_signs_the_same_statement_with_the_same_bytes(signed, monkeypatch):
    root, public = signed
    monkeypatch.setenv(keys.KEY, str(public.with_suffix(".pem")))
    monkeypatch.setenv(keys.PASSPHRASE, PASSPHRASE)
    envelope = json.loads(stored_file(root, provenance.ENVELOPE).read_bytes())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert dsse.seal(statement, keys.signing_key()) == envelope


def test_neither_key_nor_passphrase_reaches_a_file_of_the_project(signed):
    root, public = signed
    secret = public.with_suffix(".pem").read_bytes().splitlines()[1]
    for path in root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert PASSPHRASE.encode() not in data, path
            assert secret not in data, path


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("models/finetuned/model.safetensors", "artifacts/finetuned/model.safetensors"),
        ("models/base/model.safetensors", "artifacts/models/base/model.safetensors"),
        ("release/files.json", "artifacts/release/files.json"),
        ("params.yaml", "artifacts/params.yaml"),
        ("source.patch", "artifacts/source.patch"),
        ("lineage.json", "artifacts/lineage.json"),
    ],
)
def test_a_changed_file_is_named(own, name, place):
    root, registry, version, public = own
    assert provenance.check(registry, version, public) == []
    file = stored_file(root, place)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    [problem] = provenance.check(registry, version, public)
    assert problem.startswith(f"{name}: DIFFERENT: sha256")


def test_a_file_that_is_gone_is_named(own):
    root, registry, version, public = own
    stored_file(root, "models/base/model.json").unlink()
    [problem] = provenance.check(registry, version, public)
    assert problem.startswith("models/base/model.json: is gone")


def test_a_statement_that_was_changed_after_signing_does_not_pass(own):
    root, registry, version, public = own
    file = stored_file(root, provenance.ENVELOPE)
    envelope = json.loads(file.read_bytes())
    said = json.loads(base64.b64decode(envelope["payload"]))
    said["predicate"]["buildDefinition"]["externalParameters"]["params"]["seed"] = 1
    envelope["payload"] = base64.b64encode(json.dumps(said).encode()).decode()
    file.write_text(json.dumps(envelope))
    [problem] = provenance.check(registry, version, public)
    assert "the statement was changed after signing" in problem


def test_the_statement_of_another_version_does_not_pass(own):
    _, registry, version, public = own
    [problem] = provenance.check(registry, replace(version, digest="0" * 64), public)
    assert "speaks of another version; minigpt-test 1 has the manifest 000000000000…" in problem


def test_a_key_that_is_not_the_signers_does_not_pass(own, home):
    _, registry, version, public = own
    [problem] = provenance.check(registry, version)
    assert "there is no public key to check it with" in problem
    keys.new_key(keys.key_path())
    [problem] = provenance.check(registry, version)
    assert "expected was" in problem
    assert "not checked" in provenance.signer(registry, version)
    shutil.copy(public, keys.public_path(keys.key_path()))
    assert provenance.check(registry, version) == []
    assert provenance.signer(registry, version) == "your key"


def test_without_a_key_a_version_is_unsigned_and_can_be_signed_later(changed, home):
    registry, version = changed.registry, find_version(changed.registry, "1")
    assert provenance.signer(registry, version) is None
    [problem] = provenance.check(registry, version)
    assert "not signed" in problem
    with pytest.raises(RegistryError, match=r"there is no key at .* Run: minigpt key new"):
        provenance.sign(changed.registry, "1")
    keys.new_key(keys.key_path())
    provenance.sign(changed.registry, "1")
    assert provenance.check(registry, version) == []
    envelope = stored_file(changed.root, provenance.ENVELOPE).read_bytes()
    provenance.sign(changed.registry, "1")  # once more changes nothing
    assert stored_file(changed.root, provenance.ENVELOPE).read_bytes() == envelope


def test_what_is_not_as_stated_is_not_signed(changed, home):
    keys.new_key(keys.key_path())
    stored_file(changed.root, "models/base/model.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"was not signed: models/base/model\.json: DIFFERENT"):
        provenance.sign(changed.registry, "1")
    assert provenance.signer(changed.registry, find_version(changed.registry, "1")) is None


def test_a_key_that_cannot_be_used_registers_nothing(changed, monkeypatch):
    monkeypatch.setenv(keys.KEY, str(changed.root / "gone.pem"))
    changed.build(tuned=1.7)
    before = sorted((changed.root / "mlruns").rglob("*"))
    with pytest.raises(RegistryError, match="MINIGPT_KEY names"):
        register(changed.registry)
    assert len(list_versions(changed.registry)) == 1
    assert sorted((changed.root / "mlruns").rglob("*")) == before  # no copy of the models either


def test_what_is_no_envelope_is_said(own):
    root, registry, version, _ = own
    file = stored_file(root, provenance.ENVELOPE)
    good = json.loads(file.read_bytes())
    other_type = copy.deepcopy(good) | {"payloadType": "text/plain"}
    empty = copy.deepcopy(good) | {"payload": base64.b64encode(b"{}").decode()}
    for bad in ("[]", "no json", json.dumps(other_type), json.dumps(empty), '{"payload": 3}'):
        file.write_text(bad)
        [problem] = provenance.check(registry, version)
        assert problem.startswith(f"{provenance.ENVELOPE}: is no DSSE envelope")
        assert provenance.signer(registry, version) is None
    file.unlink()
    [problem] = provenance.check(registry, version)
    assert "has no release/provenance.dsse.json" in problem


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://me:secret@git.example/x.git?token=secret", "git+https://git.example/x.git"),
        ("/home/me/project", None),
        ("file:///home/me/project", None),
    ],
)
def test_a_password_or_path_in_the_remote_is_not_told(checkout, tmp_path, address, said):
    root = tmp_path / "copy"
    shutil.copytree(checkout.root / ".git", root / ".git")
    command = ["git", "remote", "add", "origin", address]
    subprocess.run(command, cwd=root, check=True)
    assert provenance._code(SimpleNamespace(commit="abc"), root).get("uri") == said
