# On a fresh machine with Python 3.11 or newer: `make demo`, `make test` and `make docs`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CODE := src tests benchmarks examples training docs

.PHONY: demo test test-all coverage lint fix docs peer clean

demo: $(VENV)/.installed
	$(BIN)/noisewise demo -o demo

test: $(VENV)/.installed lint
	$(BIN)/python -m pytest

# Also the slow tests: every example, and what users do, in a viewer on a virtual screen (Xvfb) too.
test-all: $(VENV)/.all-installed lint
	$(BIN)/python -m pytest -m ""

$(VENV)/.all-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,journeys]'
	touch $@

# Which lines the tests execute; those in processes that the tests start count too.
coverage: $(VENV)/.installed
	$(BIN)/python -m pytest --cov --cov-report=term --cov-report=json:coverage.json

lint: $(VENV)/.installed
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

fix: $(VENV)/.installed
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

# torch is installed first and by its exact version: it is the one package with several builds.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	touch $@

# The site, in site/. Fails on warnings: broken links, pages missing from the navigation.
docs: $(VENV)/.docs-installed
	$(BIN)/python docs/generate.py
	$(BIN)/python benchmarks/readme.py
	$(BIN)/zensical build --clean --strict

$(VENV)/.docs-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# CAREamics, the benchmark peer, in an environment of its own; torchvision is left out (see benchmarks/peer.py).
peer:
	$(PYTHON) -m venv .peer
	.peer/bin/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	.peer/bin/python -m pip install --quiet -r benchmarks/peer-requirements.txt
	.peer/bin/python -m pip install --quiet --no-deps careamics==0.3.5

clean:
	rm -rf $(VENV) .peer demo site .cache .pytest_cache .mypy_cache .ruff_cache
