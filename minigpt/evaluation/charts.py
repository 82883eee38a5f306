"""Charts as inline SVG. Colours are the page's CSS variables, so they follow light and dark."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 26, 12, 34
BAR, LABEL = 26, 150


def line_chart(lines: Mapping[str, Points], x_name: str, title: str) -> Markup:
    """One line a name, over common axes; '' where there are no points."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return Markup("")
    x_ticks = ticks(min(x for x, _ in points), max(x for x, _ in points))
    y_ticks = ticks(min(y for _, y in points), max(y for _, y in points))

    def x_at(value: float) -> float:
        share = (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y_at(value: float) -> float:
        share = (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in y_ticks:
        y = y_at(tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(text(LEFT - 8, y + 4, f"{tick:g}", "end"))
    parts += [text(x_at(x), HEIGHT - BOTTOM + 16, f"{x:,.6g}", "middle") for x in x_ticks]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 2, x_name, "middle"))
    for i, (name, line) in enumerate(lines.items(), start=1):
        path = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in line)
        parts.append(
            f'<polyline class="line c{i}" points="{path}"><title>{escape(name)}</title></polyline>'
        )
        key = Markup('<tspan class="key c{}">■</tspan> {}').format(i, name)
        parts.append(text(WIDTH - RIGHT - 4, TOP + 16 * i, key, "end"))
    return svg(HEIGHT, title, parts)


def bar_chart(bars: Sequence[tuple[str, float, bool]], title: str, digits: int = 2) -> Markup:
    """(label, value, whether it is ours) from 0, one bar each, in the order given."""
    longest = max((value for _, value, _ in bars), default=0) or 1
    parts = []
    for i, (label, value, ours) in enumerate(bars):
        y, width = i * BAR, value / longest * (WIDTH - LABEL - 70)
        kind = "ours" if ours else "bar"
        parts.append(text(LABEL - 10, y + 17, label, "end", kind))
        parts.append(
            f'<rect class="{kind}" x="{LABEL}" y="{y + 4}" width="{width:.1f}" height="18" rx="2"/>'
        )
        parts.append(text(LABEL + width + 6, y + 17, f"{value:,.{digits}f}", "start", kind))
    return svg(len(bars) * BAR + 2, title, parts) if bars else Markup("")


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """At least two round numbers, evenly spaced, that reach from below `low` to above `high`."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if span / (m * power) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def text(x: float, y: float, content: str, anchor: str, kind: str = "") -> str:
    """A <text> element; `content` is escaped unless it is Markup."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(content)}</text>'


def svg(height: float, title: str, parts: Sequence[str]) -> Markup:
    """The elements as one picture that scales with the page."""
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704 - every part was escaped above
