"""What is known of the texts on this machine before anything runs: how much, too little, unfit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from minigpt.data.copies import copied_from, preset_command
from minigpt.data.document import Document
from minigpt.data.folder import look_into
from minigpt.data.links import is_watched
from minigpt.data.shards import MANIFEST, read_manifest
from minigpt.own_text.fit import is_built, misfit
from minigpt.own_text.plan import documents_in, too_little
from minigpt.own_text.steps import BYTES_A_TOKEN
from minigpt.params import Params
from minigpt.roles import FINETUNE, ROLES, of_role

Texts = Mapping[str, list[Document]]
"""Source → its documents."""


def texts_here(root: Path, params: Params) -> dict[str, list[Document]]:
    """Source → its documents, of those whose folder is on this machine."""
    return {
        name: documents_in(name, params, folder)[0]
        for name, source in params.sources.items()
        if source.local and source.folder(root).is_dir()
        if (folder := look_into(source.folder(root), source.chooses)).files
    }


def plan_problems(params: Params, texts: Texts) -> list[str]:
    """What is known to be too little before anything runs: of roles whose text all lies here."""
    problems = []
    for role in params.windows:
        names = of_role(params.roles, ROLES[role])
        if len(names) == 1 and names[0] in texts:
            problems.append(too_little(names[0], params, texts[names[0]]))
    return [problem for problem in problems if problem]


def plan_remarks(root: Path, params: Params, texts: Texts) -> list[str]:
    """Of each text that lies here and is to be fine-tuned on: what the base does not know of it."""
    remarks = []
    for name in of_role(params.roles, FINETUNE):
        if documents := texts.get(name):
            source = params.sources[name]
            origin = copied_from(root / source.place)
            linked = not (origin or is_watched(root, source.folder(root)))
            command = preset_command(origin or source.place, link=linked)
            remarks += [f"{name}: {line}" for line in misfit(root, params, documents, command)]
    return remarks


@dataclass(frozen=True)
class TextAmount:
    """The text of one training."""

    tokens: int
    """Of its train split."""
    counted: bool
    """By the stage tokenize; else estimated from bytes."""


def in_all(amounts: Iterable[TextAmount]) -> TextAmount:
    """The text of several trainings together."""
    parts = list(amounts)
    return TextAmount(sum(part.tokens for part in parts), all(part.counted for part in parts))


def text_amounts(root: Path, params: Params, texts: Texts) -> dict[str, TextAmount]:
    """Stage → its text: of those whose text is tokenized as it is, or is in `texts` as a whole."""
    amounts = {}
    for role in ROLES.values():
        if not (names := of_role(params.roles, role)):
            continue
        sizes = {
            name: sum(d.n_bytes for d in texts[name] if d.split == "train")
            for name in names
            if name in texts
        }
        shards = root / "data/tokens" / role.name
        if (shards / MANIFEST).is_file() and is_built(root, params, role):
            train = read_manifest(shards)["splits"]["train"]
            counted = {name: facts["bytes"] for name, facts in train["sources"].items()}
            if counted == counted | sizes:  # else a text here was edited since
                amounts[role.stage] = TextAmount(train["tokens"], counted=True)
                continue
        if len(sizes) == len(names):
            tokens = round(sum(sizes.values()) / BYTES_A_TOKEN)
            amounts[role.stage] = TextAmount(tokens, counted=False)
    return amounts
