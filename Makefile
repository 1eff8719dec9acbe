PYTHON ?= python

.PHONY: install test test-all lint bench

install:
	$(PYTHON) -m pip install -c constraints.txt '.[test]'

test:
	$(PYTHON) -m pytest

test-all:
	$(PYTHON) -m pytest -m 'long or not long'

lint:
	ruff check .
	ruff format --check .
	mypy
	clang-format --dry-run --Werror csrc/*.cpp csrc/*.h

bench:
	$(PYTHON) -m pytest benchmarks --benchmark-only
