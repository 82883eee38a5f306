"""Whatever stands in params.yaml, it is Params or one refusal of few lines, soon."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minigpt.errors import ParamsError
from minigpt.params import Params, load_params
from minigpt.params_errors import LONGEST, MOST_LINES
from minigpt.presets import load_preset, preset_names, to_yaml
from tests.patience import patience

ROOT = Path(__file__).parents[1]
quickly = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
JUNK = [
    *(
        ".inf",
        "-.inf",
        ".nan",
        "-1",
        "0",
        "1",
        "7",
        "0.5",
        "012",
        "1:30",
        "1e-320",
        "1e300",
        "1e10",
    ),
    *(
        str(10**9),
        str(10**31),
        str(2**20),
        "true",
        "yes",
        "null",
        "~",
        "auto",
        "''",
        '"\\0"',
        "'a\\n",
    ),
    *(
        "[]",
        "{}",
        "[1]",
        "[true]",
        "{a: 1}",
        "{kind: rope}",
        "{kind: nope}",
        "{kind: [1]}",
        "[[[]]]",
    ),
    *(
        "2024-99-99",
        "!!int x",
        "!!binary aaaa",
        "&a [*a]",
        "*a",
        "(x)?.+",
        "(a{9999999999})",
        "x" * 9999,
    ),
    *(
        "https://[x/",
        "https://me:secret@x/a.zip",
        "<<",
        "- a",
        "{",
        "}",
        ": :",
        "\t",
        "é",
        "\x1b[2J",
        "\u202e: \u2028",
    ),
]


@pytest.fixture(scope="module")
def presets():
    """params.yaml of every preset that needs nothing from outside, as lines."""
    return ["\n".join(to_yaml(load_preset(ROOT, name))).split("\n") for name in preset_names(ROOT)]


@pytest.fixture
def ends_well(tmp_path):
    """Load a text as params.yaml; it must be Params or one short refusal."""
    path = tmp_path / "params.yaml"

    def load(text):
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        began = time.process_time()
        refusal = None
        try:
            assert isinstance(load_params(Params, path), Params)
        except ParamsError as error:
            refusal = str(error).replace(str(path), path.name)
        assert time.process_time() - began < patience(2)
        if refusal is not None:
            lines = refusal.splitlines()
            assert 1 <= len(lines) <= MOST_LINES
            assert max(map(len, lines)) <= LONGEST
            assert all(line.isprintable() for line in lines)
            assert "Unable to extract" not in refusal
            assert "secret" not in refusal

    return load


@settings(quickly, max_examples=500)
@given(text=st.one_of(st.text(), st.lists(st.sampled_from(JUNK)).map("\n".join)))
def test_any_text(ends_well, text):
    ends_well(text)


@settings(quickly, max_examples=500)
@given(data=st.data())
def test_real_params_with_slips(ends_well, presets, data):
    lines = list(data.draw(st.sampled_from(presets)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[at].partition(":")
        match data.draw(
            st.sampled_from(["value", "value", "value", "key", "gone", "twice", "cut"])
        ):
            case "value":
                lines[at] = f"{key}{colon} {data.draw(st.sampled_from(JUNK))}"
            case "key":
                lines[at] = lines[at].replace(data.draw(st.sampled_from("aeiost")), "x", 1)
            case "gone":
                lines[at] = ""
            case "twice":
                lines.insert(data.draw(st.integers(0, len(lines))), lines[at])
            case "cut":
                lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
    ends_well("\n".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 900_000,
        "a: " * 300_000,
        "a: [" + "[]," * 300_000,
        "validate: {exclude: [" + "a, " * 99_000 + "]}",
        "".join(f"k{i}: {i}\n" for i in range(49_000)),
        "validate: &a {exclude: []}\nsources:\n" + "".join(f"  s{i}: *a\n" for i in range(20_000)),
        "x" * 5_000_000,
        f"{'x' * 900_000}: 1",
        f"model: {{position: {{kind: {'x' * 900_000}}}}}",
        "model: {n_embd: 1048573, n_head: 1048572}",
        "model: {head_dim: 64, n_head: 1048573, n_kv_head: 1048572}",
    ],
)
def test_what_is_made_to_take_long(ends_well, text):
    ends_well(text)
