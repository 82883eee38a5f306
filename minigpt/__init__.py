"""MiniGPT: from raw text to a registered, reproducible small GPT."""

__version__ = "0.1.0"
