"""A copy of dvc.lock, for the case that a DVC is killed while it writes the file.

DVC opens dvc.lock empty and takes a good part of a second to fill it, after every stage. A kill or
Ctrl-C in that time leaves half of it, which no DVC reads.
"""

from pathlib import Path

import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA

from minigpt.dvc_lock import LOCK
from minigpt.files import write_bytes
from minigpt.log import say
from minigpt.process import WORK
from pipelines.committed import committed

KEPT, TORN = WORK / "dvc.lock", WORK / "dvc.lock.torn"


def keep_lock(root: Path) -> None:
    """Copy a whole dvc.lock; put the copy (else the committed one) in the place of a torn one.

    Call it while the workspace is locked and no DVC is at work. The stage whose entry is missing
    then runs again, or is restored: its outputs are in the cache already.
    """
    path, copy = root / LOCK, root / KEPT
    if not path.is_file():
        return
    if is_whole(content := path.read_bytes()):
        write_bytes(copy, content)
        return
    before = copy.read_bytes() if copy.is_file() else committed(root, LOCK) or b""
    # The user mends a merge that git could not finish: DVC names the file and the line.
    if b"<<<<<<<" not in content and is_whole(before):
        write_bytes(root / TORN, content)
        write_bytes(path, before)
        say(f"put back {LOCK}, which a killed DVC had half written ({TORN.as_posix()})")


def is_whole(data: bytes) -> bool:
    """Whether DVC can read these bytes as its lock file."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(data, loader))  # noqa: S506 (a safe loader)
    except Exception:  # noqa: BLE001 (of YAML, of the schema, of Unicode: none of them is readable)
        return False
    return True
