"""Formats of an explicit mask: padding on either side, and steps behind it, as each row alone."""

import pytest
import torch

from minigpt.export.config import ExportConfig
from minigpt.export.exporters import EXPORTERS
from minigpt.model.config import POSITIONS

from .conftest import SIZES
from .test_onnx import padded


@pytest.mark.parametrize("position", ["alibi", "learned", "rope"])
@pytest.mark.parametrize("name", ["tensorflow", "torch_export", "torchscript"])
def test_a_row_of_a_padded_batch_is_as_if_it_were_alone(
    make_package, ids, name, position, tmp_path
):
    package = make_package(SIZES.replace(n_layer=1, position=POSITIONS[position]()))
    EXPORTERS[name].export(package, tmp_path, ExportConfig())
    (model,) = EXPORTERS[name].models
    decoder = model.decode(tmp_path / model.file, 1)
    rows, steps = [ids[0, :1], ids[1, :11], ids[0, 20:27]], ids[:, 30:33].repeat(2, 1)[:3]
    for side in ("left", "right"):
        batch, mask = padded(rows, side)
        logits, past = decoder(batch, mask=mask)
        alone = [decoder(row[None]) for row in rows]
        for row, (single, _), seen in zip(logits, alone, mask, strict=True):
            torch.testing.assert_close(row[seen.bool()], single[0], atol=1e-5, rtol=1e-5)
        for step in steps.split(1, dim=1):
            mask = torch.cat((mask, torch.ones_like(step)), 1)
            logits, past = decoder(step, past, mask)
            alone = [decoder(one[None], past) for one, (_, past) in zip(step, alone, strict=True)]
            singles = torch.cat([single for single, _ in alone])
            torch.testing.assert_close(logits, singles, atol=1e-5, rtol=1e-5)
