"""The table of formats."""

from typing import get_args

from minigpt.export.config import ExportConfig
from minigpt.export.exporters import EXPORTERS


def test_params_offer_the_formats_there_are():
    (formats, _) = get_args(ExportConfig.model_fields["formats"].annotation)
    assert set(get_args(formats)) == EXPORTERS.keys()
