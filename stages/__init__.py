"""One module a stage of dvc.yaml. Imported first of all: a stage ends when DVC does."""

import importlib.util
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120


def use_own_python() -> None:
    """Go on in the project's .venv where the `python` of dvc.yaml is another one.

    `.venv/bin/dvc repro` finds whichever comes first on PATH. An environment that is active was
    chosen, and stays. Nothing but the standard library is imported so far: there may be no more.
    """
    venv = os.path.join(ROOT, ".venv")  # noqa: PTH118
    place = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    python = os.path.join(venv, *place)  # noqa: PTH118
    chosen = [os.environ.get(name) for name in ("VIRTUAL_ENV", "CONDA_PREFIX")]
    here = os.path.realpath(sys.prefix)
    if here in [os.path.realpath(path) for path in [venv, *filter(None, chosen)]]:
        return
    command = [python, *sys.orig_argv[1:]]
    if os.path.exists(python):  # noqa: PTH110
        if os.name == "nt":  # exec would end this process, and with it the stage, for DVC
            sys.exit(subprocess.call(command))
        os.execv(python, command)  # noqa: S606
    if importlib.util.find_spec("pydantic") is None:
        sys.exit(
            f"{sys.executable} has none of the packages of minigpt. "
            "Run: python bootstrap.py setup && source .venv/bin/activate"
        )


if sys.argv[0] == "-m":  # so it stands while a package of `python -m` is imported
    use_own_python()

from minigpt.log import prepare_streams  # noqa: E402
from minigpt.parent import die_with_parent, end_when_asked  # noqa: E402
from minigpt.process import quiet_environment  # noqa: E402

end_when_asked()
prepare_streams()
quiet_environment()
die_with_parent()
