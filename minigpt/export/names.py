"""Our parameter names in other people's words; each format holds the tables of its own."""

import re
from collections.abc import Iterable, Mapping

from minigpt.errors import ExportError


def translate(names: Iterable[str], table: Mapping[str, str], format: str) -> dict[str, str]:
    """Our names -> theirs, by a `table` of modules; a * in it stands for the layer's number.

    Raises:
        ExportError: the format has no word for some of them.
    """
    translated, unknown = {}, []
    for name in names:
        module, _, kind = name.rpartition(".")  # kind: weight or bias
        number = re.search(r"\.(\d+)\.", module)
        pattern = module if number is None else module.replace(number[0], ".*.", 1)
        if pattern in table:
            theirs = table[pattern].replace("*", number[1] if number else "")
            translated[name] = f"{theirs}.{kind}"
        else:
            unknown.append(name)
    if unknown:
        raise ExportError(
            f"{format}: no name there for {sorted(unknown)}. "
            f"Leave {format} out of export.formats, or teach its table of names."
        )
    return translated
