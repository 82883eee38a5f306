"""The packages that a stage ran with."""

import re
import sys
from importlib import metadata

import pytest

from minigpt.config import Config
from minigpt.digest import file_digest, text_digest
from minigpt.graph import read_graph
from minigpt.machine import Machine
from minigpt.run import open_run
from minigpt.tracking.environment import TAG, distributions, environment, from_tag
from tests.test_run import stage

__all__ = ["stage"]  # a fixture


def test_they_are_those_that_python_itself_finds():
    versions = {}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        versions.setdefault(name, distribution.version)
    versions.pop("minigpt", None)
    assert distributions() == sorted(f"{name}=={version}" for name, version in versions.items())
    assert any(entry.startswith("torch==") for entry in distributions())


def test_another_package_or_version_or_lock_file_is_another_environment(tmp_path, monkeypatch):
    locks = tmp_path / "requirements"
    locks.mkdir()
    (locks / "base.txt").write_text("torch==2\n")
    before = environment(tmp_path)
    assert before == environment(tmp_path)
    assert before.locks == {"requirements/base.txt": file_digest(locks / "base.txt")}
    assert before.packages == text_digest(distributions())
    (tmp_path / "site" / "never_heard.of-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "minigpt-9.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site"), str(tmp_path / "gone")])
    assert set(distributions()) >= {"never-heard-of==1.0"}
    assert environment(tmp_path).packages != before.packages
    (locks / "base.txt").write_text("torch==3\n")
    assert environment(tmp_path).locks != before.locks


@pytest.mark.parametrize("value", [None, "", "no json", "{}", '{"packages": 3}'])
def test_a_tag_that_says_nothing_is_no_environment(value):
    assert from_tag(value) is None


class Nothing(Config):
    pass


def test_a_stage_tags_its_run_and_its_resume_key_stays_as_it_was(stage, monkeypatch):
    tags = {}

    class Tracker:
        def tag(self, key, value):
            tags[key] = value

        def params(self, values):
            pass

        def close(self, status="FINISHED"):
            pass

    monkeypatch.setattr("minigpt.run.NullTracker", Tracker)
    with open_run("work", Nothing()):
        (stage / "out.txt").write_text("made")
    assert from_tag(tags[TAG]) == environment(stage)
    machine = Machine.load().fingerprint()
    assert tags["minigpt.input_digest"] == read_graph(stage)["work"].input_digest(
        stage, {}, machine
    )
