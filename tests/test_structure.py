"""What holds for the whole tree of code: no import comes back to itself, no file grows too long."""

import ast
import subprocess
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("minigpt", "pipelines", "stages")
MOST_LINES = 350


def names_imported(node: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports, in functions too, but not for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"a relative import of {child.module}"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from names_imported(child)


def import_graph(root: Path) -> dict[str, set[str]]:
    """Module -> the modules of `root` that it imports."""
    files = {
        path.relative_to(root).with_suffix("").as_posix().replace("/", "."): path
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
    }
    modules = {name.removesuffix(".__init__"): path for name, path in files.items()}
    graph = {}
    for module, path in modules.items():
        names = set(names_imported(ast.parse(path.read_text(encoding="utf-8"))))
        targets = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module] = targets & modules.keys() - {module}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle, in order; none where there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_no_import_comes_back_to_its_module():
    graph = import_graph(ROOT)
    assert len(graph) > 150
    assert not (modules := circle(graph)), " imports ".join(modules)


def test_a_circle_through_a_function_is_found_and_one_for_type_checkers_is_none(tmp_path):
    package = tmp_path / "minigpt"
    package.mkdir()
    (package / "one.py").write_text("from minigpt import two\n")
    (package / "two.py").write_text(
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import minigpt.one\n"
    )
    assert import_graph(tmp_path) == {"minigpt.one": {"minigpt.two"}, "minigpt.two": set()}
    (package / "two.py").write_text("def act():\n    from minigpt.one import two\n")
    assert set(circle(import_graph(tmp_path))) == {"minigpt.one", "minigpt.two"}


def test_no_file_of_code_is_too_long_to_read():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    paths = [ROOT / name for name in filter(None, listed.split("\0"))]
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in paths
        if path.is_file()
    }
    assert len(lengths) > 200
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}
