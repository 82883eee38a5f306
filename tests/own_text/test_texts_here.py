"""What `minigpt plan` knows of the text before anything runs."""

from pathlib import Path

import yaml

from minigpt.files import write_json
from minigpt.own_text.steps import BYTES_A_TOKEN
from minigpt.own_text.texts_here import TextAmount, in_all, text_amounts, texts_here
from minigpt.params import Params
from minigpt.presets import checked, dumped, load_preset, merge

ROOT = Path(__file__).parents[2]


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


def write_built(root: Path, params: Params, bytes_of: dict[str, int]) -> None:
    """What a build of `params` leaves of its tokens: 123 of each role."""
    values = dumped(params)
    stages = {
        "download": {"params": {"params.yaml": {"sources": values["sources"]}}},
        "train_tokenizer": {"params": {"params.yaml": {"tokenizer": values["tokenizer"]}}},
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    for name, size in bytes_of.items():
        splits = {"train": {"tokens": 123, "sources": {name: {"bytes": size}}}}
        role = params.sources[name].role
        write_json(root / f"data/tokens/{role}/manifest.json", {"format": 1, "splits": splits})


def test_tokenized_text_is_counted_where_its_sources_are_those_of_params(tmp_path):
    params = local_params()
    write_built(tmp_path, params, {"shakespeare": 400})
    assert text_amounts(tmp_path, params, {}) == {"pretrain": TextAmount(123, counted=True)}
    other = checked(merge(dumped(params), {"tokenizer": {"vocab_size": 1000}}), "here")
    assert text_amounts(tmp_path, other, {}) == {}


def test_a_text_that_was_edited_since_is_estimated(tmp_path):
    params = local_params()
    letter = tmp_path / "data/local/letters/1.txt"
    letter.parent.mkdir(parents=True)
    letter.write_text("Dear friend, " * 400)
    texts = texts_here(tmp_path, params)
    size = sum(d.n_bytes for d in texts["letters"] if d.split == "train")
    write_built(tmp_path, params, {"letters": size})
    assert text_amounts(tmp_path, params, texts) == {"finetune": TextAmount(123, counted=True)}
    letter.write_text("Dear friend, " * 500)
    amounts = text_amounts(tmp_path, params, texts_here(tmp_path, params))
    assert not amounts["finetune"].counted


def test_a_training_on_all_text_counts_it_together():
    amounts = [TextAmount(100, counted=True), TextAmount(50, counted=False)]
    assert in_all(amounts) == TextAmount(150, counted=False)
    assert in_all(amounts[:1]) == amounts[0]
