"""params.yaml is refused before anything runs, each problem with one line that names its place."""

import pytest
from pydantic import ValidationError

from minigpt.errors import ParamsError
from minigpt.params import Params, load_params
from minigpt.presets import with_exclusions, write_params


@pytest.fixture
def written(tmp_path):
    """Write params.yaml with one section changed, without looking at it."""

    def write(section, **values):
        write_params(tmp_path, Params(), "test", force=True)
        path = tmp_path / "params.yaml"
        lines = path.read_text().splitlines()
        for key, value in values.items():
            start = lines.index(f"{section}:")
            at = next(i for i in range(start, len(lines)) if lines[i].startswith(f"  {key}:"))
            lines[at] = f"  {key}: {value}"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.mark.parametrize(
    ("section", "key", "value", "line"),
    [
        ("finetune", "tokens_per_step", 100, "finetune.tokens_per_step: 100 is no multiple of"),
        ("finetune", "freeze_blocks", 5, "finetune.freeze_blocks: 5, but the model has 4 blocks"),
        ("evaluate", "window", 513, "evaluate.window: 513 is more than context_length, 512"),
        ("evaluate", "stride", 513, "evaluate.stride: 513 skips tokens; at most 512, a window"),
        (
            "quantize",
            "int4_group_size",
            128,
            "quantize.int4_group_size: 128 does not divide the 192 columns of blocks.0.attention.q",
        ),
        ("quantize", "window", 513, "quantize.window: 513 is more than context_length, 512"),
        ("pretrain", "lr", ".inf", "pretrain.lr: Input should be a finite number"),
        ("gate", "max_megabytes", ".inf", "gate.max_megabytes: Input should be a finite number"),
        ("pretrain", "lr", "null", r"pretrain.lr: Input .* number \(found null\)"),
        ("model", "head_dim", "wide", "model.head_dim: Input should be a valid integer"),
        ("model", "n_embd", 10**31, "model.n_embd: Input should be less than or equal to 1048576"),
        ("model", "n_layer", 10**31, "model.n_layer: Input should be less than or equal to 4096"),
    ],
)
def test_what_a_later_stage_would_refuse_is_refused_at_once(written, section, key, value, line):
    with pytest.raises(ParamsError, match=rf"^params\.yaml: {line}"):
        load_params(Params, written(section, **{key: value}))


@pytest.mark.parametrize("role", ["pretrain", "finetune"])
def test_a_training_without_a_source_is_refused_at_once(role):
    values = Params().model_dump()
    values["sources"] = {k: v for k, v in values["sources"].items() if v["role"] != role}
    with pytest.raises(ValidationError, match=f"sources: none has role {role}"):
        Params.model_validate(values)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    values = Params().model_dump()
    values["sources"]["private"] = {
        "kind": "url",
        "url": "https://me:hunter2@example.org/texts.zip",
        "pin": {"filename": "texts.zip", "sha256": "0" * 64, "bytes": 9},
        "role": "finetune",
        "licence": "private",
    }
    with pytest.raises(ValidationError, match=r"sources\.private\.url: a user or pass") as refused:
        Params.model_validate(values)
    assert not any("hunter2" in problem["msg"] for problem in refused.value.errors())
    values["sources"]["private"]["url"] = "https://example.org/texts.zip"
    assert "private" in Params.model_validate(values).sources


def test_a_layer_that_stays_in_8_bits_may_have_a_row_of_any_length():
    values = Params().model_dump()
    values["model"]["mlp_dim"] = 500
    with pytest.raises(ValidationError, match=r"32 does not divide the 500 columns of blocks\.0"):
        Params.model_validate(values)
    down = [f"blocks.{i}.mlp.down" for i in range(values["model"]["n_layer"])]
    values["quantize"]["int8_in_int4"] = ["embed", "head", *down]
    assert Params.model_validate(values).model.mlp_dim == 500


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"# mine\nseed: 1  # \xff\n")
    with pytest.raises(ParamsError, match=r"params\.yaml: line 2: not UTF-8"):
        load_params(Params, path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("seed: 2023-99-99", "not YAML: month must be in 1..12"),
        ("seed: 0x_", "not YAML: invalid literal"),
        ("seed: !!bool maybe", "not YAML: 'maybe'"),
        ("seed: !!timestamp soon", "not YAML: "),
        (
            "pretrain: {tokens_per_step: yes}",
            r"pretrain: tokens_per_step: true \(yes, no, on, off\) is no value",
        ),
        ("gate: {max_quantization_loss: off}", "gate: max_quantization_loss: false .* is no value"),
        (f"seed: {10**31}", "seed: Input should be less than 9223372036854775808"),
        (f"seed: {'9' * 5000}", "not YAML: Exceeds the limit"),
        (f"seed: {'[' * 3000}", "nested too deeply"),
        ("model:\n  n_layer: 2\n  n_layer: 4", "line 3: not YAML: n_layer stands twice"),
        ("seed: 1\nmodel: {}\nseed: 2", "line 3: not YAML: seed stands twice, first in line 1"),
    ],
)
def test_what_yaml_cannot_mean_is_one_line(tmp_path, text, why):
    """PyYAML raises what is no YAMLError, or takes the last of two keys, which DVC refuses."""
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=rf"params\.yaml: {why}"):
        load_params(Params, path)
    assert with_exclusions(tmp_path, Params()) == Params()  # a preset mends the file


def test_a_folder_in_the_place_of_params_yaml_is_one_line(tmp_path):
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(ParamsError, match=r"params\.yaml: Is a directory"):
        load_params(Params, tmp_path / "params.yaml")


def test_a_key_that_belongs_a_level_deeper_is_shown_there(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("finetune: {max_steps: 60}")
    with pytest.raises(ParamsError, match=r"unknown key; did you mean duration\.max_steps\?"):
        load_params(Params, path)
