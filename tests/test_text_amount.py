"""What `minigpt plan` knows of the text before anything runs."""

from pathlib import Path

from minigpt.files import write_json
from minigpt.own_text.plan import texts_here
from minigpt.own_text.steps import BYTES_A_TOKEN
from minigpt.params import Params
from minigpt.presets import checked, dumped, load_preset, merge
from minigpt.text_amount import TextAmount, text_amounts

ROOT = Path(__file__).parents[1]


def local_params() -> Params:
    letters = {
        "kind": "local",
        "path": "data/local/letters",
        "role": "finetune",
        "licence": "private",
    }
    sources = {"shakespeare": dumped(load_preset(ROOT, "local"))["sources"]["shakespeare"]}
    changes = {"sources": sources | {"letters": letters}}
    return checked(merge(dumped(load_preset(ROOT, "local")), changes), "here")


def test_text_in_files_is_estimated_and_text_to_fetch_is_unknown(tmp_path):
    params = local_params()
    letters = tmp_path / "data/local/letters"
    letters.mkdir(parents=True)
    for number in range(10):
        (letters / f"{number}.txt").write_text(f"Dear friend {number}, " + f"{number} " * 400)
    amounts = text_amounts(tmp_path, params, texts_here(tmp_path, params))
    assert set(amounts) == {"finetune"}
    assert not amounts["finetune"].counted
    # About eight of the ten letters train.
    assert 0.6 < amounts["finetune"].tokens * BYTES_A_TOKEN / 8_000 < 0.9


def test_tokenized_text_is_counted_where_its_sources_are_those_of_params(tmp_path):
    params = local_params()
    for role, source in (("pretrain", "shakespeare"), ("finetune", "sotu")):
        splits = {"train": {"tokens": 123, "sources": {source: {}}}}
        manifest = tmp_path / "data/tokens" / role / "manifest.json"
        write_json(manifest, {"format": 1, "splits": splits})
    assert text_amounts(tmp_path, params, texts_here(tmp_path, params)) == {
        "pretrain": TextAmount(123, counted=True)
    }
