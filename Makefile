PYTHON ?= python

.PHONY: install test test-all kill sanitize fuzz lint bench kernels

install:
	$(PYTHON) -m pip install -c constraints.txt '.[test]'

test:
	$(PYTHON) -m pytest -n auto --dist loadfile

test-all:
	$(PYTHON) -m pytest -m 'long or not long'

kill:
	$(PYTHON) -m pytest tests/train/test_kill.py -m long -s

sanitize:
	$(PYTHON) -m pytest tests/align/test_native.py -m long -k 'not targets_at_length'

fuzz:
	WEAM_FUZZ_SECONDS=600 $(PYTHON) -m pytest tests/align/test_native.py -m long -k targets_at_length

lint:
	ruff check .
	ruff format --check .
	mypy
	stubtest --mypy-config-file pyproject.toml --allowlist tests/stubtest-allowlist.txt weam_ext._native
	codespell
	clang-format --dry-run --Werror csrc/*.cpp csrc/*.h tests/*/*.cpp tests/*/*.h

bench:
	$(PYTHON) -m pytest benchmarks --benchmark-only

kernels:
	$(PYTHON) benchmarks/kernel_table.py --table docs/kernels.md
