#!/usr/bin/env bash
# What a GPU makes of LoRe, in under 8 minutes from a bare machine: one JSON
# object on standard output, progress on standard error.
#
#   bash benchmarks/gpu.sh > gpu.json               # makes .venv-gpu with CUDA
#   VENV=.venv bash benchmarks/gpu.sh > gpu.json    # an environment that exists
#   VENV=none bash benchmarks/gpu.sh > gpu.json     # $PYTHON, as it stands
#
# With VENV nothing is fetched. Smaller, as on a CPU:
#
#   VENV=.venv PLATFORM=cpu DTYPE=float32 SIZES=size1m BLOCKS=minigrid \
#     STEPS=300 REPEATS=3 BUDGET=1800 bash benchmarks/gpu.sh
#
# Variables: PLATFORM (cuda), DTYPE (bfloat16), SIZES (size12m size50m), BLOCKS
# (minigrid size12m) and STEPS (2000) of DoorKey on pixels, REPEATS (15) of
# gradient and policy steps, BUDGET (470) seconds, PARTS (all), EXTRAS (cuda12).
set -euo pipefail
cd "$(dirname "$0")/.."
begin=$(date +%s)
python=${PYTHON:-python3}
if [ -z "${VENV:-}" ]; then
  VENV=.venv-gpu
  EXTRAS=${EXTRAS:-cuda12} bash patches/setup.sh "$python" "$VENV" \
    patches/constraints.txt >&2
fi
if [ "$VENV" != none ]; then
  python=$VENV/bin/python
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" benchmarks/gpu.py --begin "$begin"
