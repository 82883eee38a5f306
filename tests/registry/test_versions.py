import shutil
import sqlite3

import pytest

from minigpt.errors import PackageError, RegistryError, UnknownVersionError
from minigpt.package import load_package
from minigpt.registry import artifacts
from minigpt.registry.artifacts import package_of, version_files, write_artifact
from minigpt.registry.refs import find_version, resolve, shortest_ref
from minigpt.registry.registry import Registry
from minigpt.registry.versions import list_versions

NAME = "minigpt-test"


@pytest.mark.parametrize(
    "ref",
    [
        "1",
        "challenger",
        f"{NAME}@challenger",
        f"models:/{NAME}/1",
        f"models:/{NAME}@challenger",
    ],
)
def test_a_version_has_several_names_and_one_package(registered, ref):
    package = resolve(registered.registry, ref)
    assert package.is_relative_to(registered.root / "mlruns")
    assert load_package(package).config.n_layer == 1


def test_a_folder_is_a_reference_too(checkout):
    folder = checkout.root / "models" / "base"
    assert resolve(checkout.registry, str(folder)) == folder


def test_a_folder_that_is_no_package_is_named(checkout):
    with pytest.raises(PackageError, match="no package is there"):
        resolve(checkout.registry, str(checkout.root / "models"))
    with pytest.raises(PackageError, match="no package is there"):
        resolve(checkout.registry, "models/nothing")


def test_no_store_is_made_by_asking(checkout):
    with pytest.raises(RegistryError, match=r"yet\. Run: make run; or, where a team's server"):
        resolve(checkout.registry, "champion")
    assert list_versions(checkout.registry) == []
    assert not (checkout.root / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("17", "has no version 17"),
        ("champion", "registry promote 1"),
        ("other@champion", "no version of other is registered"),
        ("two words", "names no version"),
        ("models/finetund", "names no version"),
        ("./3", "names no version"),
        ("~nobody-of-that-name", "names no version"),
        ("models:/other/champion", "no version of other is registered"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(registered, ref, said):
    with pytest.raises(RegistryError) as refusal:
        find_version(registered.registry, ref)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_package_folder_is_the_version_that_holds_it(registered, monkeypatch, tmp_path):
    monkeypatch.chdir(registered.root)
    assert find_version(registered.registry, "models/finetuned").version == "1"
    with pytest.raises(RegistryError, match=r"or the folder of a package \(model\.json is in it\)"):
        find_version(registered.registry, "models")
    with pytest.raises(RegistryError, match="no version of other holds this package"):
        find_version(Registry(registered.root, "other"), "models/finetuned")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(registered.root / "models" / "base", tmp_path / "1")
    (tmp_path / "1" / "extra").write_text("another package")
    assert find_version(registered.registry, "1").version == "1"
    with pytest.raises(RegistryError, match="holds this package"):
        find_version(registered.registry, "./1")


def test_of_another_model_a_command_names_it(registered):
    assert shortest_ref(NAME, "3", NAME) == "3"
    ref = shortest_ref(NAME, "1", "minigpt")
    assert find_version(Registry(registered.root, "minigpt"), ref).name == NAME
    with pytest.raises(RegistryError, match=f"registry promote {ref}$"):
        find_version(Registry(registered.root, "minigpt"), f"{NAME}@champion")


def test_a_servers_model_is_fetched_anew_to_be_proven(changed, monkeypatch):
    weights = "models/finetuned/model.safetensors"
    [version], registry = list_versions(changed.registry), changed.registry
    stored = package_of(registry, version) / "model.safetensors"
    monkeypatch.setattr(artifacts, "local_path", lambda uri: None)  # as that of a server
    copy = package_of(registry, version)
    assert copy.is_relative_to(changed.root / ".cache")
    stored.write_bytes(b"spoilt")
    with artifacts.version_files(registry, version) as files:
        assert files.need(weights).read_bytes() == b"spoilt"
    assert (copy / "model.safetensors").read_bytes() != b"spoilt"


def test_a_copy_of_a_servers_model_that_was_changed_is_not_used(changed, monkeypatch, capsys):
    [version], registry = list_versions(changed.registry), changed.registry
    stored = package_of(registry, version) / "model.safetensors"
    whole = stored.read_bytes()
    monkeypatch.setattr(artifacts, "local_path", lambda uri: None)  # as that of a server
    for damage in (whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        copy = package_of(registry, version) / "model.safetensors"
        assert package_of(registry, version) == copy.parent
        assert capsys.readouterr().err == ""  # once fetched, and used as it is
        copy.write_bytes(damage)
        assert (package_of(registry, version) / "model.safetensors").read_bytes() == whole
        assert "was changed since it was fetched" in capsys.readouterr().err
    (copy.parent / "model.json").unlink()
    stored.write_bytes(whole[:-1])
    with pytest.raises(RegistryError, match=r"what the server holds .* --from-cache"):
        package_of(registry, version)


def test_files_that_are_gone_are_named(changed):
    resolve(changed.registry, "1").joinpath("model.json").unlink()
    with pytest.raises(RegistryError, match="no longer at"):
        resolve(changed.registry, "1")


def test_only_who_asks_for_the_champion_is_told_how_to_make_one(changed):
    with pytest.raises(RegistryError, match=r"called nosuch yet\. See: minigpt registry list$"):
        find_version(changed.registry, "nosuch")
    with pytest.raises(RegistryError, match=r"to make one champion: minigpt registry promote 1$"):
        find_version(changed.registry, "champion")


@pytest.mark.parametrize("ref", ["99", "nosuch", "champion", "a//b", "models:/other/1", "a b"])
def test_what_names_no_version_is_bad_input(changed, ref):
    with pytest.raises(UnknownVersionError) as refusal:
        find_version(changed.registry, ref)
    assert refusal.value.exit_code == 2


def test_a_version_whose_run_was_purged_is_named_with_its_cure(changed):
    version = find_version(changed.registry, "1")
    with sqlite3.connect(changed.root / "mlflow.db") as store:
        store.execute("delete from runs where run_uuid = ?", (version.run_id,))
    registry = Registry(changed.root, NAME)

    def read():
        with version_files(registry, version):
            pass

    for ask in (read, lambda: write_artifact(registry, version, "a.txt", b"")):
        with pytest.raises(RegistryError, match=f"{NAME} 1: its run .* is gone.*registry sync"):
            ask()
