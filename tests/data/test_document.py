import subprocess
import sys

import pytest

from minigpt.data.document import DOCUMENTS, Document, read_documents, write_documents
from minigpt.digest import file_digest
from minigpt.errors import DataError
from minigpt.files import write_bytes


def test_documents_come_back_as_written_in_order(tmp_path, documents):
    write_documents(tmp_path / DOCUMENTS, reversed(documents))
    assert read_documents(tmp_path) == sorted(documents, key=lambda d: (d.source, d.work, d.doc_id))


def test_documents_are_filtered_by_what_equals(tmp_path, documents):
    write_documents(tmp_path / DOCUMENTS, documents)
    selection = read_documents(tmp_path, role="pretrain", split="test")
    assert [d.doc_id for d in selection] == ["pretrain-source/5.txt"]


def test_columns_left_out_are_empty(tmp_path, documents):
    write_documents(tmp_path / DOCUMENTS, documents)
    (document,) = read_documents(tmp_path, columns=["doc_id"], role="pretrain", split="val")
    assert (document.doc_id, document.text, document.role) == ("pretrain-source/4.txt", "", "")


def test_no_documents_is_a_file_with_all_columns(tmp_path):
    write_documents(tmp_path / DOCUMENTS, [])
    assert read_documents(tmp_path) == []


def test_a_missing_file_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match=r"is not there. Run: dvc repro validate"):
        read_documents(tmp_path)


def test_a_file_that_is_no_parquet_says_what_to_run(tmp_path):
    write_bytes(tmp_path / DOCUMENTS, b"PAR1 but not really")
    with pytest.raises(DataError, match="dvc repro --force validate"):
        read_documents(tmp_path)


WRITE = """
import sys
from pathlib import Path
from minigpt.data.document import Document, read_documents, write_documents
folder = Path(sys.argv[1])
documents = [Document(f"s/{n}", "téxt " * n, "s", "pretrain", str(n), "en", "PD", "train", "0", "o")
             for n in range(50)]
write_documents(folder / "documents.parquet", documents)
assert len(read_documents(folder)) == 50
assert "torch" not in sys.modules
"""


def test_bytes_do_not_depend_on_zone_locale_hash_seed_or_folder(tmp_path):
    digests = set()
    for number, (zone, locale, seed) in enumerate(
        [("UTC", "C.UTF-8", "1"), ("Asia/Tokyo", "C", "2")]
    ):
        folder = tmp_path / f"folder-{number}"
        folder.mkdir()
        env = {"TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": seed, "HOME": str(folder),
               "PYTHONPATH": ":".join(p for p in sys.path if p)}  # fmt: skip
        subprocess.run(
            [sys.executable, "-c", WRITE, str(folder)],
            env=env,
            cwd=folder,
            check=True,
            umask=number,
        )
        digests.add(file_digest(folder / DOCUMENTS))
    assert len(digests) == 1


def test_facts_are_the_json_in_meta():
    document = Document(*"abcdefghij", meta='{"undecodable": 3}')
    assert document.facts == {"undecodable": 3}


THREADS = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
import pyarrow.parquet
from minigpt.data.document import read_documents
from minigpt.registry.lineage import index
threads = lambda: len(os.listdir("/proc/self/task"))
before, folder = threads(), Path(sys.argv[1])
assert read_documents(folder)
index.read_artifact = lambda *_: (folder / "documents.parquet").read_bytes()
index.contents_of = lambda *_: SimpleNamespace(checked=lambda path, data: data)
assert index.index_of(None, None)
print(threads() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_reading_leaves_no_thread_that_could_abort_the_process_at_its_end(tmp_path, documents):
    write_documents(tmp_path / DOCUMENTS, documents)
    command = [sys.executable, "-c", THREADS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
