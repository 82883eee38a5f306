"""How much text each training has, as far as that is known before it runs."""

from dataclasses import dataclass
from pathlib import Path

from minigpt.data.shards import MANIFEST, read_manifest
from minigpt.own_text.plan import Texts
from minigpt.own_text.steps import BYTES_A_TOKEN
from minigpt.params import Params
from minigpt.roles import ROLES, of_role


@dataclass(frozen=True)
class TextAmount:
    """The text of one training."""

    tokens: int
    """Of its train split."""
    counted: bool
    """By the stage tokenize; else estimated from bytes."""


def text_amounts(root: Path, params: Params, texts: Texts) -> dict[str, TextAmount]:
    """Stage → its text: of those whose text is tokenized already, or is in `texts` as a whole."""
    amounts = {}
    for role in ROLES.values():
        if not (names := of_role(params.roles, role)):
            continue
        shards = root / "data/tokens" / role.name
        if (shards / MANIFEST).is_file():
            train = read_manifest(shards)["splits"]["train"]
            if sorted(train["sources"]) == names:
                amounts[role.stage] = TextAmount(train["tokens"], counted=True)
                continue
        if texts.keys() >= set(names):
            train = [d.n_bytes for name in names for d in texts[name] if d.split == "train"]
            amounts[role.stage] = TextAmount(round(sum(train) / BYTES_A_TOKEN), counted=False)
    return amounts
