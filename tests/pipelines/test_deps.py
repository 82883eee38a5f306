"""`make deps`: dvc.yaml names the code that each stage reaches."""

from pathlib import Path

import pytest
import yaml

from minigpt.errors import ParamsError
from minigpt.graph import read_graph
from pipelines import deps

ROOT = Path(__file__).resolve().parents[2]


def test_dvc_yaml_in_git_names_what_the_stages_import():
    text = deps.read(ROOT)
    assert deps.with_deps(text, ROOT) == text, "Run: make deps"


def test_statistics_of_the_tokenizer_do_not_make_tokenize_stale():
    graph = read_graph(ROOT)
    assert "minigpt/tokenizer/stats.py" in graph["train_tokenizer"].deps
    assert "minigpt/tokenizer/stats.py" not in graph["tokenize"].deps
    assert not any("quantization" in dep for dep in graph["pretrain"].deps)


def test_every_exception_is_still_needed():
    for module in deps.EXEMPT:
        assert deps.file_of(ROOT, f"minigpt.{module}"), module
    for module, name in deps.NOT_TAKEN:
        file = deps.file_of(ROOT, module)
        assert file
        assert (name, False) in set(deps.imports(ROOT, file)), (module, name)


@pytest.fixture
def tree(tmp_path):
    """A function that writes a module of a small tree, whose one stage is `make`."""

    def write(module, text):
        file = tmp_path.joinpath(*module.split("/")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path

    write("minigpt/__init__", '__version__ = "1"')
    write("minigpt/sub/__init__", '"""A docstring and no code."""')
    write("stages/make", "from minigpt.sub import a\n")
    for name in ("a", "b", "c"):
        write(f"minigpt/sub/{name}", f"{name.upper()} = 1\n")
    return write


def code(root):
    script, *modules = deps.code_deps(root, "make")
    assert script == "stages/make.py"
    return modules


@pytest.mark.parametrize(
    "line",
    [
        "from minigpt.sub import b",
        "from minigpt.sub.b import B",
        "import minigpt.sub.b as other",
        "def f():\n    from minigpt.sub.b import B",
        "try:\n    import minigpt.sub.b\nexcept ImportError:\n    pass",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import x\nelse:\n"
        "    from minigpt.sub import b",
    ],
)
def test_an_import_in_any_form_leads_on(tree, line):
    root = tree("minigpt/sub/a", f"{line}\n")
    assert code(root) == ["minigpt/sub/a.py", "minigpt/sub/b.py"]


def test_what_only_type_checkers_read_does_not(tree):
    head = "from typing import TYPE_CHECKING\n"
    root = tree("minigpt/sub/a", f"{head}if TYPE_CHECKING:\n    from minigpt.sub import b\n")
    assert code(root) == ["minigpt/sub/a.py"]


def test_a_module_that_changes_no_byte_does_not_either_nor_what_only_it_imports(tree):
    tree("minigpt/log", "from minigpt.sub import b\n")
    root = tree("minigpt/sub/a", "from minigpt import log\n")
    assert code(root) == ["minigpt/sub/a.py"]


def test_a_package_with_code_of_its_own_counts(tree):
    root = tree("minigpt/sub/__init__", '"""Two."""\n\nX = 1\n')
    assert code(root) == ["minigpt/sub/__init__.py", "minigpt/sub/a.py"]


def test_a_folder_of_entries_is_one_dep_whose_modules_lead_on(tree):
    tree("minigpt/kinds/__init__", '"""Kinds."""')
    tree("minigpt/kinds/one", "from minigpt.sub.b import B\nENTRY = B\n")
    text = 'from minigpt.entries import entries\nKINDS = entries("minigpt.kinds")\n'
    tree("minigpt/entries", "")
    root = tree("minigpt/sub/a", text)
    expected = ["minigpt/entries.py", "minigpt/kinds", "minigpt/sub/a.py", "minigpt/sub/b.py"]
    assert code(root) == expected
    tree("minigpt/kinds/two", "from minigpt.sub.c import C\nENTRY = C\n")
    assert code(root) == [*expected, "minigpt/sub/c.py"]


def test_an_import_of_nothing_is_named(tree):
    root = tree("minigpt/sub/a", "from minigpt.gone import X\n")
    with pytest.raises(ParamsError, match=r"stage make: minigpt\.gone is imported"):
        code(root)


GRAPH = f"""# A comment.
stages:
  make:
    cmd: python -m stages.make x y
    deps: [
      data/x,
      {deps.START}
      minigpt/old.py,
      {deps.END}
    ]
    outs: [y]
  other:
    cmd: python -m stages.other
    outs: [z]
"""


def test_only_what_stands_between_the_markers_is_written(tree):
    root = tree("stages/other", "")
    both = GRAPH + f"    deps: [\n      {deps.START}\n      {deps.END}\n    ]\n"
    text = deps.with_deps(both, root)
    stages = yaml.safe_load(text)["stages"]
    assert stages["make"]["deps"] == ["data/x", "stages/make.py", "minigpt/sub/a.py"]
    assert stages["other"]["deps"] == ["stages/other.py"]
    assert text.replace("stages/make.py, minigpt/sub/a.py", "minigpt/old.py").replace(
        "      stages/other.py,\n", ""
    ) == (both)
    assert deps.with_deps(text, root) == text


def test_a_stage_without_markers_is_named(tree):
    root = tree("stages/other", "")
    with pytest.raises(ParamsError, match=r"stage other does not say where its code goes"):
        deps.with_deps(GRAPH, root)


def test_check_writes_nothing_and_fails_where_something_is_stale(tree, monkeypatch, capsys):
    root = tree("stages/other", "")
    graph = root / "dvc.yaml"
    graph.write_text(GRAPH.split("  other:")[0])
    monkeypatch.chdir(root)
    before = graph.read_bytes()
    assert deps.main(["--check"]) == 1
    assert graph.read_bytes() == before
    assert deps.main([]) == 0
    assert b"minigpt/sub/a.py" in graph.read_bytes()
    assert deps.main(["--check"]) == 0
    assert "Run: make deps" in capsys.readouterr().err
