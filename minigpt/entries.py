"""What people add: a folder whose modules each state one `ENTRY`. A new file is found by itself.

`make deps` makes such a folder, as a whole, a dep of every stage that asks for its entries.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any


def names(package: str) -> tuple[str, ...]:
    """The modules of `package` (`minigpt.export.formats`), sorted. None of them is imported."""
    folder = importlib.import_module(package).__path__
    return tuple(sorted(module.name for module in pkgutil.iter_modules(folder)))


def entries(package: str, name_of: Callable[[Any], str] | None = None) -> dict[str, Any]:
    """`ENTRY` of every module of `package`, by the module's name, sorted.

    `name_of` gives the name that an entry states itself, which must be its module's name.

    Raises:
        TypeError: a module states no ENTRY, or one of another name.
    """
    by_name = {}
    for name in names(package):
        module = importlib.import_module(f"{package}.{name}")
        if not hasattr(module, "ENTRY"):
            raise TypeError(f"{module.__file__}: no ENTRY; every module of {package} states one")
        if name_of and (own := name_of(module.ENTRY)) != name:
            raise TypeError(f"{module.__file__}: its ENTRY is called {own!r}; call the file so too")
        by_name[name] = module.ENTRY
    return by_name


def kind_of(config: Any) -> str:
    """The word that tells a params class from the others of its union."""
    return str(config.model_fields["kind"].default)
