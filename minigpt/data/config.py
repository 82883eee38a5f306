"""What the stage validate reads from params.yaml: what documents must be like."""

from typing import Annotated

from pydantic import (
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from minigpt.config import AnyCount, Config, Count, Share

DigestPrefix = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12,64}$")]


class Bounds(Config):
    """Lowest and highest size allowed, in bytes of UTF-8 text."""

    min: AnyCount
    max: Count

    @field_validator("max")
    @classmethod
    def _ordered(cls, value: int, info: ValidationInfo) -> int:
        if value < (low := info.data.get("min", 0)):
            raise ValueError(f"must not be below min ({low})")
        return value


class Validation(Config):
    """What the documents must be like; all of it holds or the pipeline stops."""

    exclude: tuple[DigestPrefix, ...] = ()
    """sha256 of texts (or of whole files) that must not be used; the first 12 digits will do."""
    max_documents: Count = 1_000_000
    max_document_bytes: Count = 1_000_000
    """A text beyond this is a wrong file or needs cutting into works."""
    max_replacement_characters: AnyCount = 0
    """Characters a document may have that could not be decoded."""
    min_language_share: Share = 0.2
    """Share of a text's words that are among its language's commonest (English: 0.35 to 0.5)."""
    min_language_words: Count = 100
    """Shorter texts are not asked for their language."""
    pretrain_bytes: Bounds = Bounds(min=4_800_000, max=5_300_000)
    """All text of the role pretrain."""
    finetune_bytes: Bounds = Bounds(min=11_500_000, max=12_800_000)
    """All text of the role finetune; not asked where no source has it."""


class ValidateParams(Config):
    """What the stage validate reads. In params.yaml the section is called `validate`."""

    validation: Validation = Field(default=Validation(), alias="validate")
    """What the documents must be like before anything learns from them."""

    model_config = ConfigDict(serialize_by_alias=True)
