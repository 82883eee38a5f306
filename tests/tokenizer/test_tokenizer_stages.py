import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from minigpt.data import shards
from minigpt.data.document import DOCUMENTS, read_documents, write_documents
from minigpt.data.shards import open_tokens
from minigpt.digest import digest
from minigpt.errors import DataError
from minigpt.files import to_json, write_bytes
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import (
    TokenizeConfig,
    TokenizeParams,
    TokenizerConfig,
    TrainTokenizerParams,
)
from minigpt.tokenizer.stats import count_tokens, usage
from minigpt.tokenizer.tokenize import short, tokenize
from minigpt.tokenizer.train import train_tokenizer

SMALL = TrainTokenizerParams(tokenizer=TokenizerConfig(vocab_size=400))


def test_only_the_pretraining_train_split_shapes_the_tokenizer(documents, run, tmp_path):
    train_tokenizer(documents, tmp_path / "all", SMALL, run)
    own = read_documents(documents, role="pretrain", split="train")
    write_documents(tmp_path / "own" / DOCUMENTS, own)
    train_tokenizer(tmp_path / "own", tmp_path / "alone", SMALL, run)
    assert digest(tmp_path / "all") == digest(tmp_path / "alone")


def test_metrics_tell_of_held_out_text_by_source(documents, run, tmp_path):
    metrics = train_tokenizer(documents, tmp_path / "tokenizer", SMALL, run)
    tokenizer = Tokenizer.load(tmp_path / "tokenizer")
    held_out = read_documents(documents, split="val", source="speeches")
    n_tokens = sum(len(tokenizer.encode(d.text)) for d in held_out)
    ratio = sum(d.n_bytes for d in held_out) / n_tokens
    assert metrics["bytes_per_token"]["speeches"] == pytest.approx(ratio)
    own = metrics["bytes_per_token"]["plays"]
    assert run.said[-1] == f"400 tokens · {own:.2f} bytes a token on held-out text"


def test_no_training_text_is_refused_and_leaves_nothing(documents, run, tmp_path):
    write_documents(tmp_path / "val" / DOCUMENTS, read_documents(documents, split="val"))
    with pytest.raises(DataError, match="no document has role pretrain and split train"):
        train_tokenizer(tmp_path / "val", tmp_path / "tokenizer", SMALL, run)
    assert not (tmp_path / "tokenizer").exists()


@pytest.fixture
def built(documents, run, tmp_path):
    """Folder with tokenizer, pretrain and finetune, in shards of 700 tokens."""
    train_tokenizer(documents, tmp_path / "tokenizer", SMALL, run)
    return build(documents, tmp_path, run)


def build(documents, folder, run, threads=2, windows=None):
    run.machine.threads = threads
    params = TokenizeParams(tokenize=TokenizeConfig(shard_tokens=700))
    outs = (folder / "pretrain", folder / "finetune")
    return tokenize(documents, folder / "tokenizer", *outs, params, run, windows)


def test_shards_hold_every_document_behind_an_end_of_text(documents, built, tmp_path):
    tokenizer = Tokenizer.load(tmp_path / "tokenizer")
    for role in ("pretrain", "finetune"):
        for split in ("train", "val", "test"):
            tokens = open_tokens(tmp_path / role, split, tokenizer.digest)
            texts = [d.text for d in read_documents(documents, role=role, split=split)]
            expected = [[tokenizer.eot_id, *tokenizer.encode(text)] for text in texts]
            assert np.concatenate(expected).tolist() == tokens.ids.tolist()
            assert tokens.ids[tokens.docs[:-1]].tolist() == [tokenizer.eot_id] * len(texts)
            assert tokens.n_bytes == sum(len(text.encode()) for text in texts)


@pytest.fixture
def plays(documents, tmp_path):
    """Folder of documents of a project that does without fine-tuning."""
    rows = read_documents(documents, role="pretrain")
    write_documents(tmp_path / "plays" / DOCUMENTS, rows)
    return tmp_path / "plays"


def test_a_role_that_a_project_does_without_has_a_manifest_of_no_shards(plays, run, tmp_path):
    train_tokenizer(plays, tmp_path / "tokenizer", SMALL, run)
    metrics = build(plays, tmp_path, run, windows={"pretrain": 2})
    assert set(metrics) == {"pretrain"}
    assert [path.name for path in (tmp_path / "finetune").iterdir()] == ["manifest.json"]
    splits = shards.read_manifest(tmp_path / "finetune")["splits"]
    assert [split["docs"] for split in splits.values()] == [0, 0, 0]
    with pytest.raises(DataError, match="the train split is empty"):
        open_tokens(tmp_path / "finetune", "train", Tokenizer.load(tmp_path / "tokenizer").digest)


def test_a_role_that_is_trained_on_needs_documents(plays, run, tmp_path):
    train_tokenizer(plays, tmp_path / "tokenizer", SMALL, run)
    with pytest.raises(DataError, match="no document has role finetune and split train"):
        build(plays, tmp_path, run, windows={"pretrain": 2, "finetune": 2})
    assert not (tmp_path / "finetune").exists()


def test_threads_and_repetition_change_no_byte(documents, built, tmp_path, run):
    (tmp_path / "again").mkdir()
    shutil.copytree(tmp_path / "tokenizer", tmp_path / "again" / "tokenizer")
    assert build(documents, tmp_path / "again", run, threads=1) == built
    for role in ("pretrain", "finetune"):
        assert digest(tmp_path / role) == digest(tmp_path / "again" / role)


