"""What is believed of a store before anything out of it is applied, checked out or built."""

import shutil
import signal
import subprocess

import pytest
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.errors import MiniGPTError, RegistryError, UntrustedError
from minigpt.registry.artifacts import version_files
from minigpt.registry.provenance import keys
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry
from minigpt.registry.verification import rebuild, trust
from minigpt.registry.verification import verify as proof
from minigpt.registry.verification.reference_files import object_path
from minigpt.registry.verification.verify import verify
from minigpt.registry.versions import COMMIT, DIRTY
from minigpt.release.manifest import load_files
from minigpt.tracking.relocate import relocate

NAME = "minigpt-test"
RUNNER = CliRunner()


def tag(registry, name, value):
    registry.store.client.set_model_version_tag(NAME, "1", name, value)


def artifacts_of(registry):
    with version_files(registry, find_version(registry, "1")) as files:
        return files.need("release/manifest.json").parents[1]


def commit_of(root, ref="HEAD"):
    done = subprocess.run(["git", "rev-parse", ref], cwd=root, capture_output=True, check=True)
    return done.stdout.decode().strip()


def put_patch(toy, line):
    """What a stranger does who can write the store: a patch whose code runs in the build."""
    code = toy.root / "stages" / "build.py"
    before = code.read_text()
    code.write_text(f"{before}{line}\n")
    patch = subprocess.run(["git", "diff"], cwd=toy.root, capture_output=True, check=True).stdout
    code.write_text(before)
    (artifacts_of(toy.registry) / "source.patch").write_bytes(patch)
    tag(toy.registry, DIRTY, "true")


def test_a_patch_that_nobody_vouches_for_is_rebuilt_only_when_it_is_trusted(toy, tmp_path):
    marker = tmp_path / "the patch ran"
    put_patch(toy, f"pathlib.Path({str(marker)!r}).write_text('x')")
    said, asked = [], []
    with pytest.raises(UntrustedError, match=r"--trust-store") as refusal:
        verify(toy.registry, "1", said.append, trust=lambda why: bool(asked.append(why)))
    assert asked == [str(refusal.value)]
    assert "nobody vouches for its source.patch" in asked[0]
    assert "minigpt lineage 1 --patch" in asked[0]
    assert said == []
    assert not marker.exists()
    assert not (toy.root / ".work").exists()
    report = verify(toy.registry, "1", said.append, trust=lambda _: True)
    assert marker.exists()
    assert report.vouched_by == "you"
    assert said[0].startswith("vouched for: commit ")


def test_a_clean_commit_of_the_users_own_branch_is_vouched_for_by_git(toy):
    with version_files(toy.registry, find_version(toy.registry, "1")) as files:
        voucher = trust.vouch(toy.root, files, trust.code_of(files), "1", None)
    assert voucher.by == "git"
    assert voucher.words.endswith("of this repository")
    assert voucher.problem == ""


def test_a_commit_that_no_branch_holds_is_not_believed(toy):
    """A fetch of somebody's pull request brings its objects along."""
    toy.git("checkout", "-q", "-b", "theirs")
    (toy.root / "stages" / "build.py").write_text("raise SystemExit('their code ran')\n")
    toy.git("commit", "-q", "-am", "theirs")
    tag(toy.registry, COMMIT, commit_of(toy.root))
    toy.git("checkout", "-q", "-")
    toy.git("branch", "-q", "-D", "theirs")
    with pytest.raises(UntrustedError, match=r"no branch or tag .* git show [0-9a-f]{12}\."):
        verify(toy.registry, "1", print)


@pytest.mark.parametrize("commit", ["", "HEAD", "--orphan", "refs/heads/main", "ab" * 19])
def test_what_is_no_commit_id_never_reaches_git(toy, commit):
    tag(toy.registry, COMMIT, commit)
    with pytest.raises(RegistryError, match="is no commit id"):
        verify(toy.registry, "1", print)


