"""`make deps`: the code that each stage depends on, written to dvc.yaml from what it imports.

Between two comments of a stage's deps stand its script and every module of minigpt that the script
reaches, by imports inside functions too. Data stands outside of them, written by hand.
"""

import argparse
import ast
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from minigpt import log
from minigpt.errors import MiniGPTError, ParamsError
from minigpt.files import write_text

GRAPH = Path("dvc.yaml")
START, END = "# Code, by `make deps`:", "# End of code."
EXEMPT = frozenset(
    {"errors", "extras", "git", "lifeline", "log", "params", "parent", "process", "tracking"}
)
"""Modules and packages of minigpt that may refuse, speak or record, but never change a byte.

What only these import is no dep either. (test_rebuild builds without the tracker and compares.)
"""
NOT_TAKEN = frozenset({("minigpt.package", "minigpt.quantization.swap")})
"""Imports inside functions that lead a stage nowhere: only who reads a quantized package gets
there, and a stage that does imports quantization by itself."""


def main(arguments: list[str] | None = None) -> int:
    """Write dvc.yaml afresh; with --check, only say whether that would change it."""
    parser = argparse.ArgumentParser(prog="make deps", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    check = parser.parse_args(arguments).check
    log.set_name("deps")
    try:
        root = Path.cwd()
        before = read(root)
        after = with_deps(before, root)
    except MiniGPTError as error:
        log.say(str(error))
        return error.exit_code
    if before == after:
        log.say(f"{GRAPH} names what the stages import")
    elif check:
        log.say(f"{GRAPH} does not name what the stages import. Run: make deps")
        return 1
    else:
        write_text(root / GRAPH, after)
        log.say(f"{GRAPH} written; the next `dvc repro` runs the stages whose deps have changed")
    return 0


def read(root: Path) -> str:
    """dvc.yaml as text."""
    try:
        return (root / GRAPH).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ParamsError(f"{GRAPH} is not here; run from the project's root") from error


def with_deps(text: str, root: Path) -> str:
    """`text` of dvc.yaml with the code deps of every stage as its script imports them now.

    Raises:
        ParamsError: a stage has no such block or no script, or a module is not Python.
    """
    stages = yaml.safe_load(text)["stages"]
    block = re.compile(
        rf"(?ms)^  (?P<stage>\w+):$(?:(?!^  \w).)*?^(?P<indent> +){re.escape(START)}\n"
        rf"(?P<code>.*?)^ +{re.escape(END)}$"
    )
    seen = []

    def fresh(match: re.Match[str]) -> str:
        stage, indent = match["stage"], match["indent"]
        seen.append(stage)
        line = ", ".join(code_deps(root, stage)) + ","
        wrapped = textwrap.fill(
            line, 100, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
        head = match[0][: match.start("code") - match.start()]
        return f"{head}{wrapped}\n{indent}{END}"

    written = block.sub(fresh, text)
    if missing := [stage for stage in stages if stage not in seen]:
        raise ParamsError(
            f"{GRAPH}: stage {missing[0]} does not say where its code goes; write two lines among "
            f"its deps: {START} and {END}"
        )
    return written


def code_deps(root: Path, stage: str) -> list[str]:
    """Paths of a stage's script and of the modules it reaches, sorted, the script first.

    A folder of entries is one path. A package's own file counts where it holds code.
    """
    folders: set[str] = set()
    files: set[str] = set()
    waiting, reached = [f"stages.{stage}"], set()
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        file = file_of(root, module)
        if file is None:
            raise ParamsError(f"{GRAPH}: stage {stage}: {module} is imported, but is no module")
        if has_code(file):
            files.add(file.relative_to(root).as_posix())
        for name, whole in imports(root, file):
            if name.split(".")[0] != "minigpt" or exempt(name) or (module, name) in NOT_TAKEN:
                continue
            waiting.append(name)
            if whole:
                folder = root.joinpath(*name.split("."))
                folders.add(folder.relative_to(root).as_posix() + "/")
                waiting += [f"{name}.{path.stem}" for path in folder.glob("[!_]*.py")]
    script = f"stages/{stage}.py"
    alone = {file for file in files - {script} if not file.startswith(tuple(folders))}
    return [script, *sorted(alone | {folder.rstrip("/") for folder in folders})]


def exempt(module: str) -> bool:
    """Whether a module of minigpt is on the list, or is minigpt/__init__.py (the version)."""
    parts = module.split(".")
    return len(parts) == 1 or parts[1] in EXEMPT


def file_of(root: Path, module: str) -> Path | None:
    """The file of a module or package of this tree; None: it is neither."""
    path = root.joinpath(*module.split("."))
    files = (path / "__init__.py", path.with_name(path.name + ".py"))
    return next((file for file in files if file.is_file()), None)


def has_code(file: Path) -> bool:
    """Whether a file holds more than a docstring."""
    return len(parsed(file).body) > 1 or not ast.get_docstring(parsed(file))


def parsed(file: Path) -> ast.Module:
    """The file as syntax."""
    try:
        return tree_of(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ParamsError(f"{file}: not Python: {error}") from error


@cache  # ten stages read the same files
def tree_of(text: str) -> ast.Module:
    """Text as syntax."""
    return ast.parse(text)


def imports(root: Path, file: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports, packages on the way included; True: all of a folder's entries.

    What stands under `if TYPE_CHECKING:` is never imported.
    """
    for node in executed(parsed(file)):
        names: list[str] = []
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(level=0, module=str(source)):
                inner = [f"{source}.{alias.name}" for alias in node.names]
                names = [source, *(name for name in inner if file_of(root, name))]
            case ast.ImportFrom(level=level) if level:
                raise ParamsError(f"{file}:{node.lineno}: imports of ours are absolute")
            case ast.Call(func=ast.Name(id="entries"), args=[ast.Constant(value=str(package)), *_]):
                yield package, True
        for name in names:
            parts = name.split(".")
            yield from ((".".join(parts[:end]), False) for end in range(1, len(parts) + 1))


def executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of `tree` but those that only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (inner for other in node.orelse for inner in (other, *executed(other)))
        else:
            yield node
            yield from executed(node)


if __name__ == "__main__":
    raise SystemExit(main())
