# The one file to call: `make quickstart` for a first run, `make check` for exactly what CI runs.
.DEFAULT_GOAL := help
.PHONY: help setup quickstart check lint types imports test format

# uv from the path, or one of our own in .tools, which git ignores.
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --no-sync

help:  ## Say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

.tools/bin/uv:
	python3 -m venv .tools
	.tools/bin/python -m pip install --quiet uv

setup: $(filter .tools/%,$(UV))  ## Install everything that is needed, into .venv
	$(UV) sync $(SYNC)

quickstart: setup  ## Set up, then learn from the built-in patterns: minutes on a laptop's processor
	$(RUN) worldjepa train

# The tests start Python a few hundred times: compiling the packages once halves that.
check: SYNC = --compile-bytecode
check: setup lint types imports test  ## Everything that CI checks

lint:
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types:
	$(RUN) mypy

imports:
	$(RUN) lint-imports

# One thread each: the tests run side by side, and PyTorch's threads would only get in each other's way.
test: export PYTHONDONTWRITEBYTECODE =
test:  ## The tests alone
	OMP_NUM_THREADS=1 $(RUN) pytest -n 2

format:  ## Let ruff mend what it can
	$(RUN) ruff check --fix .
	$(RUN) ruff format .
