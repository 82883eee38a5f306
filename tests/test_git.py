"""git works on the repository of the folder that it is given, whatever the environment names."""

from types import SimpleNamespace

import pytest

from minigpt.cli.look import commit_of
from minigpt.git import ELSEWHERE, git, run_git
from minigpt.presets import edited
from minigpt.registry.provenance import provenance
from pipelines.committed import committed
from pipelines.dag import require_git

ORIGIN = "https://example.org/here.git"


def repository(root):
    """One commit with a params.yaml that names the folder."""
    root.mkdir()
    (root / "params.yaml").write_text(root.name)
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["remote", "add", "origin", f"https://example.org/{root.name}.git"],
        ["add", "-A"],
        [*who, "commit", "-qm", root.name],
    ):
        git(root, *arguments)
    return root, git(root, "rev-parse", "HEAD").decode().strip()


@pytest.fixture
def user(tmp_path, monkeypatch):
    """The user's own repository, which a hook of it or an export names to every git."""
    root, _ = repository(tmp_path / "user")
    for name in ELSEWHERE:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("GIT_DIR", str(root / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(root))
    monkeypatch.setenv("GIT_INDEX_FILE", str(root / ".git" / "index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(root / ".git" / "objects"))
    return root


def test_a_folder_that_is_checked_out_leaves_the_users_repository_as_it_is(user, tmp_path):
    folder = tmp_path / "clean"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "fetch", "-q", str(user), "main")
    git(folder, "checkout", "-q", "--detach", "FETCH_HEAD")
    assert (folder / "params.yaml").read_text() == "user"
    assert (user / ".git" / "HEAD").read_text() == "ref: refs/heads/main\n"


def test_what_a_caller_names_still_counts(user, tmp_path):
    index = tmp_path / "index"
    assert run_git(user, "read-tree", "HEAD", env={"GIT_INDEX_FILE": str(index)}).returncode == 0
    assert index.is_file()


@pytest.mark.usefixtures("user")
def test_every_part_that_asks_git_asks_the_folders_own(tmp_path):
    here, commit = repository(tmp_path / "here")
    assert require_git(here) == commit
    assert commit_of(here) == (True, git(here, "rev-parse", "--short", "HEAD").decode().strip())
    assert committed(here, "params.yaml") == b"here"
    assert not edited(here)
    record = SimpleNamespace(commit=commit)
    assert provenance._code(record, here)["uri"] == f"git+{ORIGIN}"
