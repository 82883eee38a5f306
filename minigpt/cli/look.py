"""Commands that look, plan and tidy: doctor, plan, report, preset, clean."""

import os
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minigpt.cli.shared import (
    Json,
    code_elsewhere,
    project_root,
    require_project,
    show_json,
    show_table,
    talk,
    tell,
)
from minigpt.errors import BusyError, MiniGPTError, ParamsError
from minigpt.git import require_git
from minigpt.log import minutes

if TYPE_CHECKING:
    from minigpt.own_text.texts_here import TextAmount

TOOLS = ("torch", "dvc", "prefect", "mlflow", "great-expectations", "datasets", "onnxruntime")


def add_to(app: typer.Typer) -> None:
    """Hang the commands of this file on `app`."""
    for command in (doctor, plan, report, preset, clean):
        app.command()(command)


def doctor(as_json: Json = False) -> None:
    """Check what minigpt needs on this machine.

    Example: minigpt doctor
    """
    from minigpt.machine import Machine
    from minigpt.params import PARAMS, Params, load_params

    root = project_root()
    checks: list[tuple[str, bool, str]] = [
        ("python", sys.version_info >= (3, 11), sys.version.split()[0])
    ]
    code = code_elsewhere(root)
    whose = f"that of {code}; run: make setup" if code else "this folder's"
    checks += [("git", *commit_of(root)), ("code", code is None, whose)]
    for tool in TOOLS:
        try:
            checks.append((tool, True, metadata.version(tool)))
        except metadata.PackageNotFoundError:
            checks.append((tool, False, "not installed; run: make setup"))
    try:
        load_params(Params, root / PARAMS)
        checks.append(("params.yaml", True, "every value is allowed"))
    except ParamsError as error:
        checks.append(("params.yaml", False, str(error)))
    checks.append(("records", True, records_of(root)))
    free = shutil.disk_usage(root).free
    checks.append(("disk", free > 2e9, f"{free / 1e9:.0f} GB free (2 GB needed)"))
    settings = Machine.load()
    if settings.device not in ("auto", "cpu"):  # only torch knows; else it need not be imported
        try:
            checks.append(("device", True, settings.torch_device))
        except ParamsError as error:
            checks.append(("device", False, str(error)))
    machine = settings.fingerprint()
    checks.append(
        ("machine", True, f"{machine['cpu']} · {machine['threads']} threads · {machine['device']}")
    )
    if as_json:
        show_json(
            {
                "ok": all(ok for _, ok, _ in checks),
                "checks": {n: {"ok": ok, "found": f} for n, ok, f in checks},
            }
        )
    else:
        show_table(
            ("check", "", "found"),
            ((name, "ok" if ok else "NO", detail) for name, ok, detail in checks),
        )
    if not all(ok for _, ok, _ in checks):
        raise typer.Exit(1)


def records_of(root: Path) -> str:
    """What of the runs here has yet to reach a store."""
    from minigpt.tracking.address import store_name
    from minigpt.tracking.delivery import waiting, waiting_for_others
    from minigpt.tracking.journal import RUNS

    folder, own = root / RUNS, store_name(root)
    counts = {"this store": waiting(folder, own), **waiting_for_others(folder, own)}
    waits = [f"{runs} wait for {store}" for store, (_, runs) in counts.items() if runs]
    return f"{', '.join(waits)}; minigpt registry sync delivers them" if waits else "all delivered"


def commit_of(root: Path) -> tuple[bool, str]:
    """Whether git holds a commit of `root`, and which, or what is missing."""
    try:
        return True, require_git(root)[:12]
    except MiniGPTError as error:
        return False, str(error)


