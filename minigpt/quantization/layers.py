"""Linear and Embedding layers that hold codes and scales, and multiply by what these stand for."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minigpt.quantization import int4, int8
from minigpt.quantization.nearest import Rounding, nearest


class QuantizedWeight(nn.Module):
    """A (rows, columns) matrix in 8 bits (`group_size` None) or in 4-bit groups."""

    codes: Tensor
    scale: Tensor

    def __init__(self, rows: int, columns: int, group_size: int | None, device: torch.device):
        super().__init__()
        self.rows, self.columns, self.group_size = rows, columns, group_size
        if group_size is None:
            codes = torch.zeros(rows, columns, dtype=torch.int8, device=device)
            scale = torch.zeros(rows, 1, dtype=torch.float16, device=device)
        else:
            codes = torch.zeros(rows, columns // 2, dtype=torch.uint8, device=device)
            scale = torch.zeros(rows, columns // group_size, dtype=torch.float16, device=device)
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Neighbours of a row that share a scale, lowest and highest code."""
        if self.group_size is None:
            return self.columns, int8.LOW, int8.HIGH
        return self.group_size, int4.LOW, int4.HIGH

    def fill(self, weight: Tensor, rounding: Rounding = nearest) -> None:
        """Take the codes and scales that `rounding` finds for `weight` (rows, columns)."""
        codes, scale = (
            int8.to_int8(weight, rounding)
            if self.group_size is None
            else int4.to_int4(weight, self.group_size, rounding)
        )
        self.codes.copy_(codes)
        self.scale.copy_(scale)

    @property
    def weight(self) -> Tensor:
        """(rows, columns) fp32, made anew at each call: memory stays small."""
        return self.dequantize(self.codes, self.scale)

    def dequantize(self, codes: Tensor, scale: Tensor) -> Tensor:
        """Rows of codes and their scales -> rows of fp32 weights."""
        return (int8.from_int8 if self.group_size is None else int4.from_int4)(codes, scale)


class QuantizedLinear(QuantizedWeight):
    """As nn.Linear(columns, rows, bias=False), or with the bias of the layer it stands for."""

    bias: nn.Parameter | None

    def __init__(self, rows: int, columns: int, group_size: int | None, device: torch.device):
        super().__init__(rows, columns, group_size, device)
        self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """(…, columns) -> (…, rows)."""
        return F.linear(x, self.weight.to(x.dtype), self.bias)


class QuantizedEmbedding(QuantizedWeight):
    """As nn.Embedding(rows, columns); only the rows asked for are made."""

    @property
    def num_embeddings(self) -> int:
        """Rows, in nn.Embedding's words."""
        return self.rows

    def forward(self, ids: Tensor) -> Tensor:
        """(…) int64 -> (…, columns)."""
        return self.dequantize(self.codes[ids], self.scale[ids])
