# The commands of the project. `make book` and `make test` install what they need into .venv, from requirements.lock.
# On a machine without make, README.md has the same in plain commands.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help env book test lint notebooks site-test lock data bench results clean

help:  ## print this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

env: $(READY)  ## make the virtual environment .venv

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed, and $(PYTHON) is {v}: call make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# The extension of the book executes two pages side by side, each with one thread.
book: $(READY)  ## execute and build the book; warnings are errors
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter-book build book/ -W --keep-going
	@echo "The book is at file://$(CURDIR)/_build/html/index.html"

# Work is stolen because the notebooks are the long tests: the default deals tests out in blocks, nearly all of them to one worker.
test: $(READY)  ## all tests that need no built book; where it is built, solutions are not executed again
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not site and not browser"

lint: $(READY)  ## style, types, import contracts, notebooks and vendored files in step with their sources
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/notebooks.py --check
	$(BIN)/nbstripout --verify $$(git ls-files 'book/*.ipynb')
	$(BIN)/python tools/vendor.py --check

notebooks: $(READY)  ## make every learner's notebook anew from its source
	$(BIN)/python tools/notebooks.py

site-test: $(READY)  ## links, anchors, alt texts, offline assets and headless browser, on the built book
	$(BIN)/python -m pytest tests/site -m "site or browser"

lock:  ## resolve requirements.lock anew, from the bounds in pyproject.toml
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet torch==2.13.0 -e '.[dev]'
	{ echo '# Made by `make lock`: what the commands and the tests install. Users of the package get the lower bounds of pyproject.toml instead.'; \
	  .venv-lock/bin/python -m pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+)\+cpu/\1/'; } > requirements.lock
	rm -rf .venv-lock

WORLD ?=
YEARS ?=
JOBS ?= 2
data: $(READY)  ## generate simulated worlds into data/generated: all, or a part (WORLD=reference YEARS=5); goes on after a stop
	$(BIN)/python -m pip install --quiet -e '.[simulate]'
	$(BIN)/python -m tools.simulate run $(WORLD) $(if $(YEARS),--years $(YEARS)) --jobs $(JOBS)

bench: $(READY)  ## run the benchmarks and rewrite their tables
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/model.py
	$(BIN)/python benchmarks/training.py

results: $(READY)  ## recompute the table of results from the shipped checkpoint and data, benchmarks/results.md: hours on two cores
	$(BIN)/python benchmarks/results.py
	$(BIN)/python benchmarks/extras_global.py
	$(BIN)/python benchmarks/extras_subseasonal.py
	$(BIN)/python benchmarks/projection.py
	$(BIN)/python benchmarks/downscaling.py
	$(BIN)/python benchmarks/results.py --table

clean:  ## remove the built book
	rm -rf _build
