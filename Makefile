# Needs Python 3.11+ and git, nothing else. Windows: python bootstrap.py run
PYTHON ?= python3
ARGS ?=

.PHONY: run up down setup test lint prove deps lock help
run setup test lint prove deps:  ## raw text → registered model · .venv · tests · style, types, imports · slow proofs · code deps in dvc.yaml
	@$(PYTHON) bootstrap.py $@ $(if $(and $(WAIT),$(filter run,$@)),--wait) $(ARGS)

up down:  ## Prefect, the schedule and MLflow in a browser · end them
	@$(PYTHON) bootstrap.py $@ $(ARGS)

lock:  ## write requirements/*.txt afresh from requirements/*.in
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements/base.in -o requirements/base.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements/dev.in -o requirements/dev.txt

help:
	@grep -E '^[a-z ]+:.*##' Makefile
