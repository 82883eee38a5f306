"""`minigpt compare`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minigpt.cli.shared import Json, project_registry, show_json, show_table, talk, tell

if TYPE_CHECKING:
    from minigpt.registry.promotion.compare import Comparison, Line
    from minigpt.registry.registry import Registry
    from minigpt.registry.versions import Version

EXCERPT = 300  # characters of a sample


def add_to(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command()(compare)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="champion, 3 …")],
    second: Annotated[str, typer.Argument(metavar="B", help="challenger, 4 …")],
    prompt: Annotated[
        list[str] | None, typer.Option(help="Let both continue this text; may repeat.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Two versions side by side: figures with the interval of their difference, same prompts.

    Both are judged on the evaluation set of A, which is kept with it. A difference whose 95 %
    interval holds 0 is no clear one.

    Examples: minigpt compare 1 2 · minigpt compare champion challenger --prompt "ROMEO."
    """
    from minigpt.registry.refs import find_version

    registry = project_registry()
    one, other = (find_version(registry, reference) for reference in (first, second))
    if (one.name, one.version) == (other.name, other.version) and not as_json:
        talk(f"{first} and {second} are both {one.name} {one.version}: {instead(registry, one)}")
        return
    from minigpt.registry.promotion.compare import compare as hold_against

    comparison = hold_against(registry, one, other, tuple(prompt or ()))
    if as_json:
        show_json(facts(comparison))
    else:
        show(comparison, registry.name)


def instead(registry: "Registry", version: "Version") -> str:
    """What to do where there is nothing to compare `version` with but itself."""
    from minigpt.registry.refs import shortest_ref
    from minigpt.registry.versions import list_versions

    numbers = [v.version for v in list_versions(registry, version.name)]
    others = [number for number in numbers if number != version.version]
    if not others:
        return "no other is there yet. For another, change params.yaml, then: make run"
    pair = sorted([others[-1], version.version], key=int)
    refs = (shortest_ref(version.name, number, registry.name) for number in pair)
    return f"nothing to compare. Next: minigpt compare {' '.join(refs)}"


def show(comparison: "Comparison", name: str) -> None:
    """The comparison for people; `name` is the project's model."""
    from minigpt.evaluation.bootstrap import decimals_for
    from minigpt.registry.refs import shortest_ref

    first, second = comparison.first.version, comparison.second.version
    title, judged_on = (
        f"{comparison.first.name} {first} and {second}",
        f"version {comparison.first.version}",
    )
    if comparison.first.name != comparison.second.name:  # numbers alone would not tell them apart
        first, second = (
            f"{version.name} {version.version}" for version in (comparison.first, comparison.second)
        )
        title, judged_on = f"{first} and {second}", f"{comparison.first.name} {judged_on}"
    tell(
        f"{title}, on the {comparison.documents} test documents of {judged_on}, bits per byte "
        "(int8 and int4: on the beginning of each)"
    )
    rows = []
    for line in comparison.lines:
        decimals = decimals_for(line.first, line.second)
        figures = (f"{figure:.{decimals}f}" for figure in (line.first, line.second))
        rows.append((line.source, line.package, *figures, verdict(line)))
    show_table(("source", "package", first, second, f"{second} is"), rows)
    sizes = (
        (name, *("-" if size is None else f"{size:.2f} MB" for size in pair))
        for name, pair in comparison.sizes.items()
    )
    typer.echo("")
    show_table(("weights", first, second), sizes)
    width = max(4, len(first) + 2, len(second) + 2)
    for pair in comparison.samples:
        tell(f"\n{' '.join(pair.prompt.split())} … (seed {pair.seed})")
        for number, text in ((first, pair.first), (second, pair.second)):
            words = " ".join(text.split())
            tell(f"  {number:<{width}}{words[:EXCERPT]}{'…' if len(words) > EXCERPT else ''}")
    if comparison.leaked is None:
        talk("The document index of one is gone: nobody can tell whether it was trained on these.")
    elif comparison.leaked:
        talk(
            f"One of them was trained on {len(comparison.leaked)} of these documents "
            f"({', '.join(comparison.leaked[:3])}): what it reaches on them says nothing."
        )
    if "champion" in comparison.second.aliases:
        talk("Next: minigpt registry list")
    else:
        ref = shortest_ref(comparison.second.name, comparison.second.version, name)
        talk(f"Next: minigpt registry promote {ref}")


def verdict(line: "Line") -> str:
    """The difference in words, with its interval."""
    from minigpt.evaluation.bootstrap import decimals_for

    worse = line.difference
    if worse.point == 0:
        return "the same"
    decimals = decimals_for(worse.point, worse.low, worse.high)
    low, high = (f"{end:+.{decimals}f}" for end in (worse.low, worse.high))
    word = "worse" if worse.point > 0 else "better"
    word = word if worse.clear else "not clearly different"
    return f"{word}, {worse.point:+.{decimals}f} (95 %: {low} to {high})"


def facts(comparison: "Comparison") -> dict[str, Any]:
    """The comparison as JSON."""
    return {
        "name": comparison.first.name,
        "second_name": comparison.second.name,
        "first": comparison.first.version,
        "second": comparison.second.version,
        "judged_on": comparison.first.version,
        "judged_on_name": comparison.first.name,
        "documents": comparison.documents,
        "leaked": None if comparison.leaked is None else list(comparison.leaked),
        "figures": [
            asdict(line)
            | {"difference": asdict(line.difference) | {"clear": line.difference.clear}}
            for line in comparison.lines
        ],
        "megabytes": {name: list(pair) for name, pair in comparison.sizes.items()},
        "samples": [asdict(pair) for pair in comparison.samples],
    }
