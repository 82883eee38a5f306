"""params.yaml is refused before anything runs, each problem with one line that names its place."""

import os

import pytest
import yaml
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
        (
            "quantize",
            "finetune",
            "{tokens_per_step: 100}",
            "quantize.finetune.tokens_per_step: 100 is no multiple of",
        ),
        ("pretrain", "lr", ".inf", "pretrain.lr: Input should be a finite number"),
        ("gate", "max_megabytes", ".inf", "gate.max_megabytes: Input should be a finite number"),
        ("pretrain", "lr", "null", r"pretrain.lr: Input .* number \(found null\)"),
        ("model", "head_dim", "wide", "model.head_dim: Input should be a valid integer"),
        ("model", "n_embd", 10**31, "model.n_embd: Input should be less than or equal to 1048576"),
        ("model", "n_layer", 10**31, "model.n_layer: Input should be less than or equal to 4096"),
        ("model", "n_layer", 10**9, "model.n_layer: Input should be less than or equal to 4096"),
        ("model", "n_head", 10**9, "model.n_head: Input should be less than or equal to 1048576"),
        ("model", "head_dim", "0", "model.head_dim: Input should be greater than 0"),
        ("model", "head_dim", "-1", "model.head_dim: Input should be greater than 0"),
        ("model", "head_dim", "auto", "model.head_dim: Input should be a valid integer"),
        ("pretrain", "tokens_per_step", 2**40, "pretrain.tokens_per_step: Input should be less"),
        ("export", "opset", 99, "export.opset: Input should be less than or equal to 25"),
        ("export", "tolerance", "1e300", "export.tolerance: Input should be less than or equal"),
        ("gate", "max_worse", "1e300", "gate.max_worse: Input should be less than or equal to 8"),
    ],
)
def test_what_a_later_stage_would_refuse_is_refused_at_once(written, section, key, value, line):
    with pytest.raises(ParamsError, match=rf"^params\.yaml: {line}"):
        load_params(Params, written(section, **{key: value}))


def test_a_model_that_sees_no_token_before_another_is_refused_at_once():
    whole = {"phases": [{"share": 1, "divisor": 1}]}
    values = {"model": {"context_length": 1}, "pretrain": whole, "finetune": whole}
    with pytest.raises(ValidationError, match=r"model\.context_length: 1, but a token"):
        Params.model_validate(values)


@pytest.mark.parametrize("role", ["pretrain", "finetune"])
def test_a_training_without_a_source_is_refused_at_once(role):
    values = Params().model_dump()
    values["sources"] = {k: v for k, v in values["sources"].items() if v["role"] != role}
    with pytest.raises(ValidationError, match=f"sources: none has role {role}") as refusal:
        Params.model_validate(values)
    assert ("with no such source, finetune: null" in str(refusal.value)) == (role == "finetune")


def without_fine_tuning():
    values = Params().model_dump(by_alias=True) | {"finetune": None}
    values["sources"] = {k: v for k, v in values["sources"].items() if v["role"] != "finetune"}
    return values


def test_a_project_may_do_without_fine_tuning():
    params = Params.model_validate(without_fine_tuning())
    assert params.windows == {"pretrain": 513}
    assert set(params.trainings) == {"pretrain"}


def test_a_source_that_nothing_is_trained_on_is_refused_at_once(tmp_path):
    values = Params().model_dump(by_alias=True, mode="json") | {"finetune": None}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    line = (
        r"^params.yaml: finetune: null, but sources.sotu has role finetune; give both \(minigpt "
        r"preset shakespeare shows them\) or neither$"
    )
    with pytest.raises(ParamsError, match=line):
        load_params(Params, tmp_path / "params.yaml")


