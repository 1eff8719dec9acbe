#!/bin/sh
# Gathers into benchmarks/carry what a GPU machine without a network lacks: the wheels that its
# Python 3.12 on x86-64 Linux does not have, and the name of the commit, since a copy of a working
# tree has no history. benchmarks/gpu.py finds them there.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
rm -rf benchmarks/carry
mkdir benchmarks/carry
"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
  --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
  --platform manylinux2014_x86_64 --dest benchmarks/carry anyascii zstandard
# Beside ours where it can be had; it needs nothing but torch and Triton.
"$python" -m pip download --quiet --no-deps --only-binary=:all: --dest benchmarks/carry \
  liger-kernel || echo "liger-kernel cannot be had: its cross-entropy will not be measured" >&2
PYTHONPATH=.:python:benchmarks "$python" -c \
  "from compare_aligners import code_version; print(code_version())" > benchmarks/carry/commit
ls benchmarks/carry
