# Everything runs in .venv, made on first use; a stamp per set of packages makes every later call instant.
PYTHON ?= python3
PYTHON311 ?= python3.11
PYTHON312 ?= python3.12
SPEC ?= sweeps/dense-1e24.toml
OUT ?= results/$(basename $(notdir $(SPEC)))

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INPUTS := .venv/.made pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help sweep test faults browser configs lint bench constraints clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

sweep: .venv/.base ## run a sweep: SPEC=sweeps/dense-1e24.toml OUT=results/dense-1e24
	$(BIN)/perflaw sweep $(SPEC) --out $(OUT)

test: .venv/.dev ## all tests, doctests included
	$(BIN)/python -m pytest -q -n 2

faults: .venv/.dev ## kill a sweep 50 times at random moments, stop it, fill its disk
	PERFLAW_KILLS=50 $(BIN)/python -m pytest -q -s tests/faults

browser: .venv/.browser ## the report and the planner in a headless Chromium
	$(BIN)/python -m pytest -q tests/browser

configs: .venv/.hf ## exported configs built by transformers
	$(BIN)/python -m pytest -q tests/hf

lint: .venv/.dev ## formatting, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: .venv/.bench ## candidates per second, against the rivals
	$(BIN)/python -m benchmarks

.venv/.made:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here; name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "$(PYTHON) has no venv module; install it, on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.base: $(INPUTS)
	@echo "installing into .venv ..." >&2
	@$(PIP) install -qq -c constraints.txt -e .
	@touch $@

.venv/.dev: $(INPUTS)
	@echo "installing into .venv, with the tools for development ..." >&2
	@$(PIP) install -qq -c constraints.txt -e '.[dev]'
	@touch .venv/.base $@

.venv/.bench: $(INPUTS)
	@echo "installing into .venv, with the rivals of the benchmark ..." >&2
	@$(PIP) install -qq -c constraints.txt -e '.[bench]'
	@touch .venv/.base $@

.venv/.browser: .venv/.dev
	@echo "installing into .venv, with Playwright ..." >&2
	@$(PIP) install -qq -c constraints.txt -e '.[dev,browser]'
	@touch $@

.venv/.hf: .venv/.dev
	@echo "installing into .venv, with transformers and torch ..." >&2
	@$(PIP) install -qq -c constraints.txt -e '.[dev,hf]'
	@touch $@

# One file for all Pythons: a line without a marker holds for every one of them.
constraints: ## newest versions into constraints.txt: PYTHON311=... PYTHON312=...
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; export LC_ALL=C; \
	freeze() { \
	  $$1 -m venv $$tmp/$$2; $$tmp/$$2/bin/python -m pip install -qq -e ".[dev,bench,plot,notebook,browser$$3]"; \
	  $$tmp/$$2/bin/python -m pip freeze --exclude-editable | grep '^[A-Za-z0-9._-]*==' | sed 's/+cpu//' | sort > $$tmp/$$2.txt; \
	}; \
	freeze $(PYTHON311) old ,hf; freeze $(PYTHON312) new ''; \
	{ comm -12 $$tmp/old.txt $$tmp/new.txt; \
	  comm -23 $$tmp/old.txt $$tmp/new.txt | sed 's/$$/ ; python_version < "3.12"/'; \
	  comm -13 $$tmp/old.txt $$tmp/new.txt | sed 's/$$/ ; python_version >= "3.12"/'; } | sort -f > $$tmp/all.txt; \
	{ echo '# Exact versions that the tests ran with; written by "make constraints".'; cat $$tmp/all.txt; } > constraints.txt

clean: ## remove .venv and every cache; results stay
	rm -rf .venv .hypothesis .pytest_cache .ruff_cache .import_linter_cache dist benchmarks/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
