"""What the environment must allow, asked before anything is built."""

import difflib
import os
from pathlib import Path

from pydantic import ValidationError

from minigpt.errors import ParamsError
from minigpt.machine import PREFIX, Machine
from minigpt.registry.provenance.keys import signing_key
from minigpt.tracking.address import tracking_uri


def check_environment(root: Path) -> None:
    """Refuse now what a stage or the registration would refuse when most of the work is done.

    Raises:
        ParamsError: a MINIGPT_ or PREFECT_ setting or WORLD_SIZE is wrong, or torch cannot use the
            device.
        RegistryError: MLFLOW_TRACKING_URI names no store, or the user's key does not open.
    """
    refuse_slips()
    Machine.load().check()
    tracking_uri(root)
    signing_key()
    check_prefect()


def refuse_slips() -> None:
    """Refuse a name that is nearly a setting's; it would be passed over without a word.

    Raises:
        ParamsError: says which one was meant.
    """
    fields = Machine.model_fields
    for variable in sorted(name for name in os.environ if name.startswith(PREFIX)):
        name = variable.removeprefix(PREFIX).lower()
        near = difflib.get_close_matches(name, fields, n=1, cutoff=0.8)
        if near and name not in fields:
            meant = PREFIX + near[0].upper()
            raise ParamsError(f"{variable}: unknown setting; did you mean {meant}?")


def check_prefect() -> None:
    """Read Prefect's settings.

    Raises:
        ParamsError: a PREFECT_ variable, or its profile, has a value that is not allowed.
    """
    from prefect.settings import get_current_settings

    try:
        get_current_settings()
    except ValidationError as error:
        first = error.errors()[0]
        key = " ".join([error.title, *map(str, first["loc"])])
        raise ParamsError(
            f"Prefect's settings: {key}: {first['msg']} (found {first['input']!r}). See the "
            "PREFECT_ variables of the environment, or: prefect config view"
        ) from error
