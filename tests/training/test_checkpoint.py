import errno
import json

import pytest
import torch

from minigpt.errors import CheckpointError
from minigpt.training import checkpoint
from minigpt.training.checkpoint import STATE, TENSORS, Checkpoints, load_newest, save, saved
from minigpt.training.state import TrainState


def write(folder, *steps):
    for step in steps:
        save(folder, step, {"w": torch.full((4,), float(step))}, {"train": {"step": step}})


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_the_two_newest_are_kept(tmp_path):
    write(tmp_path, 5, 10, 120)
    assert [path.name for path in saved(tmp_path)] == ["checkpoint-00000120", "checkpoint-00000010"]
    assert not list(tmp_path.glob(".*"))


def test_nothing_to_load_is_none(tmp_path):
    assert load_newest(tmp_path, pytest.fail) is None


@pytest.mark.parametrize("file", [TENSORS, STATE])
@pytest.mark.parametrize("damage", ["flipped bit", "cut", "missing"])
def test_a_torn_one_is_named_and_the_one_before_is_used(tmp_path, file, damage):
    write(tmp_path, 1, 2)
    path = tmp_path / "checkpoint-00000002" / file
    if damage == "flipped bit":
        flip(path, at=-9)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.unlink()
    said = []
    tensors, body = load_newest(tmp_path, said.append)
    assert body["step"] == 1
    assert tensors["w"].tolist() == [1.0] * 4
    assert len(said) == 1
    assert said[0].startswith("checkpoint-00000002 is torn")


def test_one_that_cannot_be_read_just_now_is_kept(tmp_path, monkeypatch):
    write(tmp_path, 1, 2)

    def failing_disk(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(checkpoint, "file_digest", failing_disk)
    with pytest.raises(CheckpointError, match=r"00000002/tensors\S+: Input/output error"):
        load_newest(tmp_path, pytest.fail)
    monkeypatch.undo()
    assert load_newest(tmp_path, pytest.fail)[1]["step"] == 2


def test_another_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("minigpt.training.checkpoint.FORMAT", 2)
    write(tmp_path, 1)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 2, this code reads 1"):
        load_newest(tmp_path, pytest.fail)


def test_state_json_is_for_people_too(tmp_path):
    write(tmp_path, 3)
    body = json.loads((tmp_path / "checkpoint-00000003" / STATE).read_text())
    assert (body["step"], body["state"]) == (3, {"train": {"step": 3}})


def test_restore_fills_tensors_in_place_and_the_random_state(tmp_path):
    state, weight = TrainState.new(100), torch.zeros(3)
    checkpoints = Checkpoints(tmp_path, {"w": weight}, {"train": state}, every_seconds=1e9)
    weight.fill_(2)
    state.advance(tokens=7, loss=0.1)
    checkpoints.save(step=1)
    expected = torch.rand(2)

    weight.zero_()
    state = TrainState.new(100)
    Checkpoints(tmp_path, {"w": weight}, {"train": state}, every_seconds=1e9).restore(str)
    assert weight.tolist() == [2, 2, 2]
    assert (state.step, state.tokens, state.curve.loss_sum) == (1, 7, 0.1)
    assert torch.equal(torch.rand(2), expected)
