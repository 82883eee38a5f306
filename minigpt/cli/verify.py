"""`minigpt verify`: rebuilt and compared, or only hashed again."""

import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minigpt.cli.shared import Json, registry_that_knows, show_json, show_table, talk, tell
from minigpt.errors import ParamsError, UntrustedError
from minigpt.files import at_home
from minigpt.registry.verification.verdict import Report, lines, summary

NOT_ALL_HERE = 4
"""Exit code: nothing is wrong with what is here, but DVC's cache of this checkout lacks files."""
STOPPED = {128 + signal.SIGINT: "stopped (Ctrl-C)", 128 + signal.SIGTERM: "stopped (SIGTERM)"}

if TYPE_CHECKING:
    from minigpt.registry.registry import Registry


def add_to(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command()(verify)


def verify(
    reference: Annotated[
        str, typer.Argument(help="champion, 3, minigpt@champion, a folder, exports/hf …")
    ] = "champion",
    from_cache: Annotated[
        bool, typer.Option("--from-cache", help="Only hash again what is stored (seconds).")
    ] = False,
    signature: Annotated[
        bool, typer.Option("--signature", help="Only check its signed statement (seconds).")
    ] = False,
    key: Annotated[
        Path | None, typer.Option(help="The public key of who signed it; else your own.")
    ] = None,
    trust_store: Annotated[
        bool,
        typer.Option("--trust-store", help="Build its code, though nothing vouches for it."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Prove a version: build it again from its sources in a clean folder and compare every file.

    Nothing is registered, nothing is left behind, this folder's files stay as they are.
    Exit code 4 (--from-cache): what is here is whole, but DVC's cache lacks files: dvc pull.

    Of an exported folder (exports/hf), only whether its files are still those that were exported.

    Examples: minigpt verify champion · minigpt verify 3 --from-cache · minigpt verify 3 --signature
    · minigpt verify exports/hf
    """
    from minigpt.export.manifest import is_exported

    folder = at_home(reference)
    if not reference.isdecimal() and is_exported(folder):
        if from_cache or signature or key or trust_store:
            raise ParamsError(f"{reference} is an exported folder: of the options, it takes --json")
        check_export(folder, as_json)
        return
    if trust_store and (from_cache or signature):
        raise ParamsError("--trust-store is about building: --from-cache and --signature do not")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: exit_with(128 + number))
    registry = registry_that_knows(reference)
    from minigpt.registry.promotion.history import log_of
    from minigpt.registry.verification import verify as proof

    answer: dict[str, Any] = {}
    report = None
    try:
        if signature:
            answer = check_signature(registry, reference, key, as_json)
        if from_cache or not signature:
            report = (
                proof.verify_from_cache(registry, reference, key)
                if from_cache
                else proof.verify(
                    registry, reference, talk, key, (lambda _: True) if trust_store else trusted
                )
            )
            answer |= facts(report)
            if not as_json:
                show(report)
        if stray := log_of(registry).stray:
            talk(f"{stray}. See: minigpt registry log")
    except SystemExit as stop:
        if stop.code in STOPPED:
            talk(f"{STOPPED[stop.code]}: nothing was proven, and nothing is left behind")
        raise
    answer["holds"] = answer["holds"] and not answer.get("problems")
    if as_json:
        show_json(answer)
    if not answer["holds"]:
        only_absent = report and not report.bad and not answer.get("problems")
        raise typer.Exit(NOT_ALL_HERE if only_absent else 1)


def check_export(folder: Path, as_json: bool) -> None:
    """Say whether an exported folder holds what its manifest names."""
    from minigpt.export.manifest import EXAMPLE, check

    manifest = check(folder)
    if as_json:
        show_json(manifest.model_dump(mode="json") | {"holds": True})
        return
    tell(
        f"{folder}: all {len(manifest.files)} files are those that were exported as "
        f"{manifest.format} from the package {manifest.model.digest[:12]}"
    )
    example = shlex.join(["python", str(folder / EXAMPLE), "My fellow citizens"])
    talk(
        f"Next: {example}; whether its manifest is the one of a version: "
        "minigpt verify champion --from-cache"
    )


def trusted(why: str) -> bool:
    """Ask a person at a terminal whether code that nothing vouches for is to run.

    Raises:
        UntrustedError: it is not.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    talk(why)
    if not typer.confirm("Build it now?", default=False, err=True):
        raise UntrustedError("nothing was built")
    return True


def exit_with(code: int) -> None:
    """End as the signal asks, with the clean folder removed."""
    raise SystemExit(code)


def show(report: Report) -> None:
    """The verdicts, then what follows."""
    show_table(("output", "files", "verdict"), lines(report.verdicts))
    tell(summary(report))
    tell(f"vouched for: {report.vouched}" if report.vouched_by != "nobody" else report.vouched)
    if report.holds:
        talk(f"Next: minigpt lineage {report.ref}")
    elif report.mode == "from-cache":
        talk(f"Next: {'; '.join(cures(report))}. To rebuild it: minigpt verify {report.ref}")
    else:
        talk(f"Next: minigpt verify {report.ref} --from-cache, to see whether a store is spoilt")


def cures(report: Report) -> Iterator[str]:
    """What to do about files that are different, missing or not here."""
    if report.bad:
        yield (
            "of the registry, put the store's files back from a copy; of DVC's cache, delete what "
            "is DIFFERENT, then get it again: dvc pull, or dvc repro"
        )
    if report.brought_by:
        yield f"what is not here: {report.brought_by}"


def facts(report: Report) -> dict[str, Any]:
    """A report as JSON."""
    return {
        "name": report.name,
        "version": report.version,
        "commit": report.commit,
        "mode": report.mode,
        "verdict": report.verdict,
        "holds": report.holds,
        "seconds": round(report.seconds, 1),
        "sources": report.sources,
        "notes": list(report.notes),
        "machine": report.machine,
        "vouched": {"by": report.vouched_by, "what": report.vouched},
        "files": [
            {"path": v.path, "output": v.out, "outcome": str(v.outcome), "detail": v.detail}
            for v in report.verdicts
        ],
    }


def check_signature(
    registry: "Registry", reference: str, key: Path | None, as_json: bool
) -> dict[str, Any]:
    """Say whether the signed statement of a version holds."""
    from minigpt.registry.provenance import provenance
    from minigpt.registry.refs import find_version, shortest_ref

    version = find_version(registry, reference)
    problems = provenance.check(registry, version, key)
    if not as_json:
        for problem in problems:
            tell(problem)
        if not problems:
            tell("the signature holds, and every file is the one that was signed")
            ref = shortest_ref(version.name, version.version, registry.name)
            talk(f"Next: minigpt verify {ref}")
    return {
        "name": version.name,
        "version": version.version,
        "holds": not problems,
        "problems": problems,
    }
