#!/usr/bin/env bash
# From an empty machine to the first result: sets up .venv, runs the
# quickstart. Options go to tools/maect_quickstart.py.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/setup_env.sh
make_env .venv upstream,quickstart
exec .venv/bin/python tools/maect_quickstart.py "$@"
