#!/usr/bin/env bash
# What this machine's GPU does with the project, in eight minutes: training, resume, scoring, encoding. Writes gpu.json
# and gpu.md (a section of docs/performance.md) to results/gpu; see benchmarks/gpu.py.
#
#   tests/gpu.sh [--out FOLDER] [--data FOLDER] [--minutes M] [--sections NAME...]
#
# PYTHON=...  the Python to run with: by default the project's own, else python3. With `PYTHONPATH=src PYTHON=python3` it
#             runs on a machine where the lock cannot be installed (Python 3.11 or later, torch, transformers).
# WHEELS=...  a folder of wheels that this machine lacks and cannot fetch, for this run alone:
#             pip download --no-deps --dest wheels NAME
# Paths are relative to the project's folder.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python3
  [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
fi
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH} TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
if [ -n "${WHEELS:-}" ]; then
  site=$(mktemp --directory)
  trap 'rm --recursive --force "$site"' EXIT
  "$PYTHON" -m pip install --quiet --no-index --no-deps --target "$site" "$WHEELS"/*.whl
  PYTHONPATH=$PYTHONPATH:$site
fi
"$PYTHON" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("torch", "transformers"))))' || {
  echo "error: $PYTHON has no torch or no transformers: name another, as in PYTHON=/path/to/python3 tests/gpu.sh" >&2
  exit 1
}
"$PYTHON" benchmarks/gpu.py "$@"
