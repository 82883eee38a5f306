import hashlib
import json
import os
import subprocess
import sys

import pytest

from minigpt.data.archives import members
from minigpt.data.corpora import DownloadParams
from minigpt.data.document import read_documents
from minigpt.data.download import download
from minigpt.data.source import WorkSplits
from minigpt.data.sources.local import LocalSource
from minigpt.data.sources.url import UrlSource
from minigpt.digest import digest
from minigpt.errors import DataError

TEXT = "".join(f"Line {n} of the text, with a few words.\n\n" for n in range(100))


def letter(number: int) -> str:
    """A text of its own: one that only begins otherwise is the same text again."""
    return "".join(f"Line {number}-{n} of the text, with a few words.\n\n" for n in range(100))


LOCAL, ARCHIVES, RAW = "data/local", "data/archives", "data/raw"


@pytest.fixture
def go(workspace, run):
    def go(**sources):
        params = DownloadParams(sources=sources)
        root = workspace / "data"
        return download(root.relative_to(workspace) / "local", workspace / ARCHIVES,
                        workspace / RAW, params, run)  # fmt: skip

    return go


@pytest.fixture
def letters(workspace):
    """A local folder source; call with files."""

    def make(files: dict[str, str | bytes], **fields):
        folder = workspace / LOCAL / "letters"
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            data = text if isinstance(text, bytes) else text.encode()
            (folder / path).write_bytes(data)
        return LocalSource(role="finetune", licence="private", path=f"{LOCAL}/letters", **fields)

    return make


@pytest.fixture
def plays(make_sdist, make_source, server, monkeypatch):
    """A package source behind a loopback index."""

    def make(files: dict[str, bytes], **fields):
        data = make_sdist(files)
        server.files["/simple/plays/"] = b'<a href="/files/plays-1.0.tar.gz">plays-1.0.tar.gz</a>'
        server.files["/files/plays-1.0.tar.gz"] = data
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        return make_source(data, files=("t/*.txt",), **fields)

    return make


def five(count: int = 5) -> dict[str, bytes]:
    return {f"t/w{n}.txt": f"Work {n}.\n{TEXT}".encode() for n in range(count)}


def test_a_package_becomes_documents_with_its_origin_and_licence(go, plays, workspace):
    splits = WorkSplits(val=("w0",), test=("w1", "w2"))
    source = plays(five(), splits=splits, attribution="The author")
    assert go(plays=source) == {"plays": {"documents": 5, "bytes": 5 * (len(TEXT) + 7)}}
    documents = read_documents(workspace / RAW)
    assert [d.split for d in documents] == ["val", "test", "test", "train", "train"]
    first = documents[0]
    assert (first.doc_id, first.work, first.role) == ("plays/w0.txt", "w0", "pretrain")
    assert first.text == f"Work 0.\n{TEXT}".rstrip() + "\n"
    assert first.sha256 == hashlib.sha256(first.text.encode()).hexdigest()
    assert first.origin == f"{source.pin.sha256}:t/w0.txt"
    licences = json.loads((workspace / RAW / "licences.json").read_text())
    assert licences["plays"]["attribution"] == "The author"
    assert "The author" in (workspace / RAW / "LICENCES.md").read_text()


def test_the_archive_is_kept_byte_for_byte_and_the_index_is_asked_once(
    go, plays, server, workspace
):
    source = plays(five())
    go(plays=source)
    archive = (workspace / ARCHIVES / "plays-1.0.tar.gz").read_bytes()
    assert archive == server.files["/files/plays-1.0.tar.gz"]
    server.files.clear()
    go(plays=source)
    assert len(server.asked) == 2


def test_a_damaged_cached_archive_is_fetched_again_and_that_is_said(go, plays, run):
    source = plays(five())
    go(plays=source)
    (run.machine.cache / "archives" / source.pin.sha256).write_bytes(b"damaged")
    go(plays=source)
    assert "the cached plays-1.0.tar.gz is damaged; fetching it again" in run.said


def test_a_rule_whose_group_may_match_nothing_is_named(go, letters):
    source = letters({f"{n}.txt": letter(n) for n in range(6)}).replace(work="(x)?.+")
    with pytest.raises(DataError, match=r"sources.letters.work: the group of '\(x\)\?\.\+' names"):
        go(letters=source)


