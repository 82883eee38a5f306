"""The stage quantize on a tiny package."""

import pytest

from minigpt.digest import digest
from minigpt.package import load_package
from minigpt.quantization.config import QuantizeConfig, QuantizeParams
from minigpt.release.quantize import quantize

def test_both_packages_load_and_keep_the_metas_of_the_original(tiny, result):
    for kind in ("int8", "int4"):
        package = load_package(tiny / "models" / kind, verify=True)
        assert package.quantization["kind"] == kind
        assert package.meta == {"step": 7, "quantized_from": digest(tiny / "models/finetuned")}


def test_fewer_bits_are_fewer_bytes(result):
    assert result["int4"]["bytes"] < result["int8"]["bytes"] < 0.4 * result["fp32"]["bytes"]


def test_each_package_is_measured_on_every_source(result):
    for kind in ("fp32", "int8", "int4"):
        assert result[kind]["bits_per_byte"].keys() == {"plays", "speeches"}
    assert result["int8"]["relative_difference"]["plays"] == pytest.approx(
        result["int8"]["bits_per_byte"]["plays"] / result["fp32"]["bits_per_byte"]["plays"] - 1
    )


def test_int8_differs_less_than_int4(result):
    figure = "greatest_logit_difference"
    assert 0 < result["int8"][figure] < result["int4"][figure]
    assert result["int8"]["layer_error"]["mean"] < result["int4"]["layer_error"]["mean"]


def test_the_last_line_tells_sizes_and_losses(run, result):
    assert "int8 0.1 MB (" in run.said[-1]
    assert "% bits per byte)" in run.said[-1]
