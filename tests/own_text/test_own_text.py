"""`minigpt preset local` looks first, says what it takes, and changes nothing where it refuses."""

import json
import os
import sys
from pathlib import Path

import pytest

from minigpt.cli import look
from minigpt.data.folder import look_into, shown
from minigpt.errors import DataError, ParamsError
from minigpt.log import size_of
from minigpt.own_text import plan
from minigpt.own_text.plan import name_of, plan_own_text
from minigpt.own_text.texts_here import plan_problems, texts_here
from minigpt.params import Params, load_params
from minigpt.presets import load_preset, write_params
from tests.letters import LETTER, letter, read, tree


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My letters", "my-letters"), ("Notes (2)", "notes-2"), ("тексты", "тексты"),
     ("2023", "2023"), ("no", "no"), ("null", "null"), ("1e3", "1e3"), ("C# notes", "c-notes"),
     ("it's", "it-s"), ("a: b", "a-b"), ("👋", "text"), ("-x", "x"), ("e\u0301t\u00e9", "été")],
)  # fmt: skip
def test_a_folder_of_any_name_becomes_a_source(root, letters, folder, name):
    own = plan_own_text(root, letters.rename(letters.with_name(folder)))
    write_params(root, own.params, "local", first=own.copy)
    params = load_params(Params, root / "params.yaml")
    assert params == own.params
    assert params.roles[name] == "finetune"
    assert params.release.name == f"minigpt-{name}"
    assert (root / "data" / "local" / name / "00.txt").read_text() == letter(0)


def test_what_is_no_text_stays_out_and_is_counted(root, letters):
    for path in (".trash/deleted.md", "__MACOSX/._b.txt", ".hidden.txt", "deep/.git/a.txt",
                 "a.json", "b.json", "c.docx", "README"):  # fmt: skip
        (letters / path).parent.mkdir(parents=True, exist_ok=True)
        (letters / path).write_text(LETTER)
    (letters / "deep" / "LOUD.TXT").write_text(letter(99))
    own = plan_own_text(root, letters)
    assert len(own.folder.files) == 21
    assert "deep/LOUD.TXT" in own.folder.files
    assert next(own.said) == (
        "21 files read (.txt 21) · 8 left out (.docx 1, .json 2, hidden 4, no suffix 1)"
    )
    own.copy()
    assert list(tree(own.target)) == read(own)


def test_links_are_followed_outwards_and_named_but_never_in_a_circle(root, letters, tmp_path):
    other = tmp_path / "elsewhere"
    (other / "deep").mkdir(parents=True)
    (other / "deep" / "x.txt").write_text(letter(50))
    (other / "y.txt").write_text(letter(51))
    (other / "deep" / "round").symlink_to(other)
    for name, to in {"books": other, "again": other, "one.txt": other / "y.txt", "up": tmp_path,
                     "self": letters, "gone.txt": "nowhere", "loop": "loop"}.items():  # fmt: skip
        (letters / name).symlink_to(to)
    own = plan_own_text(root, letters)
    assert set(read(own)) - {f"{n:02}.txt" for n in range(20)} == {
        "again/deep/x.txt", "again/y.txt", "one.txt"
    }  # fmt: skip
    assert own.folder.left_out == {
        "again/deep/round": "read already",
        "books": "read already",
        "gone.txt": "broken link",
        "loop": "broken link",
        "self": "link back into the folder",
        "up": "link back into the folder",
    }
    assert f"again: leads to {other}" in "\n".join(own.said)
    own.copy()
    assert not any(path.is_symlink() for path in own.target.rglob("*"))


def unreadable(monkeypatch, folder, *names):
    """Root may read anything, so the refusal is made: opening and listing these fails."""
    bad = {str(folder / name) for name in names}

    def guarded(real):
        def call(path, *args, **options):
            if str(path) in bad:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *args, **options)

        return call

    monkeypatch.setattr(Path, "open", guarded(Path.open))
    monkeypatch.setattr(os, "scandir", guarded(os.scandir))


def test_what_cannot_be_read_is_named_with_its_cure_before_anything_is_copied(
    root, letters, monkeypatch
):
    (letters / "old").mkdir()
    unreadable(monkeypatch, letters, "03.txt", "old")
    own = plan_own_text(root, letters)
    said = "\n".join(own.said)
    assert "19 files read (.txt 19) · 2 left out (not readable 2)" in said
    assert "not readable: 03.txt: chmod u+r; old/: chmod u+rx" in said
    assert not (root / "data").exists()


