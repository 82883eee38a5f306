"""What a refusal tells to change can be changed: every key that it names is one of params.yaml."""

import re

import pytest

from minigpt.params import STAGE_PARAMS, Params, sections
from minigpt.params_errors import known_keys
from minigpt.registry.promotion import remedies

TEXTS = [text for text in vars(remedies).values() if isinstance(text, str) and " " in text]
TEXTS += remedies.ROUNDED.values()
SECTIONS = {name for kind in STAGE_PARAMS.values() for name in sections(kind)} | {"gate"}
KEYS = sorted(
    {key for text in TEXTS for key in re.findall(r"\b[a-z]+(?:\.\w+)+", text)} - {"params.yaml"}
)


def test_remedies_name_keys():
    assert len(KEYS) > 10


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_one_of_params(key):
    section, *rest = key.split(".")
    assert section in SECTIONS
    assert rest[-1] in known_keys(Params, [section, *rest[:-1]])
