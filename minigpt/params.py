"""params.yaml as a whole: every section typed, every problem named at once.

Each stage's own class lives with its package (`minigpt.training.config.PretrainParams` …) and holds
exactly the sections that dvc.yaml lists for it; here they are gathered, so that a mistake in any
section is refused before anything runs.
"""

import difflib
from pathlib import Path
from typing import Any, Self, TypeVar, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from minigpt.config import Config
from minigpt.data.config import ValidateParams
from minigpt.data.corpora import DownloadParams
from minigpt.errors import ParamsError
from minigpt.evaluation.config import EvaluateParams
from minigpt.export.config import ExportParams
from minigpt.model.count import columns
from minigpt.quantization.config import QuantizeParams
from minigpt.registry.config import RegistryParams
from minigpt.roles import ROLES
from minigpt.tokenizer.config import TokenizeParams, TrainTokenizerParams
from minigpt.training.config import FinetuneParams, PretrainParams, TrainConfig

PARAMS = Path("params.yaml")


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
        try:
            self.finetune.refuse_context(context)
        except ValueError as error:
            raise ValueError(f"finetune.{error}") from error
        if self.finetune.freeze_blocks > blocks:
            frozen = self.finetune.freeze_blocks
            raise ValueError(f"finetune.freeze_blocks: {frozen}, but the model has {blocks} blocks")
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
    def _both_trainings_have_text(self) -> Self:
        for role in ROLES.values():
            if role.name not in self.roles.values():
                raise ValueError(
                    f"sources: none has role {role.name}, so there is nothing to {role.stage} on; "
                    "minigpt preset shakespeare shows one of each"
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
        trainings: dict[str, TrainConfig] = {
            role.name: getattr(self, role.stage) for role in ROLES.values()
        }
        return {role: config.longest(context) + 1 for role, config in trainings.items()}

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
        raise ParamsError("\n".join(explain(error, path.name))) from error


def sections(kind: type[Config]) -> list[str]:
    """The top-level keys of params.yaml that `kind` reads, in its order."""
    return [field.alias or name for name, field in kind.model_fields.items()]


class KeysOnce(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys, DVC refuses the file: so do we."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping, once no key of it stands twice."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in first:
                problem = f"{key.value} stands twice, first in line {first[key.value] + 1}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                first[key.value] = key.start_mark.line
        return node


def read_values(path: Path) -> dict[str, Any]:
    """The file as plain values; says where it is not YAML."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), KeysOnce)  # noqa: S506 (a safe loader)
    except FileNotFoundError as error:
        raise ParamsError(
            f"{path} is not there. Run from the project's root, or: minigpt preset shakespeare"
        ) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ParamsError(f"{path}: line {line}: not YAML: {error.problem}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ParamsError(
            f"{path}: line {line}: not UTF-8. Convert it, for example: iconv -f latin1 -t utf-8"
        ) from error
    except RecursionError as error:
        raise ParamsError(f"{path}: nested too deeply") from error
    # ValueError: 2023-99-99, 0x_, 5,000 digits; the others: !!bool and !!timestamp of other words
    except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:
        raise ParamsError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise ParamsError(f"{path}: {error.strerror}") from error
    if values is None:
        raise ParamsError(f"{path} is empty. Write it afresh: minigpt preset shakespeare")
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: expected sections with names, found {type(values).__name__}")
    return values


def explain(error: ValidationError, file: str) -> list[str]:
    """One line a problem: file, key, what is wrong, what was meant."""
    lines = []
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        if problem["type"] == "extra_forbidden":
            keys = known_keys(Params, location[:-1])
            near = difflib.get_close_matches(location[-1], keys, n=1) or [
                f"{key}.{location[-1]}"
                for key in keys
                if location[-1] in known_keys(Params, [*location[:-1], key])
            ]
            hint = f"; did you mean {near[0]}?" if near else ""
            lines.append(f"{file}: {'.'.join(location)}: unknown key{hint}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            value = problem["input"]
            plain = value is None or isinstance(value, str | int | float)
            shown = f" (found {'null' if value is None else repr(value)})" if plain else ""
            # What several sections must agree on has no place of its own: its message names one.
            lines.append(": ".join(filter(None, (file, ".".join(location), f"{message}{shown}"))))
    return lines


def known_keys(kind: Any, location: list[str]) -> list[str]:
    """The keys allowed at `location`; tags of unions and names in mappings are looked through."""
    for part in location:
        if part in (fields := fields_of(kind)):
            kind = fields[part]
        else:  # a tag of a union or a name in a mapping: stay with what may lie behind it
            continue
    return sorted(fields_of(kind))


def fields_of(kind: Any) -> dict[str, Any]:
    """Field name → type, over every model that the annotation `kind` may stand for."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    fields: dict[str, Any] = {}
    for argument in get_args(kind):
        fields |= fields_of(argument)
    return fields
