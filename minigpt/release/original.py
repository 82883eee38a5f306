"""The package that quantize and export start from."""

from pathlib import Path

from minigpt.errors import PackageError
from minigpt.package import Package, load_package


def load_original(path: Path) -> Package:
    """A package whose every weight is a number, so that its logits can be compared.

    Raises:
        PackageError: it cannot be read, or a weight is none.
    """
    package = load_package(path)
    for name, tensor in package.model.state_dict().items():
        if not tensor.isfinite().all():
            raise PackageError(
                f"{path}: {name} holds what is no finite number. Get it again with: dvc pull, or "
                "train it afresh: dvc repro --force finetune"
            )
    return package
