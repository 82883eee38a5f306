"""Byte-level BPE: trained by rustbpe, spoken by tiktoken, exported for Hugging Face."""
