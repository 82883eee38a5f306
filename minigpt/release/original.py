"""The package that quantize and export start from."""

from pathlib import Path

from minigpt.errors import PackageError
from minigpt.package import Package, load_package


def load_original(path: Path) -> Package:
    """A package as it was written, whose every weight is a number: its logits can be compared.

    Raises:
        PackageError: it cannot be read, a weight was changed since, or is no number.
    """
    package = load_package(path, verify=True)
    for name, tensor in package.model.state_dict().items():
        if not tensor.isfinite().all():
            raise PackageError(
                f"{path}: {name} holds what is no finite number. Get it again with: dvc pull, or "
                "train it afresh: dvc repro --force finetune"
            )
    return package
