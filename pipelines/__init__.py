"""Flows over the stages of dvc.yaml: DVC decides what is stale, Prefect shows and retries."""

from minigpt.process import quiet_environment

quiet_environment()
