"""Charts: round ticks, escaped labels, points inside the picture."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.evaluation.charts import HEIGHT, WIDTH, bar_chart, line_chart, ticks

number = st.integers(-(10**9), 10**9).map(lambda n: n / 1e4)  # as many digits as curves have


@given(a=number, b=number)
def test_ticks_reach_over_both_ends(a: float, b: float) -> None:
    low, high = sorted((a, b))
    marks = ticks(low, high)
    slack = 1e-6 * max(1e-6, high - low, abs(low), abs(high))
    assert len(marks) >= 2
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert len(marks) <= 8


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1800, [0, 500, 1000, 1500, 2000]), (3.1, 7.6, [3, 4, 5, 6, 7, 8]), (5, 5, None)],
)
def test_ticks_are_round(low: float, high: float, expected: list[float] | None) -> None:
    marks = ticks(low, high)
    assert marks == expected if expected else marks[0] < marks[-1]


def test_lines_stay_inside_and_are_named() -> None:
    chart = line_chart({"a": [(0, 8.0), (10, 3.0)], "b": [(10, 3.5)]}, "step", "loss")
    tree = ElementTree.fromstring(chart)
    for line in tree.iter("polyline"):
        for x, y in re.findall(r"([\d.]+),([\d.]+)", line.attrib["points"]):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT
    assert [title.text for title in tree.iter("title")] == ["a", "b"]


def test_labels_are_escaped() -> None:
    for chart in (
        bar_chart([("<b>", 1.0, True), ("&", 2.0, False)], '"><script>'),
        line_chart({"<i>": [(0, 1), (1, 2)]}, "<x>", "<t>"),
    ):
        ElementTree.fromstring(chart)  # well formed
        assert not re.search("<(b|i|x|t|script)>", chart)


def test_nothing_to_draw_is_nothing() -> None:
    assert line_chart({"a": []}, "step", "loss") == ""
    assert bar_chart([], "none") == ""
