"""One module a stage of dvc.yaml. Imported first of all: a stage ends when DVC does."""

from minigpt.process import die_with_parent, quiet_environment

quiet_environment()
die_with_parent()
