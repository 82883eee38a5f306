"""Versions of the model in MLflow: registered from a manifest, judged by a gate, found by a name.

Each module is imported by its own name; none imports mlflow before a store is opened.
"""
