"""Our parameter names in other people's words; each format holds the table of its own."""

import re
from collections.abc import Iterable

from minigpt.errors import ExportError


def translate(names: Iterable[str], table: dict[str, str], format: str) -> dict[str, str]:
    """Our names -> theirs, by `table`; a * in it stands for the layer's number.

    Raises:
        ExportError: the format has no word for some of them.
    """
    translated, unknown = {}, []
    for name in names:
        number = re.search(r"\.(\d+)\.", name)
        pattern = name if number is None else name.replace(number[0], ".*.", 1)
        if pattern in table:
            translated[name] = table[pattern].replace("*", number[1] if number else "")
        else:
            unknown.append(name)
    if unknown:
        raise ExportError(
            f"{format}: no name there for {sorted(unknown)}. "
            f"Leave {format} out of export.formats, or teach its table of names."
        )
    return translated
