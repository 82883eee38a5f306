"""How much text each training has, as far as that is known before it runs."""

from dataclasses import dataclass
from pathlib import Path

from minigpt.data.folder import look_into
from minigpt.data.shards import MANIFEST, read_manifest
from minigpt.own_text import documents_in
from minigpt.params import Params
from minigpt.roles import ROLES, of_role

BYTES_A_TOKEN = 3.0
"""About what 2,048 tokens reach on English; for text that no tokenizer has seen here."""


@dataclass(frozen=True)
class TextAmount:
    """The text of one training."""

    tokens: int
    """Of its train split."""
    counted: bool
    """By the stage tokenize; else estimated from bytes."""


def text_amounts(root: Path, params: Params) -> dict[str, TextAmount]:
    """Stage → its text: of those whose text is tokenized already, or lies here in files."""
    amounts = {}
    for role in ROLES.values():
        names = of_role(params.roles, role)
        shards = root / "data/tokens" / role.name
        if (shards / MANIFEST).is_file():
            train = read_manifest(shards)["splits"]["train"]
            if sorted(train["sources"]) == names:
                amounts[role.stage] = TextAmount(train["tokens"], counted=True)
                continue
        sources = {name: params.sources[name] for name in names}
        if names and all(s.local and (root / s.place).is_dir() for s in sources.values()):
            size = 0
            for name, source in sources.items():
                folder = look_into(root / source.place, source.chooses)
                documents, _ = documents_in(name, params, folder)
                size += sum(d.n_bytes for d in documents if d.split == "train")
            amounts[role.stage] = TextAmount(round(size / BYTES_A_TOKEN), counted=False)
    return amounts
