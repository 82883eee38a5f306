"""`minigpt registry`: the versions of the model and who is champion."""

from typing import Annotated, Any

import typer

from minigpt.cli.shared import Json, model_name, project_root, show_json, show_table, talk
from minigpt.registry.versions import Version

app = typer.Typer(
    no_args_is_help=True,
    help="Versions of the model. Examples: minigpt registry list · minigpt registry promote 3",
)


@app.command("list")
def show(as_json: Json = False) -> None:
    """The versions of this project's model, oldest first.

    Example: minigpt registry list
    """
    from minigpt.registry.versions import list_versions

    name = model_name()
    versions = list_versions(project_root(), name)
    if as_json:
        show_json([facts(version) for version in versions])
    elif not versions:
        talk(f"no version of {name} is registered yet. Run: make run")
    else:
        show_table(
            ("version", "alias", "bits per byte", "commit", "digest"),
            (
                (
                    f"{v.name} {v.version}",
                    ", ".join(v.aliases) or "-",
                    "-" if v.bits_per_byte is None else f"{v.bits_per_byte:.3f}",
                    v.commit[:7] + (" + patch" if v.dirty else ""),
                    v.digest[:12],
                )
                for v in versions
            ),
        )


@app.command()
def sync(as_json: Json = False) -> None:
    """Register what was built here, if the store lacks it, as challenger.

    Example: minigpt registry sync
    """
    from minigpt.params import PARAMS, Params, load_params
    from minigpt.registry.sync import sync as register

    root = project_root()
    version = register(root, load_params(Params, root / PARAMS))
    if as_json:
        show_json(facts(version) | {"alias": "challenger"})
    else:
        typer.echo(f"{version.name} {version.version} · {', '.join(version.aliases)}")
        if "champion" not in version.aliases:
            talk("Next: minigpt registry promote challenger")


@app.command()
def promote(
    reference: Annotated[str, typer.Argument(help="challenger, 3 …")] = "challenger",
    force: Annotated[bool, typer.Option(help="Overrule the gate; give a reason.")] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why the gate is overruled; it is kept.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a version champion, if the gate allows it.

    Example: minigpt registry promote challenger
    """
    from minigpt.params import PARAMS, Params, load_params
    from minigpt.registry.promote import promote as move

    root = project_root()
    done = move(root, reference, load_params(Params, root / PARAMS), force, reason)
    if as_json:
        show_json(
            facts(done.version)
            | {"moved": done.moved, "before": done.before, "forced": done.forced}
        )
        return
    name = f"{done.version.name} {done.version.version}"
    typer.echo(f"{name} is champion" + ("" if done.moved else " already"))
    for condition in done.conditions:
        talk(f"  {condition.about:<18} {condition.found}")


@app.command()
def relocate() -> None:
    """Mend the store of a checkout that was moved.

    Example: minigpt registry relocate
    """
    from minigpt.tracking.relocate import relocate as mend

    root = project_root()
    talk(f"{mend(root)} locations now lie under {root}")


def facts(version: Version) -> dict[str, Any]:
    """A version as JSON."""
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "digest": version.digest,
        "commit": version.commit,
        "dirty": version.dirty,
        "bits_per_byte": version.bits_per_byte,
    }
