"""Fewer bits a weight: `swap` puts int8 and 4-bit layers in the place of a model's own."""
