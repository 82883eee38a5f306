"""Each mistake has one clear line, a non-zero exit, no traceback and nothing half-written."""

import hashlib
import io
import shutil
import subprocess
import tarfile

import pytest

from minigpt.graph import read_graph
from minigpt.tracking.delivery import TROUBLE
from minigpt.tracking.journal import RUNS
from tests.patience import until


def refusal(done):
    """What was printed by a command that must fail without a traceback."""
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "Traceback" not in said, said
    return said


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("model", "n_layerz", 2, "params.yaml: model.n_layerz: unknown key; did you mean n_layer?"),
        ("model", "n_head", 7, "params.yaml: model.n_head: 7 does not divide n_embd (64)"),
        ("pretrain", "tokens_per_step", -1, "params.yaml: pretrain.tokens_per_step: "),
    ],
)
def test_a_bad_value_is_named_before_anything_runs(project, section, key, value, expected):
    before = sorted(p.as_posix() for p in project.root.glob("models/**/*"))
    project.set_params(lambda p: p[section].update({key: value}))
    done = project.flow(check=False)
    assert expected in refusal(done).splitlines()[0]
    assert done.returncode == 2
    assert expected in refusal(project.minigpt("plan", check=False))
    assert sorted(p.as_posix() for p in project.root.glob("models/**/*")) == before
    assert expected in refusal(project.repro(check=False))


def test_every_problem_of_params_is_named_at_once(project):
    def spoil(values):
        values["model"]["n_layerz"] = 2
        values["evaluate"]["strid"] = 3

    project.set_params(spoil)
    said = refusal(project.flow(check=False))
    assert "model.n_layerz: unknown key" in said
    assert "evaluate.strid: unknown key; did you mean stride?" in said


def test_an_unreachable_index_is_said_quickly_and_leaves_nothing(fresh):
    fresh.minigpt("preset", "shakespeare", "--force")
    closed = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/index/",
        "PIP_EXTRA_INDEX_URL": "",
        "MINIGPT_CACHE": str(fresh.root.parent / "empty"),
        "PIP_CONFIG_FILE": "/dev/null",
    }
    said = refusal(fresh.repro("download", check=False, env=closed))
    assert "127.0.0.1:9" in said
    assert not (fresh.root / "data" / "raw").exists()
    assert not (fresh.root / "data" / "archives").exists()


def archive_of(name, text):
    """A gzipped tar with one member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "sha256", "expected"),
    [
        (archive_of("play.txt", b"To be"), "0" * 64, "sha256"),
        (archive_of("../../escaped.txt", b"To be"), None, "escaped.txt"),
        (archive_of("play.txt", b"To be")[:-20], None, "books-1.tar.gz"),
    ],
    ids=["wrong sha256", "path traversal", "corrupted"],
)
def test_an_archive_that_is_not_what_it_should_be_is_refused(
    project, tmp_path, content, sha256, expected
):
    path = tmp_path / "books-1.tar.gz"
    path.write_bytes(content)
    actual = hashlib.sha256(content).hexdigest()
    pin = {"filename": path.name, "sha256": sha256 or actual, "bytes": len(content)}
    books = {"kind": "url", "url": path.as_uri(), "pin": pin, "role": "pretrain", "licence": "-"}
    project.set_params(lambda p: p["sources"].update(books=books))
    said = refusal(project.repro("download", check=False))
    assert expected in said
    assert "download: " in said
    assert not (project.root / "data" / "raw").exists()
    assert not list(tmp_path.rglob("escaped.txt"))


def test_invalid_utf8_fails_validate_and_names_the_document(project):
    plays = project.root / "data" / "tiny" / "plays"
    victim = min(plays.glob("*.txt"))
    victim.write_bytes(victim.read_bytes() + b"\n\ncaf\xe9 \xff\xfe\n")
    said = refusal(project.repro("validate", check=False))
    assert victim.stem in said
    assert "could not be decoded" in said
    assert not (project.root / "data" / "documents").exists()


def test_an_empty_corpus_is_refused(project):
    for path in (project.root / "data" / "tiny" / "plays").glob("*.txt"):
        path.unlink()
    assert "plays" in refusal(project.repro("validate", check=False))


def test_a_full_disk_leaves_no_half_written_output(project):
    project.set_params(lambda p: p.update(seed=99))
    limited = ("prlimit", "--fsize=600000")
    if shutil.which("prlimit") is None:
        limited = ("bash", "-c", 'ulimit -f 600; exec "$@"', "--")
    shutil.rmtree(project.root / "models" / "base")
    command = read_graph(project.root)["pretrain"].cmd.split()
    # Straight to the stage: DVC's own database would be the first to meet the limit.
    said = refusal(project.run(*command, check=False, prefix=limited))
    trouble = project.root / RUNS / TROUBLE  # its courier tells it there, for the next stage
    until(lambda: trouble.is_file() and "mlflow.db: cannot be made" in trouble.read_text())
    said = refusal(project.run(*command, check=False, prefix=limited))
    assert "mlflow.db: cannot be made" in said
    untracked = {"MINIGPT_TRACKER": "none"}
    said = refusal(project.run(*command, check=False, prefix=limited, env=untracked))
    assert "cannot write: File too large" in said
    assert not (project.root / "models" / "base").exists()
    assert not list((project.root / "models").glob(".*.part"))


def test_shards_of_another_tokenizer_are_refused(project):
    """Somebody put another tokenizer in place behind DVC's back: pretrain itself must notice."""
    path = project.root / "models" / "tokenizer" / "tokenizer.tiktoken"
    lines = path.read_bytes().splitlines(keepends=True)
    words = [line.split(b" ") for line in lines]
    words[-1][0], words[-2][0] = words[-2][0], words[-1][0]
    path.unlink()
    path.write_bytes(b"".join(b" ".join(word) for word in words))
    said = refusal(project.repro("--single-item", "--force", "pretrain", check=False))
    assert "another tokenizer" in said
    assert "dvc repro tokenize" in said


def test_a_checkout_without_git_is_refused(project):
    shutil.rmtree(project.root / ".git")
    done = project.flow(check=False)
    said = refusal(done)
    assert "git" in said
    assert len(said.strip().splitlines()) <= 2


def test_unknown_references_and_presets_are_refused(built, project):
    for arguments, expected in (
        (("generate", "--model", "champion", "Now"), "is registered in"),
        (("generate", "--model", "no/such/folder", "Now"), "no/such/folder"),
        (("preset", "nothing"), "there are: "),
    ):
        assert expected in refusal(project.minigpt(*arguments, check=False))
    assert "no version 17" in refusal(built.minigpt("registry", "promote", "17", check=False))


def test_edits_that_git_does_not_hold_are_not_overwritten(project):
    project.set_params(lambda p: p.update(seed=5))
    assert "--force" in refusal(project.minigpt("preset", "tiny", check=False))
    assert project.params()["seed"] == 5


def test_prlimit_or_bash_is_there():
    assert (
        subprocess.run(["bash", "-c", "ulimit -f"], capture_output=True, check=False).returncode
        == 0
    )