def test_pretraining_cannot_be_done_without():
    with pytest.raises(ValidationError, match="pretrain"):
        Params.model_validate(Params().model_dump(by_alias=True) | {"pretrain": None})


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
        ("seed: 2023-99-99", "line 1: 2023-99-99 is no word to every reader; quote it"),
        ("seed: 0x_", "line 1: 0x_ is no number; quote a word"),
        ("seed: !!bool maybe", "line 1: the tag !!bool is not read"),
        ("\nseed: !!timestamp soon", "line 2: the tag !!timestamp is not read"),
        ("pretrain: {tokens_per_step: true}", "pretrain: tokens_per_step: true is no number"),
        ("pretrain: {schedule: {kind: step, drops: [0.5, true]}}", ".*drops: true is no number"),
        ("pretrain: {tokens_per_step: yes}", r"pretrain.tokens_per_step: .* \(found 'yes'\)"),
        ("gate: {max_quantization_loss: off}", r"gate.max_quant.*: expected a section.*'off'"),
        ("gate: {max_quantization_loss: false}", "gate: max_quantization_loss: false is no"),
        ("gate: {max_worse: .inf}", "gate.max_worse: Input should be a finite number"),
        ("gate: {max_worse: true}", "gate: max_worse: true is no number; quote a word"),
        (f"seed: {10**31}", "seed: Input should be less than 9223372036854775808"),
        (f"seed: {'9' * 5000}", "line 1: 9+… is no number"),
        (f"seed: 0x{'f' * 5000}", "line 1: 0xf+… is no number"),
        ("? ''\n: 1", '"": unknown key'),
        (f"seed: {'[' * 3000}", "line 1: not YAML: exceeded maximum nesting depth"),
        (f"seed: {'[' * 40}", "line 1: nested too deeply; 32 levels at most"),
        (f"seed: &a [{'1,' * 999}]\nmodel: [{'*a,' * 999}]", "line 2: more than 100,000 values"),
        ("model:\n  n_layer: 2\n  n_layer: 4", "line 3: n_layer stands twice, first in line 2"),
        ("seed: 1\nmodel: {}\nseed: 2", "line 3: seed stands twice, first in line 1"),
        ("seed: 1\n---\nseed: 2", "line 2: a second document begins"),
        ("%YAML 1.1\n---\nseed: 012", "line 1: %YAML 1.1; expected 1.2"),
        ("seed: *gone", r"line 1: \*gone repeats what has no end yet"),
        ("model: {<<: [1]}", "line 1: << takes over the keys of sections only"),
        ("1: 2", "line 1: the key 1 is no word; quote it"),
        ("[a]: 2", "line 1: a list or a section cannot be a key"),
        ('finetune: {keep: "\\e[2J"}', r"line 1: the character \\x1b is in no value"),
        ("seed: \x07", r"line 1: not YAML: the character \\x07"),
        ("release: {name: " + "a" * 10**6 + "}", "line 1: 1,000,017 characters; 1,000,000 at most"),
    ],
)
def test_what_yaml_cannot_mean_is_one_line(tmp_path, text, why):
    """PyYAML raises what is no YAMLError, or takes the last of two keys, which DVC refuses."""
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=rf"params\.yaml: {why}") as refusal:
        load_params(Params, path)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600
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


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("pretrain: {optimizer: {kind: adamw, beta1: 1.0}}", "pretrain.optimizer.beta1: Input"),
        ("pretrain: {optimizer: {kind: adamw, beta2: 1.0}}", "pretrain.optimizer.beta2: Input"),
        ("pretrain: {optimizer: {kind: adamw, eps: 1e-320}}", "pretrain.optimizer.eps: Input"),
        (
            "pretrain: {optimizer: {kind: muon, weight_decay: 1e10}}",
            "pretrain.optimizer.weight_decay: Input should be less than or equal to 100",
        ),
        (
            "pretrain: {optimizer: {kind: muon, weight_decay: 60}}",
            r"pretrain: optimizer.weight_decay: 60 times lr \(0.02\) leaves nothing of a weight",
        ),
        ("evaluate: {ngram: {discount: 1e-320}}", "evaluate.ngram.discount: Input"),
        ("evaluate: {xz: {dict_mb: 1000000}}", "evaluate.xz.dict_mb: Input .* equal to 1536"),
        ("model: {norm: {kind: rmsnorm, eps: .inf}}", "model.norm.eps: Input"),
        ("model: {position: {kind: rope, theta: .inf}}", "model.position.theta: Input"),
        (
            "model: {context_length: 1048576, head_dim: 512}",
            "model.position: rope has a table of context_length",
        ),
        ("model: {position: {kind: rope, thta: 1}}", "model.position.thta: .* mean theta?"),
        ("model: {position: {kind: rop}}", "model.position.kind: there is no 'rop'; did you mean"),
        ("model: {position: {theta: 1}}", "model.position: needs a kind: alibi, learned, none, r"),
        ("model: {position: rope}", "model.position: expected a section, keys with values"),
        ("model: {n_layr: 2}", r"model.n_layr: unknown key; did you mean n_layer\?"),
        ("pretrain: {duration: {kind: steps, max_step: 2}}", "pretrain.duration.max_step: .*x_st"),
        ("? " + "k" * 100_000 + "\n: 1", "k{59}…: unknown key"),
    ],
)
def test_a_problem_is_named_by_the_keys_of_the_file(tmp_path, text, line):
    """pydantic's place of it also has the kinds of unions, which the file has not."""
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=rf"^params\.yaml: {line}") as refusal:
        load_params(Params, path)
    assert all(len(line) <= 400 for line in str(refusal.value).splitlines())


