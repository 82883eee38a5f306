"""What only looks imports none of the libraries that take seconds: a command answers at once."""

import sys

import pytest

HEAVY = {"mlflow", "sqlalchemy", "prefect", "torch", "pandas", "datasets", "great_expectations"}
RUN = """
import sys
sys.argv = ["minigpt", *sys.argv[1:]]
from minigpt.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("imported:", *sorted({heavy} & {{*sys.modules}}))
"""


def imported(project, *command):
    """The heavy libraries that a command imported."""
    done = project.run(sys.executable, "-c", RUN.format(heavy=HEAVY), *command)
    last = done.stdout.splitlines()[-1]
    assert last.startswith("imported:")
    return last.split()[1:]


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "doctor",
        "registry list",
        "registry log",
        "lineage champion",
        "lineage champion --stages",
        "lineage --data data/tiny",
        "compare 1 champion",
        "report",
        "verify 1 --from-cache",
        "registry promote 1",
    ],
)
def test_what_reads_imports_nothing_heavy(built, command):
    assert imported(built, *command.split()) == []


def test_what_writes_text_imports_nothing_heavy_but_torch_where_that_computes(built):
    words = ("generate", "My fellow", "--max-tokens", "3")
    assert imported(built, *words) == []
    assert imported(built, *words, "--engine", "torch") == ["torch"]


def test_a_second_run_is_one_line_without_a_server(built):
    log = built.root / ".work" / "logs" / "server.log"
    before = log.stat().st_mtime_ns
    code = "import sys; from pipelines.run import main; assert main([]) == 0; print(*sys.modules)"
    done = built.run(sys.executable, "-c", code)
    line, modules = done.stdout.splitlines()
    assert line.startswith("10 of 10 stages unchanged · version 1 is champion · ")
    assert not HEAVY & set(modules.split())
    assert log.stat().st_mtime_ns == before