def test_the_last_line_says_how_much_and_on_what_terms(go, plays, letters, run):
    splits = WorkSplits(val=("w0",), test=("w1",))
    letters_of_six = letters({f"{n}.txt": letter(n) for n in range(6)})
    go(plays=plays(five(), splits=splits), letters=letters_of_six)
    assert (
        run.said[-1] == "1 folder, 1 package, 11 documents, 0.0 MB · texts: private, public domain"
    )
    assert any("MB" in line for line in run.shown)


def test_the_outs_do_not_depend_on_the_order_or_the_time_of_files(go, letters, workspace):
    source = letters({f"{n}/a.md": f"{n}\n{TEXT}" for n in range(6)})
    go(letters=source)
    before = digest(workspace / "data" / "raw"), digest(workspace / ARCHIVES)
    for path in sorted((workspace / LOCAL).rglob("*.md"), reverse=True):
        path.write_bytes(path.read_bytes())
        path.chmod(0o600)
    go(letters=source)
    assert (digest(workspace / "data" / "raw"), digest(workspace / ARCHIVES)) == before


def test_another_file_in_a_folder_changes_no_other_document(go, letters, workspace):
    splits = WorkSplits(val=("0",), test=("1",))
    go(letters=letters({f"{n}.txt": f"{n}\n{TEXT}" for n in range(5)}, splits=splits))
    before = read_documents(workspace / RAW)
    go(letters=letters({"empty.txt": ""}, splits=splits))
    after = [d for d in read_documents(workspace / RAW) if d.work != "empty"]
    assert after == before


def test_files_of_other_kinds_are_left_out_and_said(go, letters, run, workspace):
    files = {f"{n}.txt": f"{n}\n{TEXT}" for n in range(5)} | {
        "a.pdf": b"%PDF",
        "notes/b.docx": b"PK",
    }
    go(letters=letters(files))
    assert "letters: 2 left out (.docx 1, .pdf 1)" in run.said
    tar = workspace / ARCHIVES / "letters.tar"
    assert [m.path for m in members(tar, lambda _: True)] == [f"{n}.txt" for n in range(5)]


def test_jsonl_records_are_works(go, letters, workspace):
    lines = [json.dumps({"text": letter(n)}) for n in range(8)]
    go(letters=letters({"all.jsonl": "\n".join(lines)}))
    documents = read_documents(workspace / RAW)
    assert {d.work for d in documents} == {f"all#{n}" for n in range(1, 9)}
    assert {d.split for d in documents} == {"train", "val", "test"}


def test_a_record_that_is_no_json_is_named_with_its_source(go, letters):
    with pytest.raises(DataError, match=r"^sources\.letters: all\.jsonl: line 2, column 2"):
        go(letters=letters({"all.jsonl": '{"text": "fine"}\n{'}))


def test_few_works_are_cut_and_that_is_said(go, letters, run, workspace):
    go(letters=letters({"one.txt": TEXT}))
    assert [d.work for d in read_documents(workspace / RAW)] == ["one", "one (test)", "one (val)"]
    assert any(line.startswith("letters: 1 work is too few") for line in run.said)


def test_invalid_utf8_is_remembered_for_validate(go, letters, workspace):
    files = {f"{n}.txt": f"{n}\n{TEXT}" for n in range(5)}
    go(letters=letters(files | {"0.txt": b"caf\xe9 " + TEXT.encode()}))
    (document,) = [d for d in read_documents(workspace / RAW) if d.work == "0"]
    assert document.facts == {"looks_like": "latin-1", "undecodable": 1, "undecodable_at": 3}


def test_a_folder_that_no_source_names_is_nobody_s_business(go, plays, letters):
    letters({"unused.txt": TEXT})
    assert list(go(plays=plays(five()))) == ["plays"]


def test_a_text_behind_an_address_is_a_source(go, workspace):
    data = TEXT.encode()
    (workspace / "book.txt").write_bytes(data)
    pin = {"filename": "book.txt", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    url = (workspace / "book.txt").as_uri()
    source = UrlSource(role="pretrain", licence="CC0", url=url, pin=pin)
    assert go(book=source)["book"]["documents"] == 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"other.txt": b"x"}, "empty corpus: plays-1.0.tar.gz holds no text under t/"),
        ({"../evil.txt": b"x", **five()}, "points outside the archive; refused"),
    ],
)
def test_a_bad_archive_is_one_line_and_leaves_nothing(go, plays, workspace, files, message):
    with pytest.raises(DataError, match=message) as caught:
        go(plays=plays(files))
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in (workspace / "data").iterdir()) == ["local"]


