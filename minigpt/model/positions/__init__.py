"""One module a kind of position, whose `ENTRY` is a PositionConfig. To add one: CONTRIBUTING.md."""
