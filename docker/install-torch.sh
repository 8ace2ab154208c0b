#!/bin/sh
# Installs torch into .venv. pip's default build if there is an NVIDIA GPU, or if that build needs no CUDA packages
# (several gigabytes); otherwise the CPU build.
set -eu
torch=$(grep '^torch==' constraints.txt)
if nvidia-smi >/dev/null 2>&1 \
  || ! .venv/bin/python -m pip install --quiet --dry-run --report - "$torch" 2>/dev/null | grep -qi '"name": "nvidia'; then
  .venv/bin/python -m pip install --quiet "$torch"
else
  .venv/bin/python -m pip install --quiet uv
  .venv/bin/uv pip install --quiet --python .venv/bin/python --torch-backend cpu "$torch"
fi