def test_a_corrupted_archive_is_one_line_and_leaves_nothing(
    go, server, make_source, monkeypatch, workspace
):
    data = b"no archive at all"
    server.files["/simple/plays/"] = b'<a href="/f/plays-1.0.tar.gz">plays-1.0.tar.gz</a>'
    server.files["/f/plays-1.0.tar.gz"] = data
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    with pytest.raises(DataError, match=r"plays-1\.0\.tar\.gz: corrupted archive"):
        go(plays=make_source(data))
    assert sorted(p.name for p in (workspace / "data").iterdir()) == ["local"]


def test_a_file_name_that_is_not_utf8_is_named(go, letters, workspace):
    source = letters({"a.txt": TEXT})
    (workspace / LOCAL / "letters" / os.fsdecode(b"caf\xe9.txt")).write_text(TEXT)
    with pytest.raises(DataError, match=r"caf.*is not UTF-8; rename it"):
        go(letters=source)


def test_a_file_name_may_hold_a_colon(go, letters):
    assert go(letters=letters({"Notes: first.txt": TEXT}))["letters"]["documents"] == 3


def test_an_empty_folder_is_an_empty_corpus(go, letters):
    with pytest.raises(DataError, match=r"sources.letters: empty corpus: data/local/letters"):
        go(letters=letters({"a.pdf": b"x"}))


@pytest.mark.parametrize("path", ["data/other", "data/local/../../x", "somewhere"])
def test_a_folder_that_dvc_does_not_watch_is_refused(go, path):
    source = LocalSource(role="finetune", licence="private", path=path)
    with pytest.raises(DataError, match="is outside data/local; only changes in there are noticed"):
        go(letters=source)


def test_an_experiment_in_a_folder_of_its_own_is_told_how_to_have_own_text(
    go, tmp_path, monkeypatch
):
    place = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    source = LocalSource(role="finetune", licence="private", path="data/local/mine")
    with pytest.raises(DataError, match=r"not in git.*--temp --copy-paths data/local/mine "):
        go(letters=source)


def test_a_missing_folder_says_what_to_run(go):
    source = LocalSource(role="finetune", licence="private", path="data/local/none")
    with pytest.raises(DataError, match=r"is not a folder. Run: minigpt preset local --path DIR"):
        go(letters=source)


def test_a_rule_for_works_that_does_not_match_is_named(go, plays):
    with pytest.raises(DataError, match=r"sources.plays.work: '\(.\+\)_gut' does not match 'w0'"):
        go(plays=plays(five(), work="(.+)_gut"))


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path[:0] = {path!r}
from minigpt.data.corpora import DownloadParams
from minigpt.data.download import download
from minigpt.data.document import import_datasets
from minigpt.errors import DataError
from minigpt.machine import Machine
class Run:
    machine = Machine()
    say = progress = dataset = staticmethod(lambda *a: None)
import_datasets()
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
try:
    download(Path("data/local"), Path("data/archives"), Path("data/raw"),
             DownloadParams.model_validate_json({params!r}), Run())
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [2_000, 20_000])
def test_a_full_disk_is_one_line_and_leaves_nothing(workspace, make_sdist, limit):
    """A file-size limit: the first stops the archive, the second the documents behind it."""
    period = "".join(hashlib.sha256(str(n).encode()).hexdigest() + "\n" for n in range(100))
    data = make_sdist({"t/a.txt": period.encode() * 200})
    assert 2_000 < len(data) < 20_000  # and Parquet's faster compression makes more of it
    (workspace / "a.tar.gz").write_bytes(data)
    pin = {"filename": "a.tar.gz", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    url = (workspace / "a.tar.gz").as_uri()
    source = UrlSource(role="pretrain", licence="CC0", url=url, pin=pin, files=("t/*",))
    params = DownloadParams(sources={"a": source}).model_dump_json()
    code = FULL_DISK.format(path=[p for p in sys.path if p], limit=limit, params=params)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=workspace
    )
    assert "cannot write: File too large. Nothing was left half-written" in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert sorted(p.name for p in (workspace / "data").iterdir()) == ["local"]
