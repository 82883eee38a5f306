"""What a file that is fetched must be."""

from typing import Annotated

from pydantic import PositiveInt, StringConstraints

from minigpt.config import Config

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Pin(Config):
    """One file, byte for byte."""

    filename: Annotated[str, StringConstraints(pattern=r"^[\w@][\w.+-]*$")]
    sha256: Sha256
    bytes: PositiveInt
