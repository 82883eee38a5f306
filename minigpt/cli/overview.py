"""How `minigpt lineage` shows where a version comes from: a screen, a table of stages, JSON."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer

from minigpt.cli.shared import show_table, talk, tell
from minigpt.cli.versions import facts

if TYPE_CHECKING:
    from minigpt.registry.lineage.record import Record, SourceRecord, StageRecord
    from minigpt.registry.overview import Overview

REGISTRATION = "registration"
WIDTH = 100
SPLITS = ("train", "val", "test")
NOT_LOGGED = "(made so by other means: minigpt registry log)"
NO_DIGEST = "no sha256: registered by other means"


def lines(overview: "Overview") -> Iterator[str]:
    """A version on one screen."""
    version, record = overview.version, overview.record
    since = f"since {overview.since.astimezone():%Y-%m-%d %H:%M}" if overview.since else NOT_LOGGED
    standing = [f"{alias} {since}" if alias == "champion" else alias for alias in version.aliases]
    title = f"{version.name} version {version.version}"
    digest = f"sha256 {version.digest[:12]}…" if version.digest else NO_DIGEST
    yield " · ".join([title, *standing, digest])
    tree = "with source.patch" if record.dirty else "clean"
    params = f"params.yaml {record.params_sha256[:12]}…" if record.params_sha256 else "no params"
    yield from block("code", [f"commit {record.commit[:12]} ({tree})", params])
    yield from block("machine", machine(record.machine))
    yield from block("packages", packages(overview))
    yield from columns("sources", map(source_row, record.sources))
    yield from filled("stages", stages_text(record))
    yield from block("judged", judged(overview))
    yield from block("warning", warning(overview))
    yield from block("proof", proof(overview))


def block(name: str, parts: Iterable[str]) -> Iterator[str]:
    """Parts joined by dots under a name; nothing for no parts."""
    yield from filled(name, " ·\n".join(parts).splitlines())


def filled(name: str, pieces: Iterable[str]) -> Iterator[str]:
    """Pieces under a name, broken between two where a line is full."""
    line, started = f"  {name:<10}", False
    for piece in pieces:
        if started and len(line) + 1 + len(piece) > WIDTH:
            yield line
            line, started = " " * 12, False
        line, started = f"{line} {piece}" if started else line + piece, True
    if started:
        yield line


def columns(name: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Rows in columns under a name."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for number, row in enumerate(table):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'' if number else name:<10}{cells}".rstrip()


def source_row(source: "SourceRecord") -> tuple[str, ...]:
    """What it is, sha256 of its archive, documents, licence."""
    digest = next(iter(source.archives.values()), "")
    count = sum(source.documents.values())
    splits = ", ".join(f"{source.documents[s]} {s}" for s in SPLITS if s in source.documents)
    return (
        source.place or source.name,
        f"{digest[:8]}…" if digest else "-",
        f"{count:,} documents ({splits})" if count else "no documents",
        source.licence,
    )


def machine(fingerprint: Mapping[str, Any]) -> list[str]:
    """The platform fingerprint in words."""
    if not fingerprint:
        return ["not recorded"]
    threads = fingerprint.get("threads")
    parts = [
        f"{fingerprint.get('platform', '')} {fingerprint.get('cpu', '')}".strip(),
        f"torch {fingerprint['torch']}" if "torch" in fingerprint else "",
        str(fingerprint.get("device", "")),
        f"{threads} thread{'' if threads == 1 else 's'}" if threads else "",
        "compiled" if fingerprint.get("compile") else "eager",
    ]
    return [part for part in parts if part]


def packages(overview: "Overview") -> Iterator[str]:
    """Whether the stages ran with the same packages, and with those that are installed here."""
    environments = dict(overview.record.environments)
    unrecorded = environments.pop("", [])
    if not environments:
        return
    if len(environments) > 1:
        yield "not the same for every stage"
    for digest, stages in environments.items():
        names = f" ({', '.join(stage.name for stage in stages)})"
        where = (
            "as installed here" if digest == overview.packages_here else "not those installed here"
        )
        yield f"sha256 {digest[:12]}…{names if len(environments) > 1 else ''}, {where}"
    if unrecorded:
        yield f"not recorded for {', '.join(stage.name for stage in unrecorded)}"


def stages_text(record: "Record") -> Iterator[str]:
    """Stage by stage what became of it, those of one fate together; in pieces."""
    fates = [(fate, [s.name for s in group]) for fate, group in groupby(record.stages, outcome)]
    for number, (fate, names) in enumerate(fates):
        end = "" if number == len(fates) - 1 else " ·"
        yield from (f"{name}," for name in names[:-1])
        yield f"{names[-1]} {fate}{end}".replace(f"(run of {record.name} ", "(run of version ")


def outcome(stage: "StageRecord") -> str:
    """`ran`, or which version's run it is from; a stage may have run where nothing records it."""
    if stage.run is None:
        return "with no run in this store"
    return f"from cache (run of {stage.version})" if stage.version else "ran"


