"""The stage quantize on a tiny package."""

import re

import pytest

from minigpt.digest import digest
from minigpt.errors import ParamsError
from minigpt.machine import Machine
from minigpt.package import load_package
from minigpt.release.config import AwareTrainingConfig, QuantizeConfig, QuantizeParams
from minigpt.release.quantize import quantize
from minigpt.run import Run
from minigpt.tracking import NullTracker
from minigpt.training.config import Steps


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


def test_the_interval_of_a_difference_is_told(quantized):
    for kind in ("int8", "int4"):
        for source, change in quantized[kind]["relative_difference"].items():
            interval = quantized[kind]["relative_interval"][source]
            # The same sums in another order; over one passage an interval has no width.
            assert interval["low"] - 1e-9 <= change <= interval["high"] + 1e-9
            assert interval["high"] - interval["low"] < 0.01


def test_int8_differs_less_than_int4_in_every_layer(tiny, quantized):
    for figure in ("greatest_logit_difference", "relative_logit_difference"):
        assert 0 < quantized["int8"][figure] < quantized["int4"][figure]
    eight, four = (quantized[kind]["layer_error"] for kind in ("int8", "int4"))
    assert (
        eight.keys()
        == four.keys()
        == load_package(tiny / "models/int4").quantization["layers"].keys()
    )
    in_4_bits = eight.keys() - quantized["int4"]["in_8_bits"]
    assert all(0 < eight[name] < four[name] for name in in_4_bits)


def test_tables_are_kept_in_8_bits_by_what_they_cost_as_far_as_the_size_allows(
    tiny, quantized, tmp_path
):
    assert quantized["int4"]["in_8_bits"] == ["embed", "head"]
    costs = quantized["int4"]["table_costs"]
    dearest = max(costs, key=costs.get)
    for share, kept in ((0.16, []), (0.2, [dearest])):
        results = quantized_with(tiny, tmp_path, new_run(tmp_path), int4_share=share)
        assert results["int4"]["in_8_bits"] == kept
        # The bound is on the weights; the file's header comes to that.
        assert results["int4"]["bytes"] < share * results["fp32"]["bytes"] + 4000


def test_layers_that_params_name_are_those_in_8_bits(tiny, tmp_path):
    named = ("blocks.0.mlp.down",)
    results = quantized_with(tiny, tmp_path, new_run(tmp_path), int8_in_int4=named)
    assert results["int4"]["in_8_bits"] == ["blocks.0.mlp.down"]
    assert "table_costs" not in results["int4"]


def test_a_group_that_does_not_divide_the_tables_rows_is_refused(tiny, tmp_path):
    with pytest.raises(ParamsError, match=r"int4_group_size: 128 does not divide the 64 columns"):
        quantized_with(tiny, tmp_path, new_run(tmp_path), int4_group_size=128)
    assert not (tmp_path / "int8").exists()


def test_training_with_the_rounding_in_place_is_an_option(tiny, quantized, tmp_path):
    config = AwareTrainingConfig(duration=Steps(max_steps=30), tokens_per_step=96, lr=0.002)
    results, digests = [], []
    for n in range(2):
        run, out = new_run(tmp_path / f"work {n}"), tmp_path / f"out {n}"
        run.progress = (said := []).append
        results.append(quantized_with(tiny, out, run, finetune=config))
        digests.append(digest(out / "int4"))
        assert any("step 30" in line for line in said)
    assert results[0] == results[1]
    assert digests[0] == digests[1] != digest(tiny / "models/int4")
    assert results[0]["int4"]["finetune"]["steps"] == 30
    assert results[0]["int8"] == quantized["int8"]
    # A model of random weights learns a verse that it has never seen; rounding hides none of it.
    for source, before in quantized["fp32"]["bits_per_byte"].items():
        assert results[0]["int4"]["bits_per_byte"][source] < before
    load_package(tmp_path / "out 0" / "int4", verify=True)


def quantized_with(tiny, out, run, **settings):
    config = QuantizeConfig(max_bytes=400, logit_tokens=40, calibration_tokens=480, **settings)
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    return quantize(*inputs, out / "int8", out / "int4", QuantizeParams(quantize=config), run)


def new_run(workdir):
    workdir.mkdir(exist_ok=True)
    return Run("quantize", Machine(device="cpu", threads=1), workdir, NullTracker())


def test_the_last_line_tells_sizes_and_losses(quantized, run):
    [line] = [said for said in run.said if said.startswith("fp32")]
    pattern = r"int8 0\.1 MB \([+-]\S+% bits per byte, 95 %: \S+% to \S+%; logits \S+% off\)"
    assert re.search(pattern, line)