def test_in_data_local_itself_an_unreadable_file_is_refused(root, letters, monkeypatch):
    own = plan_own_text(root, letters)
    own.copy()
    unreadable(monkeypatch, own.target, "03.txt")
    with pytest.raises(DataError, match=r"03\.txt: chmod u\+r"):
        plan_own_text(root, own.target)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", LETTER.encode("utf-16-le"), r"a\.txt +[\d,]+ characters could not be decoded "
         r"\(first at byte 1\); is it utf-16\?"),
        ("a.txt", b"caf\xe9 " + LETTER.encode(), r"a\.txt .*first at byte 3\); is it latin-1\?"),
        ("a.jsonl", b'{"text": "fine"}\n{', r"a\.jsonl: line 2, column 2"),
        ("a.jsonl", rb'{"text": "a\ud800"}', r"a\.jsonl#1 .*, or spells half a character"),
    ],
)  # fmt: skip
def test_a_text_that_a_later_stage_would_refuse_is_refused_now(root, letters, name, data, message):
    own = plan_own_text(root, letters)
    write_params(root, own.params, "local", first=own.copy)
    before = tree(root)
    (letters / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        plan_own_text(root, letters)
    assert tree(root) == before


def test_a_record_that_is_no_json_is_named_by_the_path_of_its_file(root, letters):
    (letters / "deep").mkdir()
    (letters / "deep" / "a.jsonl").write_text("{")
    with pytest.raises(DataError) as refused:
        plan_own_text(root, letters)
    assert str(refused.value).startswith(f"{letters}/deep/a.jsonl: line 1, column 2 is not JSON")


@pytest.mark.parametrize(
    ("data", "cure"),
    [(LETTER.encode("utf-16"), "(iconv -f utf-16 -t utf-8)"), (b"\x89PNG\0", "Mend them or move"),
     (b"caf\xe9", "(iconv -f latin1 -t utf-8)")],
)  # fmt: skip
def test_the_cure_of_a_text_in_another_encoding_fits_it(root, letters, data, cure):
    (letters / "a.txt").write_bytes(data)
    with pytest.raises(DataError) as refused:
        plan_own_text(root, letters)
    assert cure in str(refused.value)


def test_a_file_too_large_for_an_archive_is_told_how_to_be_cut(root, letters, monkeypatch):
    monkeypatch.setattr("minigpt.data.sources.local.MAX_MEMBER", 10_000)
    (letters / "big.txt").write_text("x" * 20_000)
    with pytest.raises(DataError, match=r"big\.txt has .* MB; at most .* split -C 100m 'big.txt'"):
        plan_own_text(root, letters)


def test_one_letter_is_refused_with_source_key_and_amount(root, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("Dear sister,\n\nthe roads are deep in mud.\n")
    with pytest.raises(
        DataError,
        match=r"sources\.letters has 34 tokens to train on at most, fewer "
        r"than the 513 of one window \(finetune\.phases, model\.context_length\)",
    ):
        plan_own_text(root, tmp_path / "letters")
    assert not (root / "data").exists()


def test_plan_tells_it_of_text_that_lies_here(root, letters):
    own = plan_own_text(root, letters)
    own.copy()
    assert plan_problems(own.params, texts_here(root, own.params)) == []
    for path in own.target.iterdir():
        path.write_text("Short.\n")
    [problem] = plan_problems(own.params, texts_here(root, own.params))
    assert "sources.letters has" in problem


@pytest.mark.parametrize(("copies", "wide"), [(20, 250), (60, 500), (400, 1000)])
def test_passages_become_shorter_where_there_is_little_text_to_judge_by(
    root, letters, copies, wide
):
    for number in range(copies):
        (letters / f"{number:02}.txt").write_text(letter(number))
    own = plan_own_text(root, letters)
    assert own.params.evaluate.passage_bytes == wide
    assert own.passages >= 2 * own.params.gate.min_passages
    assert f"(20 passages): yes, {own.passages}" in list(own.said)[-1]


def test_of_little_text_the_gate_asks_for_what_there_is_so_that_there_can_be_a_champion(
    root, letters
):
    for number in range(3, 20):
        (letters / f"{number:02}.txt").unlink(missing_ok=True)
    own = plan_own_text(root, letters)
    assert 0 < own.passages == own.params.gate.min_passages < own.passages_wanted == 20
    assert f"(20 passages): NO, {own.passages} of" in list(own.said)[-2]
    write_params(root, own.params, "local")
    for number in range(20):
        (letters / f"{number:02}.txt").write_text(letter(number))
    more = plan_own_text(root, letters)
    assert more.passages > 20
    assert more.params.gate.min_passages == own.passages  # else that champion stays for ever
    assert f"gate.min_passages stays {own.passages}" in list(more.said)[-1]


def test_copies_among_the_letters_are_said(root, letters):
    (letters / "again.txt").write_text(letter(3).upper())
    own = plan_own_text(root, letters)
    assert "left out as texts: near-duplicate 1 (letters/again.txt: the same as" not in own.said
    assert any("near-duplicate 1" in line for line in own.said)


def test_a_folder_with_the_name_of_the_pretraining_source_is_refused(root, letters):
    with pytest.raises(ParamsError, match="rename the folder"):
        plan_own_text(root, letters.rename(letters.with_name("shakespeare")))
    assert not (root / "data").exists()


def test_a_folder_without_text_says_what_it_holds(root, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(ParamsError, match=r"or \.jsonl files: 1 left out \(\.png 1\)\. Save"):
        plan_own_text(root, tmp_path / "pictures")


def test_what_was_excluded_stays_excluded(root, letters):
    own = plan_own_text(root, letters)
    excluded = own.documents[0].sha256[:12]
    params = load_preset(root, "local").replace(validate={"exclude": [excluded]})
    write_params(root, params, "local")
    again = plan_own_text(root, letters)
    assert again.params.validation.exclude == (excluded,)
    assert [entry.reason for entry in again.dropped] == ["excluded"]


def test_the_same_folder_gives_the_same_answer_whatever_order_the_disk_has(letters, monkeypatch):
    before = look_into(letters, lambda path: True)
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: reversed(list(real(path))))
    assert list(look_into(letters, lambda path: True).files) == list(before.files)


def test_the_name_of_a_file_with_a_hash_is_no_line_of_another(root, letters):
    (letters / "#chan.txt").write_text(letter(30))
    (letters / "a#1.jsonl").write_text(json.dumps({"text": letter(31)}))
    works = {d.work for d in plan_own_text(root, letters).documents}
    assert {"#chan", "a#1#1"} <= works
    assert name_of(Path("C# notes")) == "c-notes"


def test_no_path_is_not_the_current_folder(root, letters, monkeypatch):
    """`minigpt preset local --path "$TEXTS"`, where TEXTS is not set."""
    monkeypatch.chdir(letters)
    with pytest.raises(ParamsError, match="needs your text"):
        look.preset("local", "")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_own_name_is_not_utf_8_is_named(root, letters):
    folder = letters.rename(letters.with_name("caf\udce9"))
    with pytest.raises(ParamsError, match=r"caf\\udce9: its name is not UTF-8; rename the folder"):
        plan_own_text(root, folder)


def test_a_file_that_opens_but_cannot_be_read_is_named(root, letters, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(DataError, match=r"00\.txt: Input/output error\. Nothing was changed"):
        plan_own_text(root, letters)


def test_a_text_that_only_repeats_itself_is_not_called_short(root, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.txt").write_text("abcd efg " * 20_000)
    with pytest.raises(DataError, match=r"repeats itself.*\(left out as .*duplicate \d\)"):
        plan_own_text(root, folder)


def test_a_folder_that_holds_the_project_is_refused_before_it_is_looked_through(root, monkeypatch):
    """`--path /` took minutes without a word."""
    monkeypatch.setattr(plan, "look_into", lambda *_: pytest.fail("it was looked through"))
    with pytest.raises(ParamsError, match="Give the folder that holds your text only"):
        plan_own_text(root, Path(root.anchor))


@pytest.mark.parametrize("letter", ["x", "é", "好"])
def test_a_long_name_of_a_folder_is_shortened(root, letters, letter):
    own = plan_own_text(
        root, letters.rename(letters.with_name(letter * (252 // len(letter.encode()))))
    )
    own.copy()
    assert own.name == letter * (100 // len(letter.encode()))


def test_a_file_is_told_to_be_given_by_its_folder(root, letters):
    with pytest.raises(ParamsError, match=f"is not a folder; give its folder: {letters}. Nothing"):
        plan_own_text(root, letters / "00.txt")
    with pytest.raises(ParamsError, match="~nobody-is-called-so/x is not a folder"):
        plan_own_text(root, Path("~nobody-is-called-so/x"))


def test_one_text_is_one_work_though_it_is_cut_in_three(root, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "a.txt").write_text("\n\n".join(letter(n) for n in range(9)))
    line = next(line for line in plan_own_text(root, folder).said if "work" in line)
    assert "1 work, cut in three · English 1 · train 1, validation 1, test 1 texts" in line
    (folder / "a.txt").write_bytes(b"caf\xe9 au lait, s'il vous plait\n\n" * 300)
    with pytest.raises(DataError, match="1 of 1 texts cannot be used"):
        plan_own_text(root, folder)


def test_a_refusal_names_the_bases_that_there_are(root, letters):
    for base in ("OWN", "", "local"):
        with pytest.raises(ParamsError, match=rf"--base '{base}': expected own, or a preset: "):
            plan_own_text(root, letters, base=base)


def test_a_name_with_a_line_end_stays_in_its_line(root, letters, tmp_path):
    folder = letters.rename(tmp_path / "two\nlines")
    assert all("\n" not in line for line in plan_own_text(root, folder).said)
    assert shown(str(folder)).endswith(r"two\x0alines")


def test_amounts_are_rounded_down():
    sizes = (14_990, 15_000, 20_000, 999_999, 1_000_000, 1_990_000)
    assert [size_of(size) for size in sizes] == [
        "14.9 kB", "15 kB", "20 kB", "999 kB", "1.0 MB", "1.9 MB",
    ]  # fmt: skip
