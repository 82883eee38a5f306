"""The stage quantize on a tiny package."""

import pytest

from minigpt.digest import digest
from minigpt.package import load_package


def test_both_packages_load_and_keep_the_metas_of_the_original(tiny, quantized):
    for kind in ("int8", "int4"):
        package = load_package(tiny / "models" / kind, verify=True)
        assert package.quantization["kind"] == kind
        assert package.meta == {"step": 7, "quantized_from": digest(tiny / "models/finetuned")}


def test_fewer_bits_are_fewer_bytes(quantized):
    fp32, int8, int4 = (quantized[kind]["bytes"] for kind in ("fp32", "int8", "int4"))
    assert int4 < int8 < 0.4 * fp32


def test_each_package_is_measured_on_every_source(quantized):
    for kind in ("fp32", "int8", "int4"):
        assert quantized[kind]["bits_per_byte"].keys() == {"plays", "speeches"}
    fp32, int8 = (quantized[kind]["bits_per_byte"]["plays"] for kind in ("fp32", "int8"))
    assert quantized["int8"]["relative_difference"]["plays"] == pytest.approx(int8 / fp32 - 1)


def test_int8_differs_less_than_int4(quantized):
    figure = "greatest_logit_difference"
    assert 0 < quantized["int8"][figure] < quantized["int4"][figure]
    assert quantized["int8"]["layer_error"]["mean"] < quantized["int4"]["layer_error"]["mean"]


def test_the_last_line_tells_sizes_and_losses(quantized, run):
    [line] = [said for said in run.said if said.startswith("fp32")]
    assert "int8 0.1 MB (" in line
    assert "% bits per byte)" in line
