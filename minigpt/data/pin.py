"""What a file that is fetched must be."""

from typing import Annotated

from pydantic import StringConstraints

from minigpt.config import Config, Count

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Pin(Config):
    """One file, byte for byte."""

    filename: Annotated[str, StringConstraints(pattern=r"^[\w@][\w.+-]*$")]
    sha256: Sha256
    bytes: Count