def plan(as_json: Json = False) -> None:
    """Parameters, tokens, memory and time of a training, before it starts.

    Example: minigpt plan
    """
    from minigpt.data.links import follow
    from minigpt.machine import Machine
    from minigpt.own_text.texts_here import (
        in_all,
        plan_problems,
        plan_remarks,
        text_amounts,
        texts_here,
    )
    from minigpt.params import PARAMS, Params, load_params
    from minigpt.roles import ROLES

    root = project_root()
    params = load_params(Params, root / PARAMS)
    follow(root, params.sources, talk)  # `dvc repro` knows then what lies outside of the project
    here = texts_here(root, params)
    if problems := plan_problems(params, here):
        raise ParamsError("\n".join(problems))
    for remark in plan_remarks(root, params, here):
        talk(remark)
    from minigpt.training.plan import plan_training  # with torch: a refusal need not wait for it

    stages = {ROLES[role].stage: config for role, config in params.trainings.items()}
    amounts = text_amounts(root, params, here)
    if params.quantize.finetune is not None:  # on all of it
        if stages.keys() <= amounts.keys():
            amounts["quantize"] = in_all(amounts.values())
        stages["quantize"] = params.quantize.finetune
    texts = {stage: amount.tokens for stage, amount in amounts.items()}
    facts = plan_training(params.model, params.tokenizer.vocab_size, stages, texts, Machine.load())
    if as_json:
        show_json(facts)
        return
    total = sum(stage["seconds"] or 0 for stage in facts["stages"].values())
    device = "" if facts["device"] == "cpu" else "GPU "
    tell(
        f"{facts['parameters'] / 1e6:.2f}M parameters · "
        f"{facts['memory_bytes'] / 1e6:.0f} MB of {device}memory"
    )
    show_table(
        ("stage", "steps", "tokens", "passes over its text", "time here"),
        (planned(name, stage, amounts.get(name)) for name, stage in facts["stages"].items()),
    )
    for name, stage in facts["stages"].items():
        if stage["remark"]:
            section = "quantize.finetune" if name == "quantize" else name
            talk(f"{section}.{stage['remark']}")
    known = [stage["seconds"] for stage in facts["stages"].values() if stage["steps"] is not None]
    if None in known:
        talk("one sequence of such a model takes this machine long, so nothing was timed")
    else:
        talk(f"training takes about {minutes(total)} on this machine; the other stages come on top")


def planned(name: str, stage: dict[str, Any], text: "TextAmount | None") -> tuple[str, ...]:
    """A row of `plan`."""
    most = "at most " * stage["at_most"]
    if text is None:
        passes = "its text is not here yet"
    else:
        about = "" if text.counted else "about "
        passes = f"{about}{stage['passes']:.2g} (of {about}{text.tokens / 1e6:.2g}M tokens)"
    if stage["steps"] is None:
        return name, "as its text asks", "-", passes, "-"
    tokens = f"{stage['tokens'] / 1e6:.2g}M"
    time_here = "-" if stage["seconds"] is None else minutes(stage["seconds"])
    return name, f"{most}{stage['steps']:,}", most + tokens, passes, time_here


def report(
    open_it: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
    as_json: Json = False,
) -> None:
    """Write reports/index.html: one page about the model built here.

    Example: minigpt report --open
    """
    from minigpt.evaluation.report import render
    from minigpt.registry.durations import stage_durations

    root = require_project()
    page = render(root, stage_durations(root))
    if as_json:
        show_json({"report": page.relative_to(root).as_posix()})
    else:
        tell(page.relative_to(root).as_posix())
    if open_it:
        talk(open_in_browser(page))
    elif not as_json:
        talk("Next: minigpt report --open, or open that file in a browser")


def open_in_browser(page: Path) -> str:
    """Show a file to a person; what was opened, or why nothing was and what to do."""
    import webbrowser

    try:
        browser, address = webbrowser.get(), page.resolve().as_uri()
        if browser.open(address):
            return f"opened {address} in {getattr(browser, 'name', 'a browser')}"
        why = f"the browser {getattr(browser, 'name', '')} did not start".replace("  ", " ")
    except webbrowser.Error:
        why = "no browser is found here (BROWSER names one)"
    return f"{why}: open {page} where there is one; it is one file that needs no network"


