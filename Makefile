# Everything runs in .venv, which the first target that needs it creates. `make help` lists the targets.

PYTHON ?= python3
FOLDERS = $(wildcard src tests examples benchmarks)
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo bench test quick fuzz faults pooler coverage check lint types layers format clean

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Perdure needs Python 3.11 or newer, and '$(PYTHON)' isn't: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

install: $(INSTALLED) ## Create .venv and install Perdure with everything for its development

demo: $(INSTALLED) ## Run the reference application (DATA=folder of MovieLens files, JSON=file to write, KEEP=1 to inspect it)
	$(BIN)/python -m examples.streaming $(if $(DATA),--data '$(DATA)') $(if $(JSON),--json '$(JSON)') $(if $(KEEP),--keep)

bench: $(INSTALLED) ## Measure it, about ten minutes (PEERS=1, GROWTH=1, DEMO=1, SCALE=1, OUT=folder, ARGS="--quick")
	$(if $(PEERS),$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/peers.txt)
	$(BIN)/python -m benchmarks $(if $(PEERS),--peers) $(if $(GROWTH),--growth) $(if $(DEMO),--demo) $(if $(SCALE),--scale) $(if $(OUT),--out '$(OUT)') $(ARGS)

test: $(INSTALLED) ## Run the tests (ARGS="-k name -x")
	$(BIN)/python -m pytest --numprocesses=auto $(ARGS)

quick: $(INSTALLED) ## Run the tests that need no server, in less than a minute (ARGS="-k name -x")
	PERDURE_TEST_QUICK=1 $(BIN)/python -m pytest --numprocesses=auto -m 'not server' $(ARGS)

faults: $(INSTALLED) ## Kill, freeze, cut and fill up servers and processes under load (ARGS="--seconds 30 name")
	$(BIN)/python -m tests.faults $(ARGS)

pooler: $(INSTALLED) ## Run the tests through pgbouncer, a system package (ARGS="-k name -x"); NOT RUN and status 3 without it
	PERDURE_TEST_POOLER=1 $(BIN)/python -m pytest --numprocesses=auto $(ARGS)

fuzz: $(INSTALLED) ## Look for what the tests miss, with 2,000 examples for each property (ARGS="-k name")
	$(BIN)/python -m pytest --numprocesses=auto --hypothesis-profile=fuzz --timeout=7200 -k 'fuzzing or model_says' tests/fuzzing tests/conformance/test_stores.py $(ARGS)

coverage: $(INSTALLED) ## Run the tests and report lines and branches that no test reaches
	$(BIN)/python -m pytest --cov --cov-report=term $(ARGS)

check: lint types layers ## Check format, lint, types and layers (each is also a separate target)

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED)
	$(BIN)/mypy $(FOLDERS)
	$(BIN)/basedpyright

layers: $(INSTALLED)
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED) ## Format, and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove .venv, builds and caches
	rm -rf .venv build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(FOLDERS) -type d -name __pycache__ -prune -exec rm -rf {} +
