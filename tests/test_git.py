"""git works on the repository of the folder that it is given, whatever the environment names."""

import subprocess
from types import SimpleNamespace

import pytest

from minigpt.cli.look import commit_of
from minigpt.errors import MiniGPTError, ParamsError
from minigpt.git import ELSEWHERE, git, require_git, run_git
from minigpt.presets import edited
from minigpt.registry.provenance import provenance
from pipelines.committed import committed

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
    assert commit_of(here) == (True, commit[:12])
    assert committed(here, "params.yaml") == b"here"
    assert not edited(here)
    record = SimpleNamespace(commit=commit)
    assert provenance._code(record, here)["uri"] == f"git+{ORIGIN}"


def test_a_repository_of_another_user_is_opened_by_one_command(tmp_path, monkeypatch):
    here, commit = repository(tmp_path / "some one's")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(MiniGPTError, match="belongs to another user") as refused:
        require_git(here)
    assert "git init" not in str(refused.value)
    assert not commit_of(here)[0]
    command = str(refused.value).partition("run: ")[2]
    subprocess.run(["sh", "-c", command], check=True)
    assert require_git(here) == commit


def test_a_folder_without_git_and_one_without_a_commit_are_told_apart(tmp_path):
    with pytest.raises(ParamsError, match=r"not a git repository.*Run: git init && git add"):
        require_git(tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(ParamsError, match=r"single revision\. Run: git add -A && git commit"):
        require_git(tmp_path)


def test_what_another_git_holds_is_named(tmp_path):
    here, _ = repository(tmp_path / "here")
    (here / ".git" / "index.lock").touch()
    with pytest.raises(MiniGPTError, match=r"index\.lock.*Another git is at work; where none is"):
        git(here, "add", "-A")


def test_a_damaged_object_is_not_taken_for_a_folder_without_git(tmp_path):
    here, _ = repository(tmp_path / "here")
    tree = git(here, "rev-parse", "HEAD^{tree}").decode().strip()
    path = here / ".git" / "objects" / tree[:2] / tree[2:]
    path.chmod(0o644)
    path.write_bytes(b"")
    with pytest.raises(MiniGPTError, match=r"Run: git fsck"):
        git(here, "ls-tree", "HEAD")


def test_a_missing_folder_is_not_taken_for_a_missing_git(tmp_path, monkeypatch):
    with pytest.raises(MiniGPTError, match=r"gone: No such file"):
        run_git(tmp_path / "gone", "status")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MiniGPTError, match="git is not installed"):
        run_git(tmp_path, "status")
