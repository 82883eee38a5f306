"""params.yaml is refused before anything runs, each problem with one line that names its place."""

import pytest

from minigpt.errors import ParamsError
from minigpt.params import Params, load_params
from minigpt.presets import write_params


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
        ("quantize", "window", 513, "quantize.window: 513 is more than context_length, 512"),
    ],
)
def test_what_a_later_stage_would_refuse_is_refused_at_once(written, section, key, value, line):
    with pytest.raises(ParamsError, match=rf"^params\.yaml: {line}"):
        load_params(Params, written(section, **{key: value}))


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"seed: 1  # \xff\n")
    with pytest.raises(ParamsError, match=r"params\.yaml: not YAML"):
        load_params(Params, path)
