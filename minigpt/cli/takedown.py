"""`minigpt takedown`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from minigpt.cli.shared import Json, project_root, show_json, talk
from minigpt.errors import GateRefusedError, ParamsError

if TYPE_CHECKING:
    from minigpt.registry.takedown.plan import Takedown

SHOWN = 10


def add_to(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command()(takedown)


def takedown(
    what: Annotated[str, typer.Argument(help="The file, or a sha256 (8 digits or more) of it.")],
    reason: Annotated[str | None, typer.Option(help="Why; it is logged and stated.")] = None,
    include_near: Annotated[
        bool, typer.Option("--include-near", help="Also what repeats a large part of it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it concerns; change nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Queue behind a run in this folder.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Take a document out, build the model without it, and state the proof.

    Versions that learned from it are marked: they become champion again only by --force --reason.
    Exit code 3: done, but the gate refused the new version, so champion still is an old one.

    Examples: minigpt takedown letters/1862-03.txt --reason "the family asked" ·
    minigpt takedown 5f1c2b3a4d5e --dry-run
    """
    from minigpt.params import PARAMS, Params, load_params
    from minigpt.registry.registry import Registry
    from minigpt.registry.takedown.plan import plan
    from minigpt.registry.takedown.takedown import carry_out

    root = project_root()
    params = load_params(Params, root / PARAMS)
    registry = Registry(root, params.release.name)
    found = plan(registry, what, params.validation, include_near)
    if not found.seen:
        show_json(facts(found)) if as_json else typer.echo(unseen(found, registry.name))
        return
    if dry_run:
        show_json(facts(found)) if as_json else typer.echo(concerns(found))
        talk("nothing was changed (--dry-run)")
        return
    if not (reason and reason.strip()):
        raise ParamsError('give the reason, which is logged and stated: --reason "…"')
    talk(concerns(found))
    if not yes:
        typer.confirm("Take it out and build without it?", abort=True, err=True)
    done = carry_out(registry, found, reason.strip(), wait)
    show_json(done.values) if as_json else typer.echo(done.text)
    new = done.values["now"]["version"]
    if done.champion_has_it:
        raise GateRefusedError(
            f"champion still is version {done.champion and done.champion.version}, which learned "
            f"from it: the gate refused version {new} (above). To make it champion all the same: "
            f'minigpt registry promote {new} --force --reason "takedown"'
        )
    others = sorted({v["name"] for v in done.values["trained"]} - {registry.name})
    if others:
        talk(f"{', '.join(others)} learned from it too: build that name without it as well")
    talk('Next: git commit -m "Take a document out" params.yaml dvc.lock metrics plots')


def unseen(found: "Takedown", name: str) -> str:
    """The answer where there is nothing to take out."""
    place = "data/raw" if found.looked else "this checkout (data/raw is not here)"
    told = " whose document index is there" if found.unknown else ""
    lines = [f"no version of {name}{told} ever saw {found.asked}, nor does {place} hold it"]
    if found.unknown:
        numbers = ", ".join(f"{v.name} {v.version}" for v in found.unknown)
        lines.append(f"not known of {numbers}: the document index is gone")
    lines += [
        f"another text lay there: {h.version.name} {h.version.version} has {h.doc_id}, "
        f"sha256 {h.sha256}"
        for h in found.namesakes[:SHOWN]
    ]
    lines += near_lines(found)
    return "\n".join([*lines, "Nothing was changed."])


def concerns(found: "Takedown") -> str:
    """What a takedown would touch."""
    lines = [f"to take out: {len(found.documents)} of the documents"]
    lines += [f"  {d.sha256[:12]}  {d.doc_id}" for d in found.documents[:SHOWN]]
    if len(found.documents) > SHOWN:
        lines.append(f"  … and {len(found.documents) - SHOWN:,} more")
    lines += near_lines(found)
    for title, entries in (("trained on it", found.trained), ("held it out", found.held_out)):
        named = ", ".join(f"{v.name} {v.version}" for v, _ in entries)
        lines.append(f"{title}: {named or 'no version'}")
    if found.unknown:
        named = ", ".join(f"{v.name} {v.version}" for v in found.unknown)
        lines.append(f"cannot tell (document index gone): {named}")
    if found.exclude:
        lines.append(f"params.yaml: validate.exclude gains {', '.join(found.exclude[:3])}")
    else:
        lines.append("params.yaml: validate.exclude names it already")
    return "\n".join(lines)


def near_lines(found: "Takedown") -> list[str]:
    """Near-duplicates, and how to include them."""
    if not found.near:
        return []
    count = len(found.near)
    lines = [f"{count} {'document repeats' if count == 1 else 'documents repeat'} a large part:"]
    lines += [
        f"  {n.document.sha256[:12]}  {n.document.doc_id}  {n.share:.0%} of the shorter one"
        for n in found.near[:SHOWN]
    ]
    if count > SHOWN:
        lines.append(f"  … and {count - SHOWN:,} more")
    return [*lines, "  to take them out too: --include-near"]


def facts(found: "Takedown") -> dict[str, Any]:
    """For scripts."""

    def versions(entries: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": version.name,
                "version": version.version,
                "documents": sorted(h.sha256 for h in holdings),
            }
            for version, holdings in entries
        ]

    return {
        "asked": found.asked,
        "seen": found.seen,
        "documents": [{"doc_id": d.doc_id, "sha256": d.sha256} for d in found.documents],
        "near": [
            {"doc_id": n.document.doc_id, "sha256": n.document.sha256, "share": round(n.share, 3)}
            for n in found.near
        ],
        "exclude": list(found.exclude),
        "trained": versions(found.trained),
        "held_out": versions(found.held_out),
        "unknown": [{"name": v.name, "version": v.version} for v in found.unknown],
    }
