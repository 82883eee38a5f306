"""MLflow's client, imported once something asks for more than the tables of its store answer."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minigpt.tracking.filters import UnansweredError
from minigpt.tracking.reader import Reader

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Client:
    """Every method of MlflowClient; what `Reader` has too is asked of it first."""

    def __init__(self, connect: Callable[[], "MlflowClient"], reader: Reader | None = None) -> None:
        """`connect` imports MLflow; without a `reader` every call needs it."""
        self._connect, self._reader = connect, reader

    @functools.cached_property
    def mlflow(self) -> "MlflowClient":
        """The client of MLflow itself, for what its own entities know and `Reader`'s do not."""
        return self._connect()

    def __getattr__(self, name: str) -> Any:
        # A name of Python's own is a question of copy or pickle, not one for MLflow.
        if name.startswith("_"):
            raise AttributeError(name)
        read = getattr(self._reader, name, None)
        if read is None:
            return getattr(self.mlflow, name)

        def answer(*arguments: Any, **options: Any) -> Any:
            try:
                return read(*arguments, **options)
            except UnansweredError:
                return getattr(self.mlflow, name)(*arguments, **options)

        return answer
