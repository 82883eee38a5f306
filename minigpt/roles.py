"""What text is for, one row a role: each source has one; stages, gate and reports ask the table."""

from collections.abc import Container, Iterable, Mapping
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
    optional: bool
    """A project may do without it: its section of params.yaml is null, no source has it, and its
    stage hands on the model of before."""


PRETRAIN = Role("pretrain", "pretrain", "base", against=None, optional=False)
FINETUNE = Role("finetune", "finetune", "finetuned", against="base", optional=True)
ROLES = {role.name: role for role in (PRETRAIN, FINETUNE)}
"""In the order of training."""
if TYPE_CHECKING:
    RoleName: TypeAlias = str
else:
    RoleName = Literal[tuple(ROLES)]


def main_role(names: Iterable[str]) -> Role:
    """The last to be trained of these roles: what a version is for, so its figures come first."""
    used = set(names)
    return next((role for role in reversed(ROLES.values()) if role.name in used), PRETRAIN)


def final_model(judged: Container[str]) -> str:
    """The model that is a version's, of those that were judged: the base, if it was not tuned."""
    models = [role.model for role in ROLES.values()]
    return next((model for model in reversed(models) if model in judged), PRETRAIN.model)


def main_first(roles: Mapping[str, str]) -> list[str]:
    """The sources in `roles` (source → role), those of the main role first, then by name."""
    main = main_role(roles.values())
    return sorted(roles, key=lambda source: (roles[source] != main.name, source))


def of_role(roles: Mapping[str, str], role: Role) -> list[str]:
    """The sources in `roles` (source → role) that have this one, by name."""
    return sorted(source for source, name in roles.items() if name == role.name)
