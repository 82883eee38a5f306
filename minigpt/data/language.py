"""Is a text in the language it is said to be in? By its commonest words, or by its script."""

import re

COMMON = {
    "en": "the of and to a in that i is it for not with as you my his be this but he have by "
    "him so we all her me our your will are from or which on was at they their she its an "
    "no thou had",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als "
    "auch es an er so dass sie ich wir zum zur war haben hat aus bei nach wie noch einen "
    "um oder aber",
    "fr": "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce "
    "il sont mais comme ou si leur y dont elle je vous nous son sa aux avec tout à l d qu "
    "n s",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más o "
    "pero sus le ha me si sin sobre este ya entre cuando todo esta ser son dos también "
    "fue había era muy",
    "it": "di e che la il un a per è in una mi sono ho non ma lo ha le si ti i con cosa se io "
    "come da ci no questo qui del al bene tu sei della dei gli nel alla più anche o era "
    "suo l",
}
STOP_WORDS = {lang: frozenset(words.split()) for lang, words in COMMON.items()}
WORD = re.compile(r"[^\W\d_]+")
HAN = re.compile(r"[\u3400-\u9fff]")
SAMPLE = 50_000
"""Characters from the beginning that are looked at."""


def language_share(text: str, lang: str, min_words: int) -> float | None:
    """Share of words (Chinese: of letters) that speak for `lang`; None where it cannot be told."""
    language, sample = lang.split("-")[0].lower(), text[:SAMPLE]
    words = WORD.findall(sample.lower())
    if language == "zh":
        letters = sum(map(len, words))
        return len(HAN.findall(sample)) / letters if letters >= min_words else None
    if language not in STOP_WORDS or len(words) < min_words:
        return None
    return sum(word in STOP_WORDS[language] for word in words) / len(words)
