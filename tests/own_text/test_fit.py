"""What a tokenizer and a base do not know of a text is said beforehand, with what helps."""

import random
import re

import pytest
import yaml

from minigpt.cli import look
from minigpt.data.sources.local import LocalSource
from minigpt.own_text import fit, own_base
from minigpt.own_text.fit import built_tokenizer, language_of
from minigpt.own_text.plan import plan_own_text
from minigpt.own_text.texts_here import plan_remarks, texts_here
from minigpt.presets import dumped, load_preset
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig
from tests.letters import LETTER, letters_in

THAI = "เมื่อวานเราเดินขึ้นไปตามแม่น้ำไกลกว่าที่เคยไปมาก่อน"
GERMAN = (
    "Am nächsten Tag gingen wir weiter den Fluss hinauf als je zuvor, und es war nicht ein Mensch "
    "da, der uns sagte, wie weit es noch zu dem Dorf an der Grenze ist.\n"
)
CHINESE = "次日我們沿著河走得比以前更遠了一些然後回來"


@pytest.fixture
def write(tmp_path):
    """Twelve texts out of the letters of another one, each like no other."""

    def texts(sample, words=False):
        folder = tmp_path / "texts"
        folder.mkdir()
        pieces = sample.split() if words else list(sample)
        for number in range(12):
            order = random.Random(number)
            lines = [order.choices(pieces, k=40) for _ in range(40)]
            text = "\n\n".join((" " if words else "").join(line) for line in lines)
            (folder / f"{number:02}.txt").write_text(text)
        return folder

    return texts


@pytest.mark.parametrize(
    ("text", "language"),
    [(LETTER, "English"), (GERMAN * 3, "German"), (THAI * 3, "Thai"), (CHINESE, "Chinese"),
     ("昨日は川を上流へと歩いていきました。", "Japanese"), ("Вчера мы шли", "Cyrillic script"),
     ("", ""), ("1862 … 1863", ""), ("Lorem ipsum dolor sit amet " * 20, "")],
)  # fmt: skip
def test_a_language_is_told_by_its_words_or_its_letters(text, language):
    assert language_of(text) == language


def test_a_text_in_other_letters_is_told_before_anything_is_built(root, write):
    said = "\n".join(plan_own_text(root, write(THAI)).said)
    assert "the tokenizer will not know this text (Thai): about 1 byte a token" in said
    assert "the base was never made for it: it has read English, this is in Thai" in said
    assert "add text: from 1.0 MB on (here " in said
    assert f"--path {root.parent / 'texts'} --base own" in said


def test_a_text_in_another_language_of_the_same_letters_has_the_tokenizer_but_not_the_base(
    root, write
):
    said = "\n".join(plan_own_text(root, write(GERMAN, words=True)).said)
    assert "tokenizer will not know" not in said
    assert "it has read English, this is in German" in said


def test_nothing_is_said_of_a_text_that_the_base_was_made_for(root, letters):
    said = "\n".join(plan_own_text(root, letters).said)
    assert "base" not in said
    assert "tokenizer" not in said


@pytest.fixture
def built(root):
    """models/tokenizer, and the dvc.lock that says what it was made from."""

    def build(params, text=LETTER):
        config = TokenizerConfig(vocab_size=300)
        Tokenizer.train([text], config).save(root / "models" / "tokenizer")
        values = dumped(params)
        lock = {
            "schema": "2.0",
            "stages": {
                "download": {"cmd": "x", "params": {"params.yaml": {"sources": values["sources"]}}},
                "train_tokenizer": {
                    "cmd": "x", "params": {"params.yaml": {"tokenizer": values["tokenizer"]}},
                },
            },
        }  # fmt: skip
        (root / "dvc.lock").write_text(yaml.safe_dump(lock))

    return build


def test_a_tokenizer_that_is_built_is_tried(root, write, built):
    folder = write(THAI)
    own = plan_own_text(root, folder)
    built(load_preset(root, "local"))
    assert built_tokenizer(root, own.params) is not None
    said = "\n".join(own.said)
    assert re.search(r"the tokenizer does not know this text: 1\.0\d bytes a token", said), said
    built(load_preset(root, "local"), text=THAI * 20)
    assert "the tokenizer does not know" not in "\n".join(own.said)


def test_a_tokenizer_of_other_text_is_not_asked(root, write, built):
    own = plan_own_text(root, write(THAI))
    built(load_preset(root, "tiny"))
    assert built_tokenizer(root, own.params) is None
    assert "the tokenizer will not know this text" in "\n".join(own.said)


def test_plan_says_it_of_the_texts_that_lie_here(root, write):
    folder = write(THAI)
    own = plan_own_text(root, folder)
    own.copy()
    remarks = plan_remarks(root, own.params, texts_here(root, own.params))
    assert remarks[0].startswith("texts: the tokenizer will not know this text (Thai)")
    assert remarks[-1].endswith(f"--path {folder} --base own")
    linked = {"texts": LocalSource(role="finetune", licence="private", path=str(folder))}
    params = own.params.replace(sources=own.params.sources | linked)
    of_linked = plan_remarks(root, params, texts_here(root, params))
    assert of_linked == [*remarks[:-1], remarks[-1].replace("--base", "--link --base")]


def test_where_there_is_enough_of_it_a_base_of_its_own_is_named_and_a_preset_that_fits(
    root, write, monkeypatch
):
    preset = root / "presets" / "poems.yaml"
    preset.write_text((root / "presets" / "tiny.yaml").read_text().replace("lang: en", "lang: zh"))
    monkeypatch.setattr(fit, "OWN_BASE_BYTES", 10_000)
    folder = write(CHINESE)
    said = "\n".join(plan_own_text(root, folder).said)
    assert (
        f"take the base of preset poems: minigpt preset local --path {folder} --base poems; or "
        f"train tokenizer and base on it: minigpt preset local --path {folder} --base own"
    ) in said


def test_the_base_of_another_preset_is_taken_with_its_sizes(root, tmp_path, monkeypatch):
    monkeypatch.setattr(look, "project_root", lambda: root)
    own = plan_own_text(root, letters_in(tmp_path), base="tiny")
    tiny = load_preset(root, "tiny")
    assert own.params.roles == {"plays": "pretrain", "letters": "finetune"}
    for section in ("tokenizer", "model", "pretrain"):
        assert getattr(own.params, section) == getattr(tiny, section)
    assert own.params.validation == load_preset(root, "local").validation
    assert own.params.release.name == "minigpt-letters"
    with pytest.raises(Exception, match="--base 'tinny': expected own, or a preset"):
        plan_own_text(root, tmp_path / "letters", base="tinny")


def test_the_table_of_sizes_is_in_order_and_each_row_fits_the_defaults():
    least = [size.least for size in own_base.SIZES]
    assert least == sorted(least, reverse=True)
    assert least[-1] == own_base.OWN_BASE_BYTES
