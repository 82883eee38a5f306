"""dvc.lock as our own code reads it."""

import pytest

from minigpt.dvc_lock import read_stages, stages_of
from minigpt.errors import DataError


@pytest.mark.parametrize(
    "lock",
    [b"", b"[a]", b"stages: [[a, b]]", b"stages: {a: }", b"stages: {a: {outs: [1]}}",
     b"stages: {a: {outs: [{md5: b}]}}", b"x: !!timestamp soon", b"# \xe9"],
)  # fmt: skip
def test_what_is_no_dvc_lock_has_no_stages_and_says_so_where_it_matters(lock):
    assert stages_of(lock) == {}
    with pytest.raises(DataError, match=r"dvc\.lock cannot be read\. Run: git checkout"):
        read_stages(lock)


def test_a_dvc_lock_of_no_stages_is_one():
    assert read_stages(b"{}") == read_stages(b"stages:") == {}
