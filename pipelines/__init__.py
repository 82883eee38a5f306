"""Flows over the stages of dvc.yaml: DVC decides what is stale, Prefect shows and retries."""

from minigpt.log import prepare_streams
from minigpt.process import quiet_environment, set_socks_aside

prepare_streams()
quiet_environment()
set_socks_aside()
