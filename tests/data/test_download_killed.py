"""SIGKILL in the middle of a download: the next one goes on, to the same bytes."""

import random
import signal
import subprocess
import sys

import pytest

from minigpt.data.corpora import DownloadParams
from minigpt.data.download import download
from minigpt.data.source import WorkSplits
from minigpt.digest import digest
from tests.patience import until

STAGE = """
import os, signal, sys
from pathlib import Path
from minigpt.data import download
from minigpt.data.corpora import DownloadParams
from minigpt.machine import Machine
from minigpt.run import Run
from minigpt.tracking import NullTracker

if len(sys.argv) > 2:
    setattr(download, sys.argv[2], lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
run = Run("download", Machine(cache=Path(".cache")), Path(".work"), NullTracker())
params = DownloadParams.model_validate_json(sys.argv[1])
data = Path("data")
download.download(data / "local", data / "archives", data / "raw", params, run)
"""
PATH = "/files/plays-1.0.tar.gz"


@pytest.fixture
def params(workspace, make_sdist, make_source, server, monkeypatch):
    """A package of five works that do not pack small, behind a loopback index."""
    letters = random.Random(1)
    files = {
        f"t/w{n}.txt": "".join(letters.choices("abcdefgh \n", k=150_000)).encode() for n in range(5)
    }
    server.files["/simple/plays/"] = f'<a href="{PATH}">plays-1.0.tar.gz</a>'.encode()
    server.files[PATH] = data = make_sdist(files)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    splits = WorkSplits(val=("w0",), test=("w1",))
    source = make_source(data, files=("t/*.txt",), splits=splits)
    return DownloadParams(sources={"plays": source})


def start(params, *die_at):
    return subprocess.Popen([sys.executable, "-c", STAGE, params.model_dump_json(), *die_at])


def outs(workspace):
    return [digest(workspace / "data" / name) for name in ("archives", "raw")]


@pytest.fixture
def whole(params, run, workspace, tmp_path_factory):
    """The outs of a download that nobody disturbs."""
    elsewhere = tmp_path_factory.mktemp("whole")
    quiet = run.machine.replace(cache=elsewhere / "cache")
    run.machine, own = quiet, run.machine
    folders = (elsewhere / "data" / name for name in ("local", "archives", "raw"))
    download(*folders, params, run)
    run.machine = own
    return outs(elsewhere)


def test_killed_while_bytes_arrive_it_asks_only_for_the_rest(params, whole, server, workspace, run):
    server.asked.clear()
    server.hold[PATH] = 200_000
    stage = start(params)
    pattern = f".{params.sources['plays'].pin.sha256}.*.part"
    archives = workspace / ".cache" / "archives"
    enough = 2 * 64 * 1024
    part = until(lambda: next((p for p in archives.glob(pattern) if p.stat().st_size >= enough), 0))
    stage.kill()
    assert stage.wait() == -signal.SIGKILL
    server.go_on.set()
    have = part.stat().st_size
    assert start(params).wait() == 0
    assert server.asked[-1] == (PATH, f"bytes={have}-")
    assert outs(workspace) == whole


@pytest.mark.parametrize(
    "moment",
    [
        "write_documents",
        pytest.param("read_source", marks=pytest.mark.prove),
        pytest.param("licences_page", marks=pytest.mark.prove),
    ],
)
def test_killed_behind_the_archive_it_asks_nobody_again(params, whole, server, workspace, moment):
    assert start(params, moment).wait() == -signal.SIGKILL
    assert not (workspace / "data" / "archives").exists()
    server.asked.clear()
    assert start(params).wait() == 0
    assert server.asked == []
    assert outs(workspace) == whole
    assert sorted(p.name for p in (workspace / "data").iterdir()) == ["archives", "local", "raw"]
