"""Copies with small and large changes are found, other texts are not."""

import pytest

from minigpt.data.document import Document
from minigpt.registry.takedown.near_duplicates import near_duplicates

LETTER = " ".join(f"word{n} of the letter that he sent" for n in range(40))
FOREWORD = " ".join(f"another{n} line of a foreword by the editor" for n in range(80))


def document(text, doc_id="letters/other"):
    return Document(doc_id, text, *[""] * (len(Document.__dataclass_fields__) - 2))


@pytest.mark.parametrize(
    "copy",
    [
        LETTER.upper().replace(" ", "\n"),
        LETTER.replace("word7 ", "seventh ").replace("word30 ", "thirtieth "),
        f"{FOREWORD}\n\n{LETTER}",
        LETTER[: len(LETTER) // 3],
    ],
    ids=["spelling", "edited", "with a foreword", "a third of it"],
)
def test_a_changed_copy_is_found(copy):
    [near] = near_duplicates([LETTER], [document(FOREWORD, "a"), document(copy)])
    assert near.document.doc_id == "letters/other"
    assert near.share > 0.8


def test_the_share_is_that_of_the_shorter_text():
    words = [f"word{n}" for n in range(300)]
    part = [*words[:154], *(f"own{n}" for n in range(96))]  # 150 shared runs of 246
    [near] = near_duplicates([" ".join(words)], [document(" ".join(part))])
    assert near.share == pytest.approx(150 / 246)
    part = [*words[:124], *(f"own{n}" for n in range(126))]  # 120 of 246: below half
    assert near_duplicates([" ".join(words)], [document(" ".join(part))]) == []


def test_a_text_of_a_few_words_is_near_nothing():
    assert near_duplicates(["to be or not to be"], [document("to be or not to be")]) == []


def test_chinese_is_compared_character_by_character():
    poem = "床前明月光疑是地上霜举头望明月低头思故乡"
    assert near_duplicates([poem], [document(f"李白{poem}静夜思")])
    assert not near_duplicates([poem], [document("白日依山尽黄河入海流欲穷千里目更上一层楼")])
