"""`minigpt lineage`: where a version comes from, and which versions a text went into."""

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minigpt.cli import overview as shown
from minigpt.cli.shared import (
    Json,
    in_one_line,
    project_registry,
    registry_that_knows,
    show_json,
    talk,
    tell,
)
from minigpt.errors import ParamsError

if TYPE_CHECKING:
    from minigpt.registry.lineage.trace import Holding, Trace
    from minigpt.registry.versions import Version

SHOWN = 3  # commands


def add_to(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command()(lineage)


def lineage(
    reference: Annotated[
        str | None,
        typer.Argument(help="champion (the default), 3, models:/NAME/3, a package folder."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Ask for a text: a file, a folder, a source's archive or a sha256."),
    ] = None,
    stages: Annotated[
        bool, typer.Option("--stages", help="Also each stage's run, each archive, the patch.")
    ] = False,
    patch: Annotated[
        bool, typer.Option("--patch", help="Print by what the tree differed from the commit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Where every byte of a version came from; with --data, which versions a text went into.

    Examples: minigpt lineage champion · minigpt lineage --data data/local/letters/1862-03.txt
    """
    if patch and not (data or stages or as_json):
        show_patch(reference or "champion")
    elif patch:
        raise ParamsError("--patch prints a patch: give it with a version alone")
    elif data is None:
        show_version(reference or "champion", stages, as_json)
    elif reference is not None or stages:
        raise ParamsError("--data asks every version: give it alone")
    else:
        show_text(data, as_json)


def show_version(reference: str, stages: bool, as_json: bool) -> None:
    """Everything that is known about where one version comes from."""
    registry = registry_that_knows(reference)
    from minigpt.registry.overview import overview
    from minigpt.registry.refs import shortest_ref

    about = overview(registry, reference)
    if as_json:
        show_json(shown.as_facts(about))
        return
    for line in shown.lines(about):
        typer.echo(in_one_line(line))
    if stages:
        typer.echo("")
        shown.show_stages(about)
    ref = shortest_ref(about.version.name, about.version.version, registry.name)
    more = "" if stages else f" · minigpt lineage {ref} --stages"
    more += f" · minigpt lineage {ref} --patch" if about.patch else ""
    talk(f"Next: minigpt verify {ref}{more} · minigpt lineage --data FILE")


def show_patch(reference: str) -> None:
    """source.patch of a version, byte for byte."""
    registry = registry_that_knows(reference)
    from minigpt.registry.overview import patch_of

    patch = patch_of(registry, reference)
    if not patch:
        talk(f"{reference} has no source.patch: its tree was as its commit has it")
    typer.echo(patch, nl=False)


def show_text(what: str, as_json: bool) -> None:
    """Which versions learned from a text: of this project's model, then of others in the store."""
    from minigpt.registry.lineage.trace import query_for, trace_everywhere
    from minigpt.registry.pruned import pruned_in
    from minigpt.registry.refs import none_registered

    registry = project_registry()
    traces = trace_everywhere(registry, query_for(registry.root, what))
    if as_json:
        show_json({name: trace_facts(trace) for name, trace in traces.items()})
        return
    for name, trace in traces.items():
        text = trace_text(trace) or none_registered(registry, name)
        tell(text if name == registry.name else f"{name}: {text}")
        for line in namesakes(trace):
            typer.echo(in_one_line(line))
    pruned = {} if registry.is_new else pruned_in(registry, registry.name)
    if pruned:
        talk(f"not known of {', '.join(sorted(pruned, key=int))}: pruned, with their indices")
    gone = {h.asked_by for trace in traces.values() if trace.gone for h in trace.namesakes}
    trained = any(trace.trained for trace in traces.values())
    asked = sorted(gone)[:SHOWN] or ([what] if trained else [])
    commands = [f'minigpt takedown {shlex.quote(text)} --reason "…" --dry-run' for text in asked]
    talk(f"Next: {' · '.join(commands) or 'minigpt registry list'}")


def trace_text(trace: "Trace") -> str:
    """One line: who learned from it, who held it out, who never saw it; none without versions."""
    index = f"the index of {versions(trace.unknown)} is gone" if trace.unknown else ""
    if trace.gone:
        none = "" if trace.namesakes else "no version had a text at that path"
        return " · ".join(filter(None, ["that file is not here", none, index]))
    if not (trace.holdings or trace.never or trace.unknown):
        return ""
    parts = [
        f"used in training: {versions(trace.trained) or 'none'}",
        f"held out: {versions(trace.held_out) or 'none'}",
    ]
    if not trace.holdings and not trace.unknown:
        parts = ["no version ever saw it"]
    elif trace.never:
        parts.append(f"{versions(trace.never)} never saw it")
    return " · ".join(filter(None, [*parts, index]))


def versions(entries: Iterable["Version"]) -> str:
    """`version 1`, `versions 2, 3`; nothing for none."""
    numbers = [version.version for version in entries]
    return f"version{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}" if numbers else ""


def namesakes(trace: "Trace") -> Iterable[str]:
    """Texts at the same path: the file was changed since, or is gone and may have been that one."""
    for h in trace.namesakes:
        which = "a text that may be it" if trace.gone else "another text"
        yield (
            f"  version {h.version.version} had {which} at that path: "
            f"{h.doc_id} ({h.split}, sha256 {h.sha256})"
        )


def trace_facts(trace: "Trace") -> dict[str, Any]:
    """What was found, as JSON."""
    return {
        "trained": [version.version for version in trace.trained],
        "held_out": [version.version for version in trace.held_out],
        "never": [version.version for version in trace.never],
        "here": not trace.gone,
        "unknown": [version.version for version in trace.unknown],
        "documents": [holding_facts(holding) for holding in trace.holdings],
        "same_path": [holding_facts(holding) for holding in trace.namesakes],
    }


def holding_facts(holding: "Holding") -> dict[str, str]:
    """A document of a version, as JSON."""
    return {
        "version": holding.version.version,
        "split": holding.split,
        "doc_id": holding.doc_id,
        "sha256": holding.sha256,
    }
