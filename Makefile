# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint fix peer clean

demo: $(VENV)/.installed
	$(BIN)/noisewise demo -o demo

test: $(VENV)/.installed lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy

fix: $(VENV)/.installed
	$(BIN)/ruff check --fix src tests benchmarks examples
	$(BIN)/ruff format src tests benchmarks examples

# torch is installed first and by its exact version: it is the one package with several builds.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	touch $@

# CAREamics, the benchmark peer, in an environment of its own; torchvision is left out (see benchmarks/peer.py).
peer:
	$(PYTHON) -m venv .peer
	.peer/bin/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	.peer/bin/python -m pip install --quiet -r benchmarks/peer-requirements.txt
	.peer/bin/python -m pip install --quiet --no-deps careamics==0.3.5

clean:
	rm -rf $(VENV) .peer demo .pytest_cache .mypy_cache .ruff_cache
