#!/usr/bin/env bash
# Everything that must be seen on an accelerator, in one call of at most 8 minutes:
#   bash tests/accelerator/run.sh [FOLDER]     results.txt and results.json in saved/accelerator
# PYTHON: the Python to use. Its torch stays as it is. SECONDS_IN_ALL: another limit than 480.
# COMMIT: for the table, where there is no git.
set -uo pipefail
cd "$(dirname "$0")/../.."
test='import torch; assert torch.accelerator.is_available()'
[ -n "${ACCELERATOR_STAND_IN:-}" ] && test='import torch'
for python in ${PYTHON:-.venv/bin/python python3 python}; do
    "$python" -c "$test" 2>/dev/null && break
    python=''
done
if [ -z "$python" ]; then
    python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
    echo "no Python here has a torch that sees an accelerator; going on with $python" >&2
fi
limit=${SECONDS_IN_ALL:-480}
exec timeout --kill-after=5 "$limit" "$python" -m tests.accelerator.collect \
    "${1:-saved/accelerator}" --seconds $((limit - 10)) "${@:2}"
