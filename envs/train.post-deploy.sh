#!/usr/bin/env bash
# Snakemake runs this in the new environment: the package itself, from the working tree.
set -euo pipefail
pip install --no-deps --editable "${LOREBRIDGE_ROOT:-$PWD}"
