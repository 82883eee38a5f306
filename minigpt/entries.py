"""What people add: a folder of modules that each state one `ENTRY`. A new file is found by itself.

`make deps` makes such a folder, as a whole, a dep of every stage that asks for its entries.
"""

import importlib
import pkgutil
from typing import Any


def names(package: str) -> tuple[str, ...]:
    """The modules of `package` (`minigpt.export.formats`), sorted; only the package is imported."""
    return tuple(
        sorted(m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__))
    )


def entries(package: str) -> dict[str, Any]:
    """`ENTRY` of every module of `package`, by the module's name, sorted.

    Raises:
        TypeError: a module states none.
    """
    found = {}
    for name in names(package):
        module = importlib.import_module(f"{package}.{name}")
        if not hasattr(module, "ENTRY"):
            raise TypeError(
                f"{module.__file__}: states no ENTRY; every module of {package} has one"
            )
        found[name] = module.ENTRY
    return found
