"""What several commands need."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from minigpt.errors import ParamsError
from minigpt.log import printable

if TYPE_CHECKING:
    from minigpt.registry.registry import Registry

LEFT_BY_JSON = re.compile("[\x7f-\x9f]")
"""Control characters that JSON lets stand; terminals obey them."""
F = TypeVar("F", bound=Callable[..., Any])
TEXTS = ("prompt", "reason", "stop")
"""Arguments that are text: where that may not be empty, their command says why."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]


class Command(TyperCommand):
    """A command that takes no empty argument for a file, a folder, a version or another name.

    "$NAME" of a variable that is not set is one, and a path of no parts is the current folder.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typed.

        Raises:
            ParamsError: names the argument that is empty.
        """
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        for name, value in given.items():
            texts = value if isinstance(value, list) else [value]
            if name not in TEXTS and any(isinstance(t, str) and not t.strip() for t in texts):
                [parameter] = [p for p in self.params if p.name == name]
                option = next(iter(parameter.opts), name)
                shown = option if option.startswith("-") else option.upper()
                raise ParamsError(
                    f"{ctx.command_path}: {shown} is empty. Is a variable not set? Nothing was done"
                )
        rest: list[str] = super().parse_args(ctx, args)
        return rest


class Commands(typer.Typer):
    """Commands of that kind."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """As Typer's."""
        return super().command(name, **{"cls": Command, **options})


def project_root() -> Path:
    """The nearest folder at or above the current one that holds dvc.yaml; else the current one."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "dvc.yaml").is_file()), here)


def code_elsewhere(root: Path) -> Path | None:
    """Where the code that runs lies, if that is not `root`, which has its own; else None.

    So it is in a folder that was copied with its .venv: the scripts in it name the old one's.
    """
    code = Path(__file__).resolve().parents[2]
    own = (root / "minigpt" / "__init__.py").is_file()
    return code if own and code != root.resolve() else None


def require_project() -> Path:
    """`project_root`, where there is one.

    Raises:
        ParamsError: no folder at or above the current one is a project.
    """
    root = project_root()
    if not (root / "dvc.yaml").is_file():
        raise ParamsError(
            f"{root} is not a minigpt project (no dvc.yaml). Nothing was changed. Run this in one"
        )
    return root


def show_json(value: Any) -> None:
    """JSON on stdout, keys sorted."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    typer.echo(LEFT_BY_JSON.sub(lambda control: f"\\u{ord(control[0]):04x}", text))


def show_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Left-aligned columns on stdout, as wide as their widest cell."""
    table = [list(header), *([in_one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    for row in table:
        typer.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def in_one_line(cell: object) -> str:
    """A cell of a table: its lines one behind the other."""
    return printable(" ".join(str(cell).splitlines()), kept="")


def tell(text: str) -> None:
    """Lines for people, on stdout."""
    typer.echo(printable(text))


def talk(message: str) -> None:
    """One line for people, on stderr."""
    print(printable(message), file=sys.stderr)


def project_registry() -> "Registry":
    """The registry of this project; nothing is opened yet."""
    from minigpt.registry.registry import Registry

    return Registry(project_root(), model_name())


def registry_that_knows(*references: str) -> "Registry":
    """`project_registry`, in which each reference names a version; what it asks is read at once.

    So a mistyped version is refused before the imports of seconds that its command needs.

    Raises:
        UnknownVersionError: one names none.
        RegistryError: the store cannot be read.
    """
    from minigpt.registry.refs import find_version

    registry = project_registry()
    for reference in references:
        find_version(registry, reference)
    return registry


def model_name() -> str:
    """The registered model of this project; `minigpt` where there is no project."""
    from minigpt.params import PARAMS, Params, load_params

    path = project_root() / PARAMS
    return load_params(Params, path).release.name if path.is_file() else "minigpt"
