#!/usr/bin/env bash
# Everything that must be seen on an accelerator, in one call of at most 8 minutes:
#   bash tests/accelerator/run.sh [FOLDER]     results.txt and results.json in saved/accelerator
# PYTHON: the Python to use. Its torch stays as it is. SECONDS_IN_ALL: another limit than 480.
set -uo pipefail
cd "$(dirname "$0")/../.."
sees='import torch; raise SystemExit(not torch.accelerator.is_available())'
for python in ${PYTHON:-.venv/bin/python python3 python}; do
    found=$(command -v "$python") && "$found" -c "${ACCELERATOR_STAND_IN:+0 #}$sees" 2>/dev/null \
        && break
    found=''
done
if [ -z "$found" ]; then
    echo 'No Python here has a torch that sees an accelerator; trying the first one.' >&2
    found=$(command -v ${PYTHON:-python3})
fi
exec timeout --kill-after=10 "$((${SECONDS_IN_ALL:-480} + 20))" \
    "$found" tests/accelerator/collect.py "${1:-saved/accelerator}" \
    --seconds "${SECONDS_IN_ALL:-480}" "${@:2}"
