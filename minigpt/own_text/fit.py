"""Whether a tokenizer and a base were made for a text: measured where one is built, else guessed.

The guess asks for the language by its commonest words, or for the script of its letters.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt.data.document import Document
from minigpt.data.language import STOP_WORDS, language_share
from minigpt.dvc_lock import LOCK, stages_of
from minigpt.errors import PackageError
from minigpt.log import size_of
from minigpt.own_text.own_base import OWN_BASE_BYTES
from minigpt.params import PARAMS, Params
from minigpt.presets import dumped, load_preset, preset_names
from minigpt.roles import PRETRAIN, Role

if TYPE_CHECKING:
    from minigpt.tokenizer.bpe import Tokenizer

TOKENIZER = Path("models/tokenizer")
NAMES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian",
         "zh": "Chinese"}  # fmt: skip
SCRIPTS = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean",
           "THAI": "Thai", "GREEK": "Greek"}  # fmt: skip
"""Letters that one language of today is written in."""
LETTERS = 2000
"""Of a text, looked at for their script."""
MIN_WORDS, MIN_SHARE = 30, 0.2
"""Words of a text that can tell its language, and the share of its commonest among them."""
SAMPLE = 200_000
"""Characters that the tokenizer is tried on."""


def language_of(text: str) -> str:
    """`German`, `Thai`, `Cyrillic script`; empty where it is not told so cheaply."""
    letters = [letter for letter in text[: 2 * LETTERS] if letter.isalpha()][:LETTERS]
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in letters)
    script = max(scripts, key=lambda name: scripts[name], default="")
    if script == "CJK" and scripts["HIRAGANA"] > len(letters) / 20:
        script = "HIRAGANA"
    if script != "LATIN":
        return SCRIPTS.get(script, f"{script.capitalize()} script" if script else "")
    shares = {lang: language_share(text, lang, MIN_WORDS) or 0.0 for lang in sorted(STOP_WORDS)}
    best = max(shares, key=lambda lang: shares[lang])
    return NAMES[best] if shares[best] >= MIN_SHARE else ""


def languages_of(documents: Iterable[Document]) -> Counter[str]:
    """How many texts are in which language, those that cannot be told left out."""
    languages = Counter(language_of(document.text) for document in documents)
    del languages[""]
    return languages


def languages_pretrained_on(params: Params) -> set[str]:
    """The languages that the sources of the base state; empty where one states none."""
    stated = [s.lang.split("-")[0] for s in params.sources.values() if s.role == PRETRAIN.name]
    return {NAMES[lang] for lang in stated} if set(stated) <= NAMES.keys() else set()


def misfit(root: Path, params: Params, documents: list[Document], command: str) -> list[str]:
    """What the tokenizer and the base of `params` do not know of a text, and what helps.

    `command` is the one that takes the text, but for its base.
    """
    counts, known = languages_of(documents), languages_pretrained_on(params)
    foreign = {name: n for name, n in counts.most_common() if known and name not in known}
    is_foreign = sum(foreign.values()) > len(documents) / 2
    tokenizer = built_tokenizer(root, params)
    lines = []
    if tokenizer is not None:
        from minigpt.tokenizer.tokenize import FEW_BYTES

        length = bytes_a_token(tokenizer, documents)
        if length < FEW_BYTES:
            lines.append(
                f"the tokenizer does not know this text: {length:.2f} bytes a token, so the model "
                "sees little of it at once"
            )
    elif is_foreign and not set(foreign) & told_by_words():
        lines.append(
            f"the tokenizer will not know this text ({next(iter(foreign))}): about 1 byte a token, "
            "so the model sees little of it at once"
        )
    if is_foreign:
        lines.append(
            f"the base was never made for it: it has read {', '.join(sorted(known))}, this is "
            f"in {', '.join(foreign)}"
        )
    return [*lines, cure(root, documents, set(foreign), command)] if lines else []


def cure(root: Path, documents: list[Document], languages: set[str], command: str) -> str:
    """The commands that help a text which the base was not made for."""
    text_bytes = sum(document.n_bytes for document in documents)
    fitting = [
        name
        for name in preset_names(root)
        if name != "local" and languages & languages_pretrained_on(load_preset(root, name))
    ]
    ways = [f"take the base of preset {name}: {command} --base {name}" for name in fitting]
    if text_bytes >= OWN_BASE_BYTES:
        ways.append(f"train tokenizer and base on it: {command} --base own")
    else:
        ways.append(
            f"add text: from {size_of(OWN_BASE_BYTES)} on (here {size_of(text_bytes)}) "
            f"it can have a tokenizer and a base of its own: {command} --base own"
        )
    return "; or ".join(ways)


def told_by_words() -> set[str]:
    """The languages of Latin letters: of those a tokenizer made from English joins some too."""
    return {NAMES[lang] for lang in STOP_WORDS}


def bytes_a_token(tokenizer: "Tokenizer", documents: list[Document]) -> float:
    """Of a sample of these texts."""
    texts, left = [], SAMPLE
    for document in documents:
        texts.append(document.text[:left])
        left -= len(texts[-1])
        if left <= 0:
            break
    tokens = sum(len(ids) for ids in tokenizer.encode_batch(texts, 1))
    return sum(len(text.encode()) for text in texts) / max(1, tokens)


def built_tokenizer(root: Path, params: Params) -> "Tokenizer | None":
    """The tokenizer that is built here, where dvc.lock says that it is the one of `params`."""
    if not ((root / TOKENIZER).is_dir() and is_built(root, params, PRETRAIN)):
        return None
    from minigpt.tokenizer.bpe import Tokenizer

    try:
        return Tokenizer.load(root / TOKENIZER)
    except PackageError:
        return None


def is_built(root: Path, params: Params, role: Role) -> bool:
    """Whether dvc.lock says that tokenizer and sources of `role` are those of `params`."""
    lock = root / LOCK
    if not lock.is_file():
        return False
    stages, wanted = stages_of(lock.read_bytes()), dumped(params)
    try:
        sources = stages["download"]["params"][PARAMS.name]["sources"]
        config = stages["train_tokenizer"]["params"][PARAMS.name]["tokenizer"]
    except (KeyError, TypeError):
        return False
    return config == wanted["tokenizer"] and all(
        sources_for(one, sources) == sources_for(one, wanted["sources"]) for one in {PRETRAIN, role}
    )


def sources_for(role: Role, sources: Any) -> dict[str, Any]:
    """Those of `sources` that have this role."""
    return {name: values for name, values in sources.items() if values["role"] == role.name}
