"""`minigpt takedown`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from minigpt.cli.shared import Json, project_root, show_json, talk, tell
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
    planned = plan(registry, what, params.validation, include_near)
    if not planned.seen:
        show_json(facts(planned)) if as_json else tell(unseen(planned, registry.name))
        return
    if dry_run:
        show_json(facts(planned)) if as_json else tell(concerns(planned))
        talk("nothing was changed (--dry-run)")
        return
    if not (reason and reason.strip()):
        raise ParamsError('give the reason, which is logged and stated: --reason "…"')
    talk(concerns(planned))
    if not yes:
        typer.confirm("Take it out and build without it?", abort=True, err=True)
    done = carry_out(registry, planned, reason.strip(), wait)
    show_json(done.values) if as_json else tell(done.text)
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
    talk('Next: git commit -m "Take a document out" params.yaml dvc.lock metrics plots results')


def unseen(planned: "Takedown", name: str) -> str:
    """The answer where there is nothing to take out."""
    place = "data/raw" if planned.looked else "this checkout (data/raw is not here)"
    told = " whose document index is there" if planned.unknown else ""
    lines = [f"no version of {name}{told} ever saw {planned.asked}, nor does {place} hold it"]
    if planned.unknown:
        numbers = ", ".join(f"{v.name} {v.version}" for v in planned.unknown)
        lines.append(f"not known of {numbers}: the document index is gone")
    lines += [
        f"another text lay there: {h.version.name} {h.version.version} has {h.doc_id}, "
        f"sha256 {h.sha256}"
        for h in planned.namesakes[:SHOWN]
    ]
    lines += near_lines(planned)
    return "\n".join([*lines, "Nothing was changed."])


def concerns(planned: "Takedown") -> str:
    """What a takedown would touch."""
    lines = [f"to take out: {len(planned.documents)} of the documents"]
    lines += [f"  {d.sha256[:12]}  {d.doc_id}" for d in planned.documents[:SHOWN]]
    if len(planned.documents) > SHOWN:
        lines.append(f"  … and {len(planned.documents) - SHOWN:,} more")
    lines += near_lines(planned)
    for title, entries in (("trained on it", planned.trained), ("held it out", planned.held_out)):
        named = ", ".join(f"{v.name} {v.version}" for v, _ in entries)
        lines.append(f"{title}: {named or 'no version'}")
    if planned.unknown:
        named = ", ".join(f"{v.name} {v.version}" for v in planned.unknown)
        lines.append(f"cannot tell (document index gone): {named}")
    if planned.exclude:
        lines.append(f"params.yaml: validate.exclude gains {', '.join(planned.exclude[:3])}")
    else:
        lines.append("params.yaml: validate.exclude names it already")
    return "\n".join(lines)


def near_lines(planned: "Takedown") -> list[str]:
    """Near-duplicates, and how to include them."""
    if not planned.near:
        return []
    count = len(planned.near)
    lines = [f"{count} {'document repeats' if count == 1 else 'documents repeat'} a large part:"]
    lines += [
        f"  {n.document.sha256[:12]}  {n.document.doc_id}  {n.share:.0%} of the shorter one"
        for n in planned.near[:SHOWN]
    ]
    if count > SHOWN:
        lines.append(f"  … and {count - SHOWN:,} more")
    return [*lines, "  to take them out too: --include-near"]


def facts(planned: "Takedown") -> dict[str, Any]:
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
        "asked": planned.asked,
        "seen": planned.seen,
        "documents": [{"doc_id": d.doc_id, "sha256": d.sha256} for d in planned.documents],
        "near": [
            {"doc_id": n.document.doc_id, "sha256": n.document.sha256, "share": round(n.share, 3)}
            for n in planned.near
        ],
        "exclude": list(planned.exclude),
        "trained": versions(planned.trained),
        "held_out": versions(planned.held_out),
        "unknown": [{"name": v.name, "version": v.version} for v in planned.unknown],
    }
