"""No positions."""

from typing import Literal

from minigpt.model.position_config import PositionConfig


class NoPosition(PositionConfig):
    """No positions: the causal mask alone tells order (arXiv:2305.19466)."""

    kind: Literal["none"] = "none"


ENTRY = NoPosition