@pytest.fixture
def vouched(own, monkeypatch):
    """A function that asks who vouches for a signed version whose tree had edits."""
    root, registry, _, public = own
    monkeypatch.setenv(keys.KEY, str(root / "nobody.pem"))

    def ask(key=public):
        with version_files(registry, find_version(registry, "1")) as files:
            return trust.vouch(root, files, trust.code_of(files), "1", key)

    return ask


def test_a_signature_vouches_for_commit_and_patch(vouched):
    voucher = vouched()
    assert voucher.by == "signature"
    assert "and its source.patch: signed by key" in voucher.words
    with pytest.raises(UntrustedError, match="there is no public key to check it with"):
        vouched(key=None)


def test_the_key_of_somebody_else_vouches_for_nothing(vouched, tmp_path):
    keys.new_key(tmp_path / "other.pem")
    with pytest.raises(UntrustedError, match="expected was"):
        vouched(key=tmp_path / "other.pub")


@pytest.mark.parametrize("name", ["source.patch", "dvc.lock", "release/files.json"])
def test_what_was_changed_after_signing_is_not_vouched_for(own, vouched, name):
    path = artifacts_of(own[1]) / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(UntrustedError, match=f"{name}: DIFFERENT: not what was signed"):
        vouched()


def test_another_commit_than_the_signed_one_is_vouched_for_by_git_alone(own, vouched):
    root, registry, _, _ = own
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    command = ["git", *identity, "commit", "-q", "--allow-empty", "-m", "later"]
    subprocess.run(command, cwd=root, check=True)
    tag(registry, COMMIT, commit_of(root))
    with pytest.raises(UntrustedError, match="speaks of commit"):
        vouched()
    tag(registry, DIRTY, "false")
    voucher = vouched()
    assert voucher.by == "git"
    assert "speaks of commit" in voucher.problem


def new_file(name, content, mode="100644"):
    lines = "".join(f"+{line}\n" for line in content.splitlines())
    return (
        f"diff --git a/{name} b/{name}\nnew file mode {mode}\n--- /dev/null\n+++ b/{name}\n"
        f"@@ -0,0 +1,{content.count(chr(10)) or 1} @@\n{lines}"
        + ("" if content.endswith("\n") else "\\ No newline at end of file\n")
    ).encode()


def checked_out(toy, patch, folder):
    folder.mkdir()
    return rebuild.check_out(toy.root, trust.Code(commit_of(toy.root), patch), folder)


@pytest.mark.parametrize(
    ("name", "content", "mode"),
    [
        ("../../outside", "x\n", "100644"),
        ("/tmp/outside-of-everything", "x\n", "100644"),
        (".git/hooks/post-checkout", "#!/bin/sh\n", "100755"),
        (".GIT/hooks/post-checkout", "#!/bin/sh\n", "100755"),
        ("data/local", "/tmp", "120000"),
        ("models", "..", "120000"),
        ("module", f"Subproject commit {'1' * 40}", "160000"),
    ],
)
def test_a_patch_reaches_nothing_outside_of_the_clean_folder(toy, tmp_path, name, content, mode):
    before = set(tmp_path.iterdir())
    with pytest.raises(MiniGPTError):
        checked_out(toy, new_file(name, content, mode), tmp_path / "new")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "new"}
    assert not (tmp_path / "new" / "tree" / ".git" / "hooks" / "post-checkout").exists()
    assert not (tmp_path / "new" / "tree" / "dvc.yaml").exists()  # refused before a file is written