def preset(
    name: Annotated[str, typer.Argument(help="shakespeare, tiny, local …")],
    path: Annotated[str | None, typer.Option(help="local: the folder with your text.")] = None,
    force: Annotated[bool, typer.Option(help="Overwrite edits (also of data/local).")] = False,
    link: Annotated[
        bool, typer.Option("--link", help="local: copy nothing; each run reads the folder itself.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="own|PRESET",
            help="local: own trains tokenizer and base on your text; or whose base to fine-tune.",
        ),
    ] = None,
) -> None:
    """Write params.yaml afresh.

    Examples: minigpt preset tiny · minigpt preset local --path ~/letters
    """
    from minigpt.data.links import follow
    from minigpt.own_text.plan import plan_own_text
    from minigpt.own_text.said import done_with
    from minigpt.presets import load_preset, with_exclusions, write_params

    root = project_root()
    if name == "local" and not (path and path.strip()):  # Path("") is the current folder
        raise ParamsError("preset local needs your text: minigpt preset local --path FOLDER")
    given = {"--path": path is not None, "--link": link, "--base": base is not None}
    if name != "local" and (option := next((o for o, was in given.items() if was), None)):
        raise ParamsError(f"{option} belongs to preset local")
    if path is None:
        params = with_exclusions(root, load_preset(root, name))
        write_params(root, params, name, force=force)
    else:
        own = plan_own_text(root, Path(path), force=force, link=link, base=base)
        params = own.params
        lines = [*own.said, done_with(own)]
        write_params(root, params, name, force=force, first=own.copy)
        talk(f"{path}")
        for line in lines:
            talk(f"  {line}")
    follow(root, params.sources, talk)
    if count := len(params.validation.exclude):
        talk(f"{count} {'text stays' if count == 1 else 'texts stay'} excluded (validate.exclude)")
    talk(f"params.yaml now holds preset {name}. Next: make run")


def clean(
    cache: Annotated[
        bool, typer.Option(help="Also remove the archives that were fetched.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove resumable state, reports and temporary files; models and runs stay.

    Refused while something is at work here: a run, a verification, what `make up` started.

    Example: minigpt clean -y
    """
    from minigpt.presets import WRITTEN
    from minigpt.process import workspace_lock
    from minigpt.tracking.journal import RUNS

    root = require_project()
    kept = (root / RUNS, root / WRITTEN)  # what MLflow has yet to get; whose params.yaml it is
    names = [".work", "reports", ".prefect", *([".cache"] if cache else [])]
    paths = [root / name for name in names if (root / name).exists()]
    if not paths:
        talk("nothing to remove")
        return
    if not yes:
        typer.confirm(f"Remove {', '.join(path.name for path in paths)}?", abort=True, err=True)
    with workspace_lock(root):
        refuse_in_use(root)
        for path in paths:
            for inner in path.iterdir():
                if inner in kept:
                    continue
                if inner.is_dir():
                    shutil.rmtree(inner, ignore_errors=True)
                elif inner.suffix != ".lock":  # whoever holds one must stay visible
                    inner.unlink()
    talk(f"removed {', '.join(path.name for path in paths)}")


def refuse_in_use(root: Path) -> None:
    """Refuse where a process of this folder still needs what it keeps in .work or .prefect.

    Raises:
        BusyError: one holds its lock.
    """
    from minigpt.process import WORK, holder_of, named, take_lock

    for path in sorted((root / WORK).rglob("*.lock")):
        if path.name == "workspace.lock":  # ours
            continue
        if (lock := take_lock(path)) is None:
            raise BusyError(
                f"{path.relative_to(root)} is held by {named(holder_of(path))}. Nothing was "
                "removed; let it end (what `make up` started: make down), then try again"
            )
        os.close(lock)
