import pytest

from minigpt.errors import PackageError, RegistryError
from minigpt.package import load_package
from minigpt.registry.versions import find_version, list_versions, resolve

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
    package = resolve(ref, registered.root, NAME)
    assert package.is_relative_to(registered.root / "mlruns")
    assert load_package(package).config.n_layer == 1


def test_a_folder_is_a_reference_too(checkout):
    folder = checkout.root / "models" / "base"
    assert resolve(str(folder), checkout.root, NAME) == folder


def test_a_folder_that_is_no_package_is_named(checkout):
    with pytest.raises(PackageError, match="no package is there"):
        resolve(str(checkout.root / "models"), checkout.root, NAME)
    with pytest.raises(PackageError, match="no package is there"):
        resolve("models/nothing", checkout.root, NAME)


def test_no_store_is_made_by_asking(checkout):
    with pytest.raises(RegistryError, match=r"no version of .* yet\. Run: make run"):
        resolve("champion", checkout.root, NAME)
    assert list_versions(checkout.root, NAME) == []
    assert not (checkout.root / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("17", "has no version 17"),
        ("champion", "registry promote 1"),
        ("other@champion", "no version of other is registered"),
        ("two words", "names no version"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(registered, ref, said):
    with pytest.raises(RegistryError) as refusal:
        find_version(registered.root, ref, NAME)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_files_that_are_gone_are_named(changed):
    resolve("1", changed.root, NAME).joinpath("model.json").unlink()
    with pytest.raises(RegistryError, match="no longer at"):
        resolve("1", changed.root, NAME)