@pytest.mark.parametrize("kind", ["package", "npm", "hf", "url", "local"])
def test_a_key_of_a_source_is_named_without_its_kind(tmp_path, kind):
    """A source of kind `package` also has a key of that name."""
    path = tmp_path / "params.yaml"
    values = f"kind: {kind}, role: pretrain, licence: x, licnce: y, splits: {{kind: years, val: 3}}"
    path.write_text(f"sources: {{mine: {{{values}}}}}")
    with pytest.raises(ParamsError) as refusal:
        load_params(Params, path)
    lines = str(refusal.value).splitlines()
    assert "params.yaml: sources.mine.licnce: unknown key; did you mean licence?" in lines
    assert "params.yaml: sources.mine.splits.val_from: Field required" in lines
    assert all(f"mine.{kind}." not in line or kind == "package" for line in lines)
    assert "params.yaml: sources.mine.package: Field required" in lines or kind not in (
        "package",
        "npm",
    )


def test_a_file_full_of_mistakes_is_told_in_ten_lines(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("".join(f"k{i}: 1\n" for i in range(5000)))
    with pytest.raises(ParamsError) as refusal:
        load_params(Params, path)
    lines = str(refusal.value).splitlines()
    assert len(lines) == 10
    assert lines[-1] == "params.yaml: and 4,991 more problems"


def test_words_and_numbers_are_those_of_dvc(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("seed: 012\nmodel: {n_layer: 0x2}\npretrain: {lr: 2e-3}\n")
    params = load_params(Params, path)
    assert (params.seed, params.model.n_layer, params.pretrain.lr) == (12, 2, 0.002)


def test_a_pipe_in_the_place_of_params_yaml_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "params.yaml")
    with pytest.raises(ParamsError, match=r"params\.yaml: not a file"):
        load_params(Params, tmp_path / "params.yaml")


def numbers(schema, place=""):
    """Every number in a JSON schema, with its place."""
    for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if isinstance(value, dict | list):
            yield from numbers(value, f"{place}.{key}")
    if isinstance(schema, dict) and schema.get("type") in ("integer", "number"):
        yield place, schema


def test_every_number_has_bounds():
    """Without them a slip of the keyboard fails behind hours of training, or takes all memory."""
    found = list(numbers(Params.model_json_schema()))
    assert len(found) > 60
    for place, schema in found:
        closed = {"const", "enum"} & schema.keys()
        below = closed or {"minimum", "exclusiveMinimum"} & schema.keys()
        above = closed or {"maximum", "exclusiveMaximum"} & schema.keys()
        assert below, place
        assert above, place
