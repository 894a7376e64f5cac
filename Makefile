# `make` alone explains itself. ARGS passes settings on: make train ARGS="seed=1 trainer.max_epochs=3"
PYTHON ?= python3
ARGS ?=
# Another Python has an environment of its own: make test PYTHON=python3.12
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup train test slow browser lint docs drill drill-long benchmark

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make the environment, .venv, and nothing else

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

train: $(READY)  ## train the sentiment model: unroll train task=imdb
	$(VENV)/bin/unroll train task=imdb $(ARGS)

test: $(READY)  ## run all tests (no network), in two processes: four minutes on two cores
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

slow: $(READY)  ## run the tests that take minutes: memory against the size of the data
	$(VENV)/bin/python -m pytest -m slow $(ARGS)

browser: $(READY)  ## try the pages of `unroll serve` in headless Chromium, which must be installed
	$(VENV)/bin/python -m pytest tests/browser/pages.py $(ARGS)

lint: $(READY)  ## check style, types, and which room imports which
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

docs: $(READY)  ## build the docs site in build/docs (no network; a warning is an error)
	$(VENV)/bin/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

drill: $(READY)  ## kill runs, damage files, fuzz inputs, fill disks (minutes); nothing may be lost
	$(VENV)/bin/python -m tests.faults.drill

drill-long: $(READY)  ## the same for hours; stop it at any time, its results add up in runs/drill.jsonl
	@mkdir -p runs
	$(VENV)/bin/python -m tests.faults.drill --long runs/drill.jsonl

benchmark: $(READY)  ## measure speed: tables as JSON, Markdown and pictures in runs/benchmarks (a quarter of an hour)
	for table in imdb charlm encoders inference startup scaling overhead; do \
	  $(VENV)/bin/python -m benchmarks $$table $(ARGS) || exit; done
