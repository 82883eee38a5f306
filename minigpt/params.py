"""params.yaml as a whole: every section typed, every problem named at once.

Each stage's own class lives with its package (`minigpt.training.config.PretrainParams` …) and holds
exactly the sections that dvc.yaml lists for it; here they are gathered, so that a mistake in any
section is refused before anything runs.
"""

import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError, model_validator

from minigpt.config import Config
from minigpt.data.config import ValidateParams
from minigpt.data.corpora import DownloadParams
from minigpt.errors import ParamsError
from minigpt.evaluation.config import EvaluateParams
from minigpt.export.config import ExportParams
from minigpt.model.count import columns
from minigpt.params_errors import explain
from minigpt.registry.config import RegistryParams
from minigpt.release.config import QuantizeParams
from minigpt.roles import ROLES, of_role
from minigpt.tokenizer.config import TokenizeParams, TrainTokenizerParams
from minigpt.training.config import FinetuneParams, PretrainParams, TrainConfig
from minigpt.training.memory import refuse_beyond_memory
from minigpt.yaml12 import LARGEST, YamlError, read_yaml

PARAMS = Path("params.yaml")
MOST_BYTES = 4 * LARGEST + 1
"""More than that is too large in any case, and /dev/zero has no end."""


class ManifestParams(Config):
    """The manifest stage reads files only."""


STAGE_PARAMS: dict[str, type[Config]] = {
    "download": DownloadParams,
    "validate": ValidateParams,
    "train_tokenizer": TrainTokenizerParams,
    "tokenize": TokenizeParams,
    "pretrain": PretrainParams,
    "finetune": FinetuneParams,
    "evaluate": EvaluateParams,
    "quantize": QuantizeParams,
    "export": ExportParams,
    "manifest": ManifestParams,
}


