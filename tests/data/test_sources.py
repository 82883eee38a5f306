"""What holds of every kind of source and of every reader, whoever adds one."""

import contextlib
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from minigpt.data import sources
from minigpt.data.corpora import DownloadParams
from minigpt.data.readers import READERS, SUFFIXES, reader_of
from minigpt.data.source import BaseSource, PinnedSource
from minigpt.data.sources import SOURCES, is_local, on_hub, source_of
from minigpt.errors import DataError

PIN = {"filename": "a.tar.gz", "sha256": "0" * 64, "bytes": 1}


def stated(kind):
    """Values of a source with every field that it asks for."""
    values = {"kind": kind, "role": "pretrain", "licence": "CC0"}
    samples = ("data/local/x", "https://example.org/a.tar.gz", "a" * 40, 1, PIN)
    for name, field in SOURCES[kind].model_fields.items():
        if field.is_required() and name not in values:
            shown = (*(field.examples or ()), *samples)
            fitting = [sample for sample in shown if fits(sample, field)]
            assert fitting, f"{kind}.{name}: show a value that fits, with Field(examples=[...])"
            values[name] = fitting[0]
    return values


def fits(sample, field):
    with contextlib.suppress(ValidationError):
        TypeAdapter(Annotated[field.annotation, field]).validate_python(sample)
        return True
    return False


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_says_all_that_is_asked_of_one(kind):
    source = source_of(stated(kind))
    assert type(source) is SOURCES[kind]
    assert source.noun
    assert source.place
    name = source.archive_name("mine")
    assert Path(name).name == name
    assert source.local == is_local(kind)
    assert source.on_hub == on_hub(kind)
    assert source.sha256_of_archive is None or len(source.sha256_of_archive) == 64
    for method in ("fetch", "place", "archive_name", "sha256_of_archive"):
        assert getattr(type(source), method) is not getattr(BaseSource, method)
    if isinstance(source, PinnedSource):
        assert type(source).bring is not PinnedSource.bring
    if source.local:
        assert type(source).packed is not BaseSource.packed


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_is_told_by_its_key_and_survives_a_round_trip(kind):
    params = DownloadParams.model_validate({"sources": {"mine": stated(kind)}})
    again = DownloadParams.model_validate(params.model_dump(mode="json", by_alias=True))
    assert again == params
    assert type(again.sources["mine"]) is SOURCES[kind]


def test_an_unknown_kind_is_refused_with_those_that_there_are():
    with pytest.raises(ValidationError) as caught:
        DownloadParams.model_validate({"sources": {"mine": {"kind": "tape"}}})
    assert all(f"'{kind}'" in str(caught.value) for kind in SOURCES)
    assert source_of({"kind": "tape"}) is None
    assert source_of(None) is None
    assert not is_local("tape")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_reader_takes_any_bytes_or_says_which_file_is_wrong(suffix):
    reader, path = reader_of(f"a/B{suffix.upper()}"), f"b{suffix}"
    assert reader is READERS[suffix]
    wrong = []
    for data in (b"", b"\0\xff\n{", "Zeile.\n".encode("utf-16"), b'{"text": "a"}\n'):
        try:
            texts = list(reader.read(path, data))
        except DataError as error:
            wrong.append(str(error))
        else:
            assert all(piece.path == path and "\0" not in piece.text for piece in texts)
    assert all(message.startswith(f"{path}: ") for message in wrong)


def test_plain_text_comes_first_and_reads_what_no_other_reader_claims():
    assert SUFFIXES[0] == ".txt"
    (piece,) = reader_of("LICENSE").read("LICENSE", b"Do as you like.")
    assert (piece.path, piece.line, piece.text) == ("LICENSE", None, "Do as you like.")


KIND = '''
    """A source that a newcomer added."""

    from typing import Literal

    from minigpt.data.source import BaseSource


    class Tape(BaseSource):
        """A tape."""

        noun = "tape"

        kind: Literal["tape"] = "tape"
        reel: int

        @property
        def place(self) -> str:
            return f"reel {self.reel}"

        @property
        def sha256_of_archive(self):
            return None

        def archive_name(self, name):
            return f"{name}.txt"

        def fetch(self, name, target, local, run):
            target.write_text("A text from the tape. " * 100)


    ENTRY = Tape
'''
READER = '''
    """A reader that a newcomer added."""

    from minigpt.data.reader import Piece, Reader

    ENTRY = Reader((".shout",), lambda path, data: iter([Piece(path, data.decode().lower(), {})]))
'''


def test_one_new_file_is_a_new_kind_and_one_a_new_format(tmp_path, workspace):
    """In a process of its own, with the packages' folders widened by one each."""
    for package, code in (("sources", KIND), ("readers", READER)):
        (tmp_path / package).mkdir()
        (tmp_path / package / "tape.py").write_text(textwrap.dedent(code))
    program = f"""
import sys
sys.path[:0] = {[p for p in sys.path if p]!r}
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

def widened(name, folder):
    spec = PathFinder.find_spec(name, [{str(Path(sources.__file__).parents[1])!r}])
    spec.submodule_search_locations.append(folder)
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)

import minigpt.data
widened("minigpt.data.readers", {str(tmp_path / "readers")!r})
widened("minigpt.data.sources", {str(tmp_path / "sources")!r})
from minigpt.data.corpora import DownloadParams
from minigpt.data.download import read_source, summary
from minigpt.data.readers import reader_of
from pathlib import Path
values = {{"kind": "tape", "reel": 3, "role": "pretrain", "licence": "CC0"}}
params = DownloadParams.model_validate({{"sources": {{"mine": values}}}})
source = params.sources["mine"]
archive = Path(source.archive_name("mine"))
source.fetch("mine", archive, None, None)
documents = read_source("mine", source, archive)
print(source.place, "**/*.shout" in source.files, [d.doc_id for d in documents])
print(summary(params, {{}}))
print(next(reader_of("a.SHOUT").read("a.SHOUT", b"LOUD")).text)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "reel 3 True ['mine/mine.txt']",
        "1 tape, 0 documents, 0.0 MB · texts: ",
        "loud",
    ], done.stderr
