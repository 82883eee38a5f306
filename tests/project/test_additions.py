"""What CONTRIBUTING promises: one new file is a new exporter, position, source, reader or preset.

The files in tests/project/additions were written by its recipes. Each is put into a copy of the
tree, where no other line changes, and that tree's own tests must take it up.
"""

import re
import shutil
import sys
from pathlib import Path

import pytest

ADDITIONS = Path(__file__).parent / "additions"
PLACES = {
    "npy.py": "minigpt/export/formats",
    "sinusoidal.py": "minigpt/model/positions",
    "inline.py": "minigpt/data/sources",
    "tsv.py": "minigpt/data/readers",
    "trial.yaml": "presets",
}
TESTS = (
    "tests/model/test_gpt.py",
    "tests/export/test_exporters.py",
    "tests/data/test_sources.py",
    "tests/test_presets.py",
    "tests/project/test_graph.py",
)


@pytest.fixture(scope="module")
def extended(make_checkout, tmp_path_factory):
    """A copy of the tree with one more file of each kind."""
    project = make_checkout(tmp_path_factory.mktemp("additions") / "minigpt")
    for name, folder in PLACES.items():
        shutil.copyfile(ADDITIONS / name, project.root / folder / name)
    return project


def test_every_addition_has_its_place():
    assert {path.name for path in ADDITIONS.iterdir() if path.is_file()} == PLACES.keys()


def test_nothing_but_the_new_files_changes(extended):
    assert "names what" in extended.run(sys.executable, "-m", "pipelines.deps", "--check").stderr
    status = extended.run("git", "status", "--porcelain", "--untracked-files=all").stdout
    assert sorted(status.splitlines()) == sorted(f"?? {at}/{name}" for name, at in PLACES.items())


def test_the_tests_that_loop_over_entries_take_them_up(extended):
    """Each name is among those that pass, and none fails; ONNX is slow and has its own tests."""
    names = [Path(name).stem for name in PLACES]
    chosen = f"({' or '.join(names)}) and not onnx"
    options = ("-q", "-rA", "-p", "no:cacheprovider", "-k", chosen)
    # One thread: several that wait for each other on a busy machine take ten times as long.
    threads = {"OMP_NUM_THREADS": "1"}
    done = extended.run(sys.executable, "-m", "pytest", *options, *TESTS, env=threads)
    for name in (*names, "npy-sinusoidal", "hf-sinusoidal"):
        assert re.search(rf"^PASSED .*\b{name}\b", done.stdout, re.MULTILINE), (name, done.stdout)


def test_params_accept_them_and_say_what_they_mean(extended):
    extended.minigpt("preset", "trial")
    try:
        text = (extended.root / "params.yaml").read_text()
    finally:
        extended.run("git", "checkout", "-q", "params.yaml")
    assert "kind: sinusoidal\n    longest: 10000.0  # Longest wavelength in positions" in text
    assert "formats: [npy, onnx]" in text
    assert 'content: "A line of text.\\n"' in text
