"""Everything that can go wrong and that a person can mend: one class per who must act.

A message says where, what was found, what was expected and what to run. `cli` and `run.stage_main`
print it as one line; any other exception is a bug and keeps its traceback.
"""


class MiniGPTError(Exception):
    """Base of the errors that are printed without a traceback."""

    exit_code = 1


class ParamsError(MiniGPTError):
    """params.yaml (or an option) holds something that is not allowed."""

    exit_code = 2


class DataError(MiniGPTError):
    """A corpus, an archive, a shard or a document is not what it should be."""

    exit_code = 2


class PackageError(MiniGPTError):
    """A package folder or a model reference cannot be read."""

    exit_code = 2


class CheckpointError(MiniGPTError):
    """Resumable state on disk is not usable."""


class ExportError(MiniGPTError):
    """A format cannot represent the model, or the exported model does not match it."""


class RegistryError(MiniGPTError):
    """The model registry does not hold, or will not do, what was asked."""


class UnknownVersionError(RegistryError):
    """What was typed for a version names none."""

    exit_code = 2


class UntrustedError(RegistryError):
    """Nothing vouches for code out of a store, and nobody said that it is to run."""

    exit_code = 2


class GateRefusedError(MiniGPTError):
    """A version did not meet the conditions of promotion."""

    exit_code = 3


class BusyError(MiniGPTError):
    """Another process holds the workspace or the stage."""


class MissingExtraError(MiniGPTError):
    """An optional dependency is not installed."""


class StageError(MiniGPTError):
    """A stage failed; its own message says why."""
