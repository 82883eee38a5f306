"""What text is for, one row a role: each source has one; stages, gate and reports ask the table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias


@dataclass(frozen=True)
class Role:
    """One use of text."""

    name: str
    """As params.yaml and documents state it; its shards lie in data/tokens/NAME."""
    stage: str
    """The stage that trains on it."""
    model: str
    """What that stage makes, as results/evaluate.json calls it: the role's figures are its."""
    against: str | None
    """The model of before, which it must lie below on this text; None: `gate.must_beat`."""
    may_lose: str
    """The key of `gate` that bounds how much worse than the champion a version may be on it."""


PRETRAIN = Role("pretrain", "pretrain", "base", None, "max_forgetting")
FINETUNE = Role("finetune", "finetune", "finetuned", "base", "max_worse")
ROLES = {role.name: role for role in (PRETRAIN, FINETUNE)}
"""In the order of training."""
MAIN = FINETUNE
"""What a version is for: its figures come first."""
if TYPE_CHECKING:
    RoleName: TypeAlias = str
else:
    RoleName = Literal[tuple(ROLES)]


def main_first(roles: Mapping[str, str]) -> list[str]:
    """The sources in `roles` (source → role), those of the main role first, then by name."""
    return sorted(roles, key=lambda source: (roles[source] != MAIN.name, source))


def of_role(roles: Mapping[str, str], role: Role) -> list[str]:
    """The sources in `roles` (source → role) that have this one, by name."""
    return sorted(source for source, name in roles.items() if name == role.name)
