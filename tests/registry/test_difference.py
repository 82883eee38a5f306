import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from minigpt.package import tensor_digest
from minigpt.registry.verification.difference import describe, read_slots, values

NAME = "models/finetuned/model.safetensors"


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    return {
        "block.0.up.weight": torch.randn(5, 7),
        "block.1.up.weight": torch.randn(3, 4).to(torch.bfloat16),
        "steps": torch.arange(6),
    }


def saved(path, tensors):
    save_file(tensors, path)
    return path


def test_the_first_tensor_index_and_both_values_are_named(tmp_path, tensors):
    before = saved(tmp_path / "before", tensors)
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    changed["block.1.up.weight"][2, 1] = 0.5
    changed["steps"][3] = 9
    said = describe(saved(tmp_path / "now", changed), NAME, before)
    was = f"{tensors['block.1.up.weight'][2, 1].item():.3g}"
    assert said in (
        f"first at block.1.up.weight[2, 1]: {was} became 0.5",
        "first at steps[3]: 3 became 9",  # whichever comes first in the file
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_values_are_those_that_were_saved(tmp_path, kind):
    tensor = (torch.randn(4, 3) * 10).to(kind)
    path = saved(tmp_path / "one", {"x": tensor})
    [slot] = read_slots(path)
    np.testing.assert_array_equal(values(path, slot), tensor.to(torch.float64).numpy())


def test_the_least_bit_of_a_value_is_shown_with_enough_digits(tmp_path):
    one = torch.tensor([1.0, 2.0])
    before = saved(tmp_path / "before", {"x": one})
    now = tmp_path / "now"
    data = bytearray(before.read_bytes())
    data[-4] ^= 1
    now.write_bytes(data)
    assert describe(now, NAME, before) == "first at x[1]: 2 became 2.00000024"


def test_without_the_original_the_tensor_is_found_by_its_digest(tmp_path, tensors):
    digests = {name: tensor_digest(tensor) for name, tensor in tensors.items()}
    changed = tensors | {"steps": torch.arange(6) + 1}
    now = saved(tmp_path / "now", changed)
    assert describe(now, NAME, None, digests) == (
        "first in steps (its sha256 is not that of model.json)"
    )
    assert "nowhere to compare" in describe(now, NAME, None)


def test_a_changed_shape_a_lost_tensor_and_another_header_are_told_apart(tmp_path, tensors):
    before = saved(tmp_path / "before", tensors)
    shaped = saved(tmp_path / "shaped", tensors | {"steps": torch.arange(7)})
    assert "steps was I64[6], is I64[7]" in describe(shaped, NAME, before)
    lost = saved(tmp_path / "lost", {"steps": tensors["steps"]})
    assert "is not in it" in describe(lost, NAME, before)
    save_file(tensors, tmp_path / "noted", metadata={"a": "b"})
    assert "byte" in describe(tmp_path / "noted", NAME, before)


def test_a_damaged_header_falls_back_to_the_first_byte(tmp_path, tensors):
    before = saved(tmp_path / "before", tensors)
    data = bytearray(before.read_bytes())
    data[8] ^= 0xFF
    (tmp_path / "now").write_bytes(data)
    assert describe(tmp_path / "now", NAME, before) == "first at byte 8: 0x7b became 0x84"
    (tmp_path / "short").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    assert read_slots(tmp_path / "short") == []


def test_a_file_that_was_cut_off_is_compared_by_its_bytes(tmp_path, tensors):
    before = saved(tmp_path / "before", tensors)
    whole, now = before.read_bytes(), tmp_path / "now"
    for lost in (1, 60):  # within the last tensor, and more than it
        now.write_bytes(whole[:-lost])
        cut = f"{len(whole):,} bytes became {len(whole) - lost:,}; equal up to byte "
        assert describe(now, NAME, before).startswith(cut)
        assert describe(before, NAME, now).startswith(f"{len(whole) - lost:,} bytes became")
        assert "nowhere to compare" in describe(now, NAME, None, {"steps": "0" * 64})


@pytest.mark.parametrize(
    "edit", [("[0,48]", "[0,40]"), ("[0,48]", "[0,98]"), ("[0,48]", "[9,48]"), ("[6]", "[7]")]
)
def test_a_tensor_whose_place_does_not_fit_its_shape_is_damage(tmp_path, edit):
    before, now = saved(tmp_path / "before", {"x": torch.arange(6)}), tmp_path / "now"
    was, wrong = (text.encode() for text in edit)
    assert was in before.read_bytes()
    now.write_bytes(before.read_bytes().replace(was, wrong))
    assert read_slots(now) == []
    assert describe(now, NAME, before).startswith("first at byte ")


def test_of_other_files_the_first_byte_and_the_sizes_are_named(tmp_path):
    before, now = tmp_path / "a.json", tmp_path / "b.json"
    before.write_text(json.dumps({"a": 1}))
    now.write_text(json.dumps({"a": 2}))
    assert describe(now, "a.json", before) == "first at byte 6: 0x31 became 0x32"
    now.write_text(json.dumps({"a": 1}) + "\n")
    assert "8 bytes became 9; equal up to byte 8" in describe(now, "a.json", before)