class Params(
    DownloadParams,
    ValidateParams,
    TrainTokenizerParams,
    TokenizeParams,
    PretrainParams,
    FinetuneParams,
    EvaluateParams,
    QuantizeParams,
    ExportParams,
    RegistryParams,
):
    """All of params.yaml."""

    @model_validator(mode="after")
    def _later_stages_fit_the_model(self) -> Self:
        """The stages would refuse this too, but only after the base model was trained."""
        context, blocks = self.model.context_length, self.model.n_layer
        if context < 2:
            raise ValueError(
                f"model.context_length: {context}, but a token is judged by those before it; "
                "at least 2"
            )
        if self.finetune is not None:
            try:
                self.finetune.refuse_context(context)
            except ValueError as error:
                raise ValueError(f"finetune.{error}") from error
            if (frozen := self.finetune.freeze_blocks) > blocks:
                raise ValueError(
                    f"finetune.freeze_blocks: {frozen}, but the model has {blocks} blocks"
                )
        if self.quantize.finetune is not None:
            try:
                self.quantize.finetune.refuse_context(context)
            except ValueError as error:
                raise ValueError(f"quantize.finetune.{error}") from error
        for name in ("evaluate", "quantize", "export"):
            window = getattr(self, name).window
            if window is not None and window > context:
                raise ValueError(f"{name}.window: {window} is more than context_length, {context}")
        self._refuse_what_cannot_be_quantized()
        window, stride = self.evaluate.window or context, self.evaluate.stride
        if stride is not None and stride > window:
            raise ValueError(f"evaluate.stride: {stride} skips tokens; at most {window}, a window")
        return self

    def _refuse_what_cannot_be_quantized(self) -> None:
        size, in_8_bits = self.quantize.int4_group_size, self.quantize.int8_in_int4
        if (
            in_8_bits is None
        ):  # where a table turns out to be in 4 bits, its rows are as wide as q's
            in_8_bits = ("embed", "head")
        layers = columns(self.model)
        if unknown := sorted(set(in_8_bits) - layers.keys()):
            raise ValueError(f"quantize.int8_in_int4: no layer {unknown[0]}; {', '.join(layers)}")
        for name, width in layers.items():
            if width % size and name not in in_8_bits:
                raise ValueError(
                    f"quantize.int4_group_size: {size} does not divide the {width} columns of "
                    f"{name}; choose a divisor, or name it in int8_in_int4"
                )

    @model_validator(mode="after")
    def _trainings_and_sources_agree(self) -> Self:
        for role in ROLES.values():
            sources = of_role(self.roles, role)
            if sources and role.name not in self.trainings:
                raise ValueError(
                    f"{role.stage}: null, but sources.{sources[0]} has role {role.name}; give "
                    "both (minigpt preset shakespeare shows them) or neither"
                )
            if role.name in self.trainings and not sources:
                without = f"with no such source, {role.stage}: null; " if role.optional else ""
                raise ValueError(
                    f"sources: none has role {role.name}, so there is nothing to {role.stage} on; "
                    f"{without}minigpt preset shakespeare shows one of each"
                )
        return self

    @model_validator(mode="after")
    def _no_address_holds_a_password(self) -> Self:
        for name, source in self.sources.items():
            if "@" in urlsplit(getattr(source, "url", "")).netloc:
                raise ValueError(
                    f"sources.{name}.url: a user or password in an address would be seen in MLflow "
                    "and in every version's provenance; fetch the file and name it with kind: local"
                )
        return self

    @property
    def windows(self) -> dict[str, int]:
        """Role → tokens of the longest window that its training takes, targets included."""
        context = self.model.context_length
        return {role: config.longest(context) + 1 for role, config in self.trainings.items()}

    @property
    def trainings(self) -> dict[str, TrainConfig]:
        """Role → how it is trained on; without a role that the project does without."""
        configs = {role.name: getattr(self, role.stage) for role in ROLES.values()}
        return {role: config for role, config in configs.items() if config is not None}

    def refuse_beyond_memory(
        self, stages: Collection[str], room: int | None, micro_batch: int | None
    ) -> None:
        """Refuse sizes that `room` bytes cannot hold, where one of `stages` trains at them.

        Raises:
            ParamsError: says what is needed at least, what there is, and which keys to lower.
        """
        configs = {ROLES[role].stage: config for role, config in self.trainings.items()}
        chosen = {stage: config for stage, config in configs.items() if stage in stages}
        refuse_beyond_memory(self.model, self.tokenizer.vocab_size, chosen, room, micro_batch)

    @property
    def roles(self) -> dict[str, str]:
        """Source name → role."""
        return {name: source.role for name, source in self.sources.items()}


P = TypeVar("P", bound=Config)


def load_params(kind: type[P], path: Path = PARAMS) -> P:
    """The sections of `kind` from params.yaml, after all of the file was checked.

    Raises:
        ParamsError: the file is missing, not YAML, or has values that are not allowed; every
            problem has a line of its own.
    """
    values = read_values(path)
    try:
        Params.model_validate(values)
        return kind.model_validate(
            {name: values[name] for name in sections(kind) if name in values}
        )
    except ValidationError as error:
        raise ParamsError("\n".join(explain(error, Params, path.name))) from error


def sections(kind: type[Config]) -> list[str]:
    """The top-level keys of params.yaml that `kind` reads, in its order."""
    return [field.alias or name for name, field in kind.model_fields.items()]


def read_values(path: Path) -> dict[str, Any]:
    """The file as plain values; says where it is not YAML, or no sections.

    Raises:
        ParamsError: it cannot be read.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe would keep us waiting
            raise ParamsError(f"{path}: not a file")
        with path.open("rb") as file:
            values = read_yaml(file.read(MOST_BYTES).decode())
    except FileNotFoundError as error:
        raise ParamsError(
            f"{path} is not there. Run from the project's root, or: minigpt preset shakespeare"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ParamsError(
            f"{path}: line {line}: not UTF-8. Convert it, for example: iconv -f latin1 -t utf-8"
        ) from error
    except YamlError as error:
        raise ParamsError(f"{path}: {error}") from error
    except OSError as error:
        raise ParamsError(f"{path}: {error.strerror}") from error
    if values is None:
        raise ParamsError(f"{path} is empty. Write it afresh: minigpt preset shakespeare")
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: expected sections with names, found {type(values).__name__}")
    return values
