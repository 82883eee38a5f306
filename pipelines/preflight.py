"""What the environment must allow, asked before anything is built."""

from pathlib import Path

from minigpt.machine import Machine
from minigpt.registry.provenance.keys import signing_key
from minigpt.tracking.store import tracking_uri


def check_environment(root: Path) -> None:
    """Refuse now what a stage or the registration would refuse when most of the work is done.

    Raises:
        ParamsError: a MINIGPT_ setting or WORLD_SIZE is wrong, or torch cannot use the device.
        RegistryError: MLFLOW_TRACKING_URI names no store, or the user's key does not open.
    """
    Machine.load().check()
    tracking_uri(root)
    signing_key()
