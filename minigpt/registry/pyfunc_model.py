"""What `mlflow.pyfunc.load_model` runs. MLflow copies this file and minigpt/ into the version."""

from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class TextModel(PythonModel):
    """Continues texts. Needs no checkout: code and package lie beside it."""

    def load_context(self, context: Any) -> None:
        """Load the package; MLflow calls this once."""
        from minigpt.generation.engine import TorchEngine
        from minigpt.package import load_package

        package = load_package(Path(context.artifacts["package"]))
        self._tokenizer, self._engine = package.tokenizer, TorchEngine(package.model)

    def predict(
        self, context: Any, model_input: list[str], params: dict[str, Any] | None = None
    ) -> list[str]:
        """The continuation of each text, without the text; `params` as the signature lists them.

        Text i is sampled with seed + i; top_k 0 means all tokens.
        """
        del context  # load_context has used it
        from minigpt.generation.config import SamplingConfig
        from minigpt.generation.stream import generate

        chosen = dict(params or {})
        max_tokens, seed = chosen.pop("max_tokens", 200), chosen.pop("seed", 0)
        if "top_k" in chosen:
            chosen["top_k"] = chosen["top_k"] or None
        sampling = SamplingConfig(**chosen)
        return [
            "".join(generate(self._engine, self._tokenizer, text, sampling, max_tokens, seed + i))
            for i, text in enumerate(model_input)
        ]


set_model(TextModel())
