"""Settings of the machine are refused clearly and are part of the fingerprint."""

import pytest

from minigpt.errors import ParamsError
from minigpt.machine import Machine


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MINIGPT_THREADS", "0"),
        ("MINIGPT_THREADS", "many"),
        ("MINIGPT_THREADS", "100000"),
        ("MINIGPT_DEVICE", "abacus"),
        ("MINIGPT_CHECKPOINT_SECONDS", "nan"),
        ("MINIGPT_COMPILE", "perhaps"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ParamsError, match=f"{name}='{value}'"):
        Machine.load()


def test_an_empty_setting_is_none(monkeypatch):
    monkeypatch.setenv("MINIGPT_THREADS", "")
    assert Machine.load().threads >= 1


def test_what_changes_bytes_is_in_the_fingerprint_and_what_does_not_is_not(monkeypatch):
    before = Machine.load().fingerprint()
    monkeypatch.setenv("MINIGPT_CHECKPOINT_SECONDS", "3")
    assert Machine.load().fingerprint() == before
    monkeypatch.setenv("MINIGPT_THREADS", str(before["threads"] + 1))
    assert Machine.load().fingerprint() != before
