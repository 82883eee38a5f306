import subprocess
import sys

import pytest
from pydantic import ValidationError

from minigpt.data.config import ValidateParams
from minigpt.data.corpora import SHAKESPEARE, DownloadParams
from minigpt.data.source import WorkSplits
from minigpt.data.sources.local import LocalSource
from minigpt.data.sources.url import UrlSource


def test_the_default_sources_survive_a_round_trip_through_plain_values():
    params = DownloadParams()
    assert DownloadParams.model_validate(params.model_dump(mode="json", by_alias=True)) == params
    assert list(params.sources) == ["shakespeare", "sotu"]


def test_the_section_of_the_validation_is_called_validate():
    params = ValidateParams.model_validate({"validate": {"max_documents": 3}})
    assert params.validation.max_documents == 3
    assert params.model_dump()["validate"]["max_documents"] == 3
    assert params.replace(validate={"max_documents": 4}).validation.max_documents == 4
    with pytest.raises(ValidationError):
        ValidateParams.model_validate({"validation": {}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "123"}, "pattern"),
        ({"bytes": 0}, "greater than 0"),
        ({"filename": "../x"}, "pattern"),
    ],
)
def test_a_pin_is_complete(change, message):
    values = SHAKESPEARE.model_dump()
    values["pin"] |= change
    with pytest.raises(ValidationError, match=message):
        type(SHAKESPEARE).model_validate(values)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"licence": ""}, "at least 1 character"),
        ({"work": "("}, "not a regular expression"),
        ({"work": "x"}, "needs one group"),
        ({"path": ""}, "at least 1 character"),
        ({"splits": {"kind": "years", "val_from": 2006, "test_from": 1991}}, "later than val_from"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(fields, message):
    given = {"role": "finetune", "licence": "private", "path": "data/local/x"} | fields
    with pytest.raises(ValidationError, match=message):
        LocalSource.model_validate(given)


def test_no_source_at_all_is_refused():
    with pytest.raises(ValidationError, match="at least 1 item"):
        DownloadParams(sources={})


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ValidationError):
        DownloadParams(sources={name: SHAKESPEARE})


def pinned(filename: str, digit: str) -> UrlSource:
    pin = {"filename": filename, "sha256": digit * 64, "bytes": 1}
    return UrlSource(role="pretrain", licence="CC0", url="https://host/x", pin=pin)


def own(path: str) -> LocalSource:
    return LocalSource(role="finetune", licence="private", path=path)


@pytest.mark.parametrize(
    "sources",
    [
        {"x": pinned("a.txt", "1"), "y": pinned("a.txt", "2")},
        {"x": pinned("a.txt", "1"), "y": pinned("A.txt", "2")},
        {"x": own("data/local/x"), "y": pinned("x.tar", "1")},
        {"x": own("data/local/x"), "X": own("data/local/y")},
        {"\u00e9": own("data/local/x"), "e\u0301": own("data/local/y")},
    ],
)
def test_two_archives_of_one_name_are_refused_for_one_would_overwrite_the_other(sources):
    one, other = sources
    with pytest.raises(ValidationError, match=f"{one} and {other}: each has another archive"):
        DownloadParams(sources=sources)


def test_one_archive_may_be_the_archive_of_two_sources():
    sources = {"x": pinned("a.zip", "1"), "y": pinned("a.zip", "1")}
    assert DownloadParams(sources=sources).sources == sources


def test_bounds_are_ordered():
    with pytest.raises(ValidationError, match="must not be below min"):
        ValidateParams.model_validate({"validate": {"pretrain_bytes": {"min": 2, "max": 1}}})


def test_the_held_out_works_are_those_of_the_record():
    assert SHAKESPEARE.splits == WorkSplits(
        val=("julius_caesar", "twelfth_night"), test=("macbeth", "tempest", "sonnets")
    )


def test_params_import_nothing_heavy():
    code = (
        "import sys; import minigpt.data.config, minigpt.data.corpora; "
        "print([m for m in ('torch', 'datasets', 'pandas', 'requests') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
