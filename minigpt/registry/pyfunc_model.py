"""What `mlflow.pyfunc.load_model` and `mlflow models serve` run.

MLflow copies this file and minigpt/ into the version.
"""

import json
import os
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel
from pydantic import Field, ValidationError

from minigpt.config import Count, Seed
from minigpt.errors import DataError
from minigpt.generation.config import SamplingConfig
from minigpt.generation.request import MOST_TOKENS
from minigpt.machine import Machine
from minigpt.process import QUIET

ONE_COLUMN = "expected one column (or one key) that holds the texts"


class RefusedInput(MlflowException):
    """What a person can mend; MLflow's server answers 400."""

    def __init__(self, message: str) -> None:
        """`message` names what, where and what was expected."""
        super().__init__(message, INVALID_PARAMETER_VALUE)
        self._sentence = message

    def serialize_as_json(self) -> str:
        """The answer's body. The server has put the whole input in front of `self.message`."""
        return json.dumps({"error_code": self.error_code, "message": self._sentence})


class Settings(SamplingConfig):
    """The params of a request. MLflow fills in what it leaves out."""

    max_tokens: Annotated[Count, Field(le=MOST_TOKENS)]
    seed: Seed

    @property
    def sampling(self) -> SamplingConfig:
        """How a token is chosen."""
        return SamplingConfig.model_validate(self.model_dump(exclude={"max_tokens", "seed"}))


class TextModel(PythonModel):
    """Continues texts. Needs no checkout: code and package lie beside it."""

    def load_context(self, context: Any) -> None:
        """Load the package, on the device and threads of `minigpt generate`; once a process."""
        os.environ.setdefault("OMP_WAIT_POLICY", QUIET["OMP_WAIT_POLICY"])  # torch reads it once
        import torch

        from minigpt.generation.torch_engine import TorchEngine
        from minigpt.package import load_package

        machine = Machine.load()
        torch.set_num_threads(machine.threads)
        package = load_package(Path(context.artifacts["package"]), machine.torch_device)
        self._tokenizer, self._engine = package.tokenizer, TorchEngine(package.model)
        self._turn = threading.Lock()  # the server has many threads, an engine one sequence

    # The hint is a table, whatever comes: MLflow takes any other for a schema of its own, which
    # lets a server accept nothing but `inputs`.
    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[str]:
        """The continuation of each text, without the text; `params` as the signature lists them.

        Text i is sampled with seed + i; top_k 0 means all tokens.

        Raises:
            RefusedInput: a text or a param is not allowed.
        """
        del context  # load_context has used it
        last_moment = _last_moment()
        texts = texts_in(model_input)
        settings = settings_of(params or {})
        for i, text in enumerate(texts, 1):
            self._refuse_too_long(text, f"text {i} of {len(texts)}")
        return [
            self._continue(text, settings, settings.seed + i, last_moment)
            for i, text in enumerate(texts)
        ]

    def _refuse_too_long(self, text: str, which: str) -> None:
        most = self._engine.context_length - 1  # <|endoftext|> stands in front
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > most * max(map(len, self._tokenizer.ranks)):  # need not be cut into tokens
            found = f"{size:,} bytes"
        else:
            try:
                tokens = len(self._tokenizer.encode(text))
            except DataError as error:
                raise RefusedInput(f"{which}: {error}") from error
            if tokens <= most:
                return
            found = f"{tokens:,} tokens"
        raise RefusedInput(f"{which}: {found}, but the model reads at most {most:,} tokens: cut it")

    def _continue(self, text: str, settings: Settings, seed: int, last_moment: float | None) -> str:
        from minigpt.generation.stream import generate

        written, most = "", settings.max_tokens
        with (
            self._turn,
            # Closed here: a text that is given up must not free its slot in another one's turn.
            closing(
                generate(self._engine, self._tokenizer, text, settings.sampling, most, seed)
            ) as pieces,
        ):
            for piece in pieces:
                written += piece
                if last_moment is not None and time.monotonic() > last_moment:
                    raise RefusedInput("the answer takes longer than the server waits for it")
        return written


def texts_in(model_input: Any) -> list[str]:
    """The texts that came, whatever form a request had: list, array, table, one text.

    Raises:
        RefusedInput: there are none, or something is no text.
    """
    if isinstance(model_input, pd.DataFrame | dict):
        names = [str(name) for name in model_input.keys()]  # noqa: SIM118
        if len(names) != 1:
            raise RefusedInput(f"{', '.join(names) or 'nothing'}: {ONE_COLUMN}")
        [model_input] = (column for _, column in model_input.items())
    if hasattr(model_input, "tolist"):
        model_input = model_input.tolist()
    texts = model_input if isinstance(model_input, list | tuple) else [model_input]
    if not texts:
        raise RefusedInput("no text: expected at least one")
    for i, text in enumerate(texts, 1):
        if not isinstance(text, str):
            found = "a missing value" if text is None or text != text else type(text).__name__
            raise RefusedInput(f"text {i} of {len(texts)}: {found}, expected a text")
    return list(texts)


def settings_of(params: dict[str, Any]) -> Settings:
    """How to write, checked; top_k 0 means all tokens.

    Raises:
        RefusedInput: a value is not allowed.
    """
    top_k = params.get("top_k")
    try:
        return Settings.model_validate(params | ({"top_k": None} if top_k == 0 else {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{first['loc'][0]} {first['input']!r}: " if first["loc"] else ""
        raise RefusedInput(where + first["msg"].removeprefix("Value error, ")) from error


def _last_moment() -> float | None:
    """When the server that runs this gives a request up; None where no server does."""
    seconds = os.environ.get("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT")
    if seconds is None or os.environ.get("_MLFLOW_IS_IN_SERVING_ENVIRONMENT") != "true":
        return None
    return time.monotonic() + float(seconds)


set_model(TextModel())
