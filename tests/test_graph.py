"""dvc.yaml as our own code reads it."""

import pytest

from minigpt.errors import ParamsError
from minigpt.graph import read_graph


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\nstages:\n", ": [", "stages: 3", "", "x: 1",
                                  "stages: {a: }", "stages: {a: {outs: [x]}}",
                                  "stages: {a: {cmd: x, outs: [{}]}}",
                                  "stages: {a: {cmd: x, outs: }}", "x: !!timestamp soon",
                                  f"stages: {'[' * 3000}"])  # fmt: skip
def test_a_dvc_yaml_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "dvc.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"^dvc\.yaml cannot be read: [^\n]+$"):
        read_graph(tmp_path)
