"""Versions of the model in MLflow: registered from a manifest, judged by a gate, found by a name.

register, overview, takedown, promotion, verification, provenance, lineage, refs, artifacts,
versions: each imports only those named behind it (pyproject.toml).

Each module is imported by its own name; none imports mlflow before a store is opened.
"""
