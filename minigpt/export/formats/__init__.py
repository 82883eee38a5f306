"""One module a format, with its `ENTRY`, an Exporter. How to add one: CONTRIBUTING.md."""
