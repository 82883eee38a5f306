"""Every format by name."""

from minigpt.entries import entries
from minigpt.export.exporter import Exporter

EXPORTERS: dict[str, Exporter] = entries("minigpt.export.formats", lambda entry: entry.name)