class Killed(BaseException):
    """The process is gone: no line of ours runs behind this."""


def build_killed_at(write, documents, folder, run, monkeypatch):
    """Build, but die while the file number `write` is half written; False: there are fewer."""
    count = 0

    def dying(path, data):
        nonlocal count
        count += 1
        if count == write:
            path.with_name(f".{path.name}.part").write_bytes(data[: len(data) // 2])
            raise Killed
        write_bytes(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_bytes", dying)
        patch.setattr(
            shards, "write_json", lambda path, value: dying(path, to_json(value).encode())
        )
        try:
            build(documents, folder, run)
        except Killed:
            return True
    return False


def test_killed_at_any_write_the_next_attempt_goes_on_to_the_same_bytes(
    documents, built, tmp_path, run, monkeypatch
):
    whole = {role: digest(tmp_path / role) for role in ("pretrain", "finetune")}
    other, write, resumed = tmp_path / "other", 0, 0
    other.mkdir()
    shutil.copytree(tmp_path / "tokenizer", other / "tokenizer")
    while build_killed_at(write := write + 5, documents, other, run, monkeypatch):
        assert not (other / "pretrain").exists()
        run.said.clear()
        if not write % 2:  # killed again, further on
            assert build_killed_at(2, documents, other, run, monkeypatch) or write > 20
        assert build(documents, other, run) == built
        resumed += any("resumed behind" in line for line in run.said)
        assert {role: digest(other / role) for role in whole} == whole
        shutil.rmtree(other / "pretrain")
        shutil.rmtree(other / "finetune")
    assert resumed > 3


def test_files_that_a_kill_spoilt_are_written_anew(documents, built, tmp_path, run, monkeypatch):
    whole = digest(tmp_path / "pretrain")
    assert build_killed_at(12, documents, tmp_path, run, monkeypatch)
    shard = run.workdir / "pretrain" / "train-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    run.said.clear()
    assert build(documents, tmp_path, run) == built
    assert not any("resumed" in line for line in run.said)
    assert digest(tmp_path / "pretrain") == whole


def test_the_stage_ends_by_counting_its_tokens(built, run):
    n = {split: sum(built[role][split]["tokens"] for role in built) for split in built["pretrain"]}
    parts = ", ".join(f"{split} {short(n[split])}" for split in ("train", "val", "test"))
    said = f"{short(sum(n.values()))} tokens · {parts} · bytes a token: plays 2."
    assert run.said[-1].startswith(said)
    assert re.search(r"plays 2\.\d\d, speeches 2\.\d\d$", run.said[-1])


def test_text_that_the_tokenizer_does_not_know_is_said_with_its_source(documents, run, tmp_path):
    train_tokenizer(documents, tmp_path / "tokenizer", SMALL, run)
    thai = [
        replace(d, text="สวัสดีครับผมชื่ออาร์ม " * 20) if d.source == "speeches" else d
        for d in read_documents(documents)
    ]
    write_documents(tmp_path / "own" / DOCUMENTS, thai)
    build(tmp_path / "own", tmp_path, run)
    [warning] = [line for line in run.said if "does not know" in line]
    assert re.match(r"speeches: the tokenizer does not know this text, 1\.\d\d bytes", warning)
    assert re.search(r"plays 2\.\d\d, speeches 1\.\d\d$", run.said[-1])


@pytest.mark.parametrize(("role", "source"), [("pretrain", "plays"), ("finetune", "speeches")])
def test_less_text_than_one_window_takes_is_refused_before_anything_trains(
    documents, run, tmp_path, role, source
):
    train_tokenizer(documents, tmp_path / "tokenizer", SMALL, run)
    message = (
        rf"the sources of role {role} have ([\d,]+) tokens in train \({source} \1\), and one "
        rf"window of its training takes 100,001\. .* model\.context_length or {role}\.phases"
    )
    with pytest.raises(DataError, match=message):
        build(documents, tmp_path, run, windows={role: 100_001})
    assert not (tmp_path / role).exists()
    build(documents, tmp_path, run, windows={role: 100})


def test_a_role_without_training_text_is_refused_and_leaves_nothing(documents, run, tmp_path):
    train_tokenizer(documents, tmp_path / "tokenizer", SMALL, run)
    write_documents(tmp_path / "own" / DOCUMENTS, read_documents(documents, role="pretrain"))
    with pytest.raises(DataError, match="no document has role finetune and split train"):
        build(tmp_path / "own", tmp_path, run)
    assert not (tmp_path / "finetune").exists()


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7"), (96_000, "96.0k"), (246_691, "0.2M"), (4_900_000, "4.9M")]
)
def test_counts_read_in_one_glance(count, text):
    assert short(count) == text


def test_usage_counts_what_is_never_and_what_is_evenly_used(tokenizer):
    n = len(tokenizer.ranks)
    even = np.ones(tokenizer.vocab_size, dtype=np.int64)
    assert usage(even, tokenizer)["renyi_efficiency"] == pytest.approx(1)
    one = count_tokens([np.array([65, 65])], tokenizer.vocab_size)
    assert usage(one, tokenizer) == {
        "unused_share": pytest.approx(1 - 1 / n),
        "fragment_share": 0,
        "renyi_efficiency": pytest.approx(0),
    }
    fragment = count_tokens([np.array([0xE8, 65])], tokenizer.vocab_size)
    assert usage(fragment, tokenizer)["fragment_share"] == pytest.approx(0.5)
