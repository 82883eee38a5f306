"""What is said of own text: what was found, whether it will do, and where to mend it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from minigpt.cli import look
from minigpt.data.copies import advice
from minigpt.data.download import read_source
from minigpt.data.sources.local import LocalSource
from minigpt.data.validation import validate
from minigpt.errors import DataError
from minigpt.own_text import said
from minigpt.own_text.plan import plan_own_text
from tests.letters import letter

GERMAN = (
    "Am {n}. Tag gingen wir weiter den Fluss hinauf als je zuvor, und es war nicht ein Mensch da, "
    "der uns sagte, wie weit es noch zu dem Dorf an der Grenze ist.\n\n"
)


@pytest.fixture(autouse=True)
def here(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(look, "project_root", lambda: root)


def test_languages_amount_and_use_are_said(root, letters):
    for number in range(3):
        text = "".join(GERMAN.format(n=30 * number + n) for n in range(30))
        (letters / f"de{number}.txt").write_text(text)
    lines = list(plan_own_text(root, letters).said)
    assert any(" kB · 23 works · English 20, German 3 · train " in line for line in lines)
    assert "enough for fine-tuning (at least 15 kB): yes" in lines


def test_too_little_to_fine_tune_on_is_said(root, letters, monkeypatch):
    monkeypatch.setattr(said, "FINETUNE_BYTES", 10**6)
    lines = list(plan_own_text(root, letters).said)
    assert (
        "enough for fine-tuning (at least 1.0 MB): NO, it will soon be known by heart: add text"
    ) in lines


def test_the_command_says_that_it_copied_and_what_to_do_after_an_edit(letters, capsys):
    look.preset("local", str(letters))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == str(letters)
    assert (
        f"  copied to data/local/letters: after an edit in {letters} run this command again, or "
        "give --link, and each run looks there itself"
    ) in lines
    assert lines[-1] == "params.yaml now holds preset local. Next: make run"
    look.preset("local", "data/local/letters")
    assert "nothing was copied: data/local/letters is read where it is" in capsys.readouterr().err


def test_a_failure_in_a_copied_text_names_the_folder_and_the_command(root, letters, documents):
    look.preset("local", str(letters))
    command = f"is a copy of {letters}: mend the text there, then copy it again: "
    command += f"minigpt preset local --path {letters}"
    with pytest.raises(DataError) as refused:
        validate_bad(documents("letters"))
    assert command in str(refused.value)
    with pytest.raises(DataError) as refused:
        validate_bad(documents("others"))
    assert "is a copy of" not in str(refused.value)

    copied = root / "data" / "local" / "letters"
    (copied / "bad.jsonl").write_text("{")
    source = LocalSource(role="finetune", licence="private", path="data/local/letters")
    archive = root / "letters.tar"
    source.fetch("letters", archive, Path("data/local"), SimpleNamespace(say=print))
    with pytest.raises(DataError) as refused:
        read_source("letters", source, archive)
    assert "bad.jsonl: line 1" in str(refused.value)
    assert command in str(refused.value)


def test_where_a_folder_with_blanks_in_its_name_is_copied_from(letters):
    folder = letters.rename(letters.with_name("My letters"))
    look.preset("local", str(folder))
    assert f"--path '{folder}'" in advice(["my-letters"])
    assert advice(["other"]) == ""


def validate_bad(raw):
    from minigpt.data.config import ValidateParams

    run = SimpleNamespace(progress=print, say=print, dataset=print)
    out = Path("out")
    validate(raw, out, out / "dropped", out / "report", ValidateParams(), run)


@pytest.fixture
def documents(root):
    """data/raw of a source, with one text that could not be decoded."""
    from minigpt.data.archives import Member
    from minigpt.data.document import DOCUMENTS, write_documents
    from minigpt.data.download import documents_of

    def make(name):
        source = LocalSource(role="finetune", licence="private", path=f"data/local/{name}")
        raw = root / "raw" / name
        raw.mkdir(parents=True)
        bad = Member("1862.txt", b"caf\xe9 " + letter(1).encode())
        write_documents(raw / DOCUMENTS, list(documents_of(name, source, bad)))
        return raw

    return make