def test_neither_gits_nor_dvcs_settings_come_out_of_a_patch(toy, tmp_path):
    """A filter would run a command of the user's, a cache folder be written to."""
    (toy.root / ".dvc" / "config").write_text("[cache]\n    dir = /tmp/elsewhere\n")
    difference = ["git", "diff", "--", ".dvc/config"]
    patch = subprocess.run(difference, cwd=toy.root, capture_output=True, check=True).stdout
    assert patch
    patch += new_file(".gitattributes", "* filter=lfs\n")
    patch += new_file("stages/.gitattributes", "* filter=lfs\n") + new_file("stages/new.py", "x\n")
    tree = checked_out(toy, patch, tmp_path / "new")
    assert (tree / "stages" / "new.py").read_text() == "x\n"
    assert not (tree / ".gitattributes").exists()
    assert not (tree / "stages" / ".gitattributes").exists()
    assert sorted(p.name for p in (tree / ".dvc").iterdir()) == ["config"]
    assert "elsewhere" not in (tree / ".dvc" / "config").read_text()


@pytest.mark.parametrize("out", ["../../precious", "/precious", ".", "stages/../../../precious"])
def test_an_output_outside_of_the_project_is_refused_and_not_removed(toy, tmp_path, out):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "letter").write_text("dear")
    out = out.replace("/precious", f"{precious}") if out == "/precious" else out
    graph = (toy.root / "dvc.yaml").read_text().replace("- models/base\n", f"- {out}\n")
    (toy.root / "dvc.yaml").write_text(graph)
    toy.git("commit", "-q", "-am", "outside")
    with pytest.raises(RegistryError, match="is outside of the project"):
        checked_out(toy, b"", tmp_path / "new")
    assert (precious / "letter").read_text() == "dear"
    assert (tmp_path / "new" / "tree" / "stages" / "build.py").is_file()


def test_a_list_or_a_lock_out_of_a_store_leads_nowhere_else(tmp_path):
    entry = '{"path": "%s", "size": 1, "sha256": "%s"}'
    for path, sha256 in (("../up", "0" * 64), ("/etc/passwd", "0" * 64), ("a", "../../b")):
        (tmp_path / "files.json").write_text('{"files": [' + entry % (path, sha256) + "]}")
        with pytest.raises(RegistryError, match=r"files\.json is not as minigpt writes it"):
            load_files(tmp_path / "files.json")
    for md5 in ("../../x", "", "0" * 31, "0" * 32 + ".dir/.."):
        with pytest.raises(RegistryError, match="no md5"):
            object_path(tmp_path, md5)


def test_the_command_refuses_with_2_and_a_stop_is_one_line(toy, monkeypatch):
    monkeypatch.chdir(toy.root)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the command takes over Ctrl-C
    put_patch(toy, "# edited")
    done = RUNNER.invoke(app, ["verify", f"{NAME}@challenger"])
    assert isinstance(done.exception, UntrustedError)
    assert done.exception.exit_code == 2
    both = RUNNER.invoke(app, ["verify", f"{NAME}@challenger", "--from-cache", "--trust-store"])
    assert both.exception.exit_code == 2

    def stopped(*_):
        raise SystemExit(128 + signal.SIGINT)

    monkeypatch.setattr(proof, "verify", stopped)
    done = RUNNER.invoke(app, ["verify", f"{NAME}@challenger"])
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr == "stopped (Ctrl-C): nothing was proven, and nothing is left behind\n"


def test_hashing_again_says_that_nobody_vouches_for_the_list(toy, monkeypatch):
    monkeypatch.chdir(toy.root)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    done = RUNNER.invoke(app, ["verify", f"{NAME}@challenger", "--from-cache"])
    assert done.exit_code == 0
    assert "nobody vouches for the list of its files" in done.stdout


def test_a_rebuild_in_a_folder_whose_name_is_a_comment_elsewhere(toy, tmp_path):
    root = tmp_path / "C# notes, 50% \"done\" 'it's" / "toy"
    shutil.copytree(toy.root, root)
    relocate(root)
    before = set(tmp_path.iterdir())
    report = verify(Registry(root, NAME), "1", print)
    assert report.verdict == "identical", report.bad
    assert {p.name for p in set(tmp_path.iterdir()) - before} <= {"site"}
