"""8-bit codes and their scales."""

import torch

from minigpt.quantization.int8 import from_int8, to_int8


def test_each_row_has_its_own_scale():
    weight = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    weight = weight * torch.tensor([[0.001], [1.0], [1000.0]])
    codes, scale = to_int8(weight)
    assert codes.dtype == torch.int8
    assert scale.dtype == torch.float16
    error = (from_int8(codes, scale) - weight).norm(dim=1) / weight.norm(dim=1)
    # A step is 1/127 of the largest of 64 weights, near 3 deviations; its rounding error is even:
    # 3 / 127 / sqrt(12) = 0.007 of a deviation.
    assert error.max() < 0.01


def test_a_row_of_zeros_stays_zero():
    assert not from_int8(*to_int8(torch.zeros(2, 8))).any()


def test_codes_are_the_same_in_every_run():
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    first, second = to_int8(weight), to_int8(weight.clone())
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