def judged(overview: "Overview") -> Iterator[str]:
    """Figures with their intervals, and whom it replaced."""
    from minigpt.evaluation.bootstrap import decimals_for

    for number, judgement in enumerate(overview.judged):
        unit, span = "" if number else " bits per byte", judgement.interval
        decimals = decimals_for(span.low, span.high) if span else 2
        figure = f"{judgement.bits_per_byte:.{decimals}f}{unit} on {judgement.source}"
        yield f"{figure} ({span.about})" if span else figure
    if overview.beaten is not None:
        by, other = overview.beaten.by, f"version {overview.beaten.version}"
        if not by:
            yield f"replaced {other}" + ("" if by is None else ", no difference")
        else:
            figure = f"{abs(by):.{decimals_for(by)}f}"
            yield f"beat {other} by {figure}" if by > 0 else f"replaced {other}, {figure} worse"


def warning(overview: "Overview") -> Iterator[str]:
    """That it learned from what it should not have."""
    about = overview.taken_down
    if about is not None:
        count = len(about.get("documents", ()))
        what = "a document that was" if count == 1 else f"{count} documents that were"
        when = f" on {about['at'][:10]}" if "at" in about else ""
        yield f"it learned from {what} taken down{when}: {about.get('reason') or 'no reason given'}"


def proof(overview: "Overview") -> Iterator[str]:
    """What was proven of it, and by whom it is signed."""
    about = overview.verified
    if about:
        verdict = str(about.get("verdict"))
        how = "byte for byte" if verdict == "identical" else verdict
        yield f"verified {how} on {str(about.get('at'))[:10]}"
    else:
        yield "not verified yet"
    yield (
        f"provenance signed ({overview.signed_by})"
        if overview.signed_by
        else "provenance not signed"
    )


def show_stages(overview: "Overview") -> None:
    """Every stage with the MLflow run that made it; every archive of every source; the patch."""
    runs, record = run_places(overview), overview.record
    show_table(
        ("stage", "outcome", "output digest", "MLflow run"),
        [
            (s.name, outcome(s), (s.output_digest or "-")[:12], runs.get(s.name, "-"))
            for s in record.stages
        ]
        + [(REGISTRATION, "ran", "-", runs[REGISTRATION])],
    )
    typer.echo("")
    show_table(
        ("source", "archive", "sha256"),
        [
            (source.name, file, digest)
            for source in record.sources
            for file, digest in sorted((source.archives or {"-": "-"}).items())
        ],
    )
    if record.dirty:
        tell(f"\nsource.patch  {overview.patch or 'is gone'}")
    if overview.runs_at is None:
        talk("To open a run in a browser: make up")


def run_places(overview: "Overview") -> dict[str, str]:
    """By stage, the MLflow run that made it: its link on a server, else its id."""
    runs = {s.name: s.run for s in overview.record.stages if s.run}
    runs[REGISTRATION] = overview.version.run_id
    return {name: f"{overview.runs_at or ''}{run}" for name, run in runs.items()}


def as_facts(overview: "Overview") -> dict[str, Any]:
    """A version as JSON."""
    return {
        **facts(overview.version),
        "run": overview.version.run_id,
        "runs": run_places(overview),
        "patch": overview.patch,
        "champion_since": overview.since and overview.since.isoformat(),
        "record": overview.record.model_dump(mode="json"),
        "judged": [asdict(judgement) for judgement in overview.judged],
        "replaced": overview.beaten and asdict(overview.beaten),
        "verified": overview.verified,
        "signed_by": overview.signed_by,
        "taken_down": overview.taken_down,
    }
