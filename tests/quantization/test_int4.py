"""4-bit codes and their scales."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt.quantization.int4 import HIGH, LOW, from_int4, pack, to_int4, unpack


@given(st.lists(st.integers(LOW, HIGH), min_size=2, max_size=64).filter(lambda c: len(c) % 2 == 0))
def test_unpack_undoes_pack(codes):
    given_codes = torch.tensor([codes], dtype=torch.float32)
    packed = pack(given_codes)
    assert packed.dtype == torch.uint8
    assert packed.numel() * 2 == len(codes)
    assert torch.equal(unpack(packed), given_codes)


def test_a_byte_holds_the_even_column_in_its_low_half():
    assert pack(torch.tensor([[-8.0, 7.0]])).tolist() == [[0xF0]]


def test_weights_on_the_grid_come_back_exactly():
    grid = torch.arange(LOW, HIGH + 1).float().repeat(4, 2) * 0.25  # (4, 32), scale 0.25 is fp16
    assert torch.equal(from_int4(*to_int4(grid, group_size=16)), grid)


def test_the_longer_side_may_be_positive():
    row = torch.tensor([[8.0, -7.0] + [1.0] * 14])
    assert torch.equal(from_int4(*to_int4(row, group_size=16)), row)  # by a scale of -1


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e5])
def test_zeros_and_any_size_of_weights_stay_finite(size):
    weight = torch.randn(4, 32, generator=torch.Generator().manual_seed(0)) * size
    weight[0] = 0
    back = from_int4(*to_int4(weight, group_size=16))
    assert torch.isfinite(back).all()
    assert torch.equal(back[0], weight[0])


def test_searched_scales_err_less_than_the_widest_weight_does():
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    groups = weight.view(64, -1, 32)
    widest = groups.abs().amax(-1, keepdim=True) / 7
    plain = ((groups / widest).round().clamp(-8, 7) * widest).view_as(weight)
    searched = from_int4(*to_int4(weight, group_size=32))
    assert (searched - weight).norm() < 0.9 * (plain - weight).norm()
