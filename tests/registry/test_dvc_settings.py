import subprocess
import sys

import pytest

from minigpt.registry.dvc_settings import use_cache


def dvc(root, *arguments):
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", ["""C# notes, 100% "x" it's""", "100%(x)s"])
def test_dvc_keeps_its_cache_in_a_folder_of_any_name_and_its_other_settings(name, tmp_path):
    root = tmp_path / name
    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    dvc(root, "init", "-q")
    dvc(root, "config", "--local", "core.checksum_jobs", "3")
    use_cache(root, root / "elsewhere")
    (root / "text").write_text("private")
    dvc(root, "add", "-q", "text")
    assert [path for path in (root / "elsewhere").rglob("*") if path.is_file()]
    assert list(tmp_path.iterdir()) == [root]
    assert dvc(root, "config", "--local", "core.checksum_jobs").strip() == "3"
